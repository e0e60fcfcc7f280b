"""COSE signatures over documents: COSE_Sign1, and COSE_Sign where k of n must sign (RFC 9052 §4).

Fixed in every one: alg -19 (Ed25519, RFC 9864), ``kid`` the signer's 32-byte public key, ``typ`` (RFC 9596) the document's media type, an
external_aad that names the document type again, no unprotected headers, and deterministic encoding throughout. This room only
takes apart and puts together; whether a key may be believed is decided in ``trust.verify``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cbor2

from edgenode.errors import LimitError, MalformedError
from edgenode.formats import cbor
from edgenode.records import KEY_BYTES

ALG, KID, TYP = 1, 4, 16  # header labels
ED25519 = -19
SIGNATURE_BYTES = 64

# Headers hold a negative number (the algorithm) and documents never do.
_HEADER = cbor.Profile("header", depth=1, items=8, free=True)

Signer = Callable[[bytes], bytes]


class DocumentType(StrEnum):
    MANIFEST = "manifest"
    JOB = "job"
    RECEIPT = "receipt"
    ACK = "ack"
    NODE = "node"
    TRUST = "trust"
    READING = "reading"

    @property
    def media_type(self) -> str:
        return f"application/vnd.edgenode.{self.value}+cbor"

    @property
    def aad(self) -> bytes:
        return f"edgenode/1/{self.value}".encode()

    @property
    def tag(self) -> int:
        """COSE_Sign for what k of n must sign, COSE_Sign1 for all else: one document has one shape."""
        return cbor.SIGN_TAG if self is DocumentType.TRUST else cbor.SIGN1_TAG

    @property
    def limit(self) -> int:
        """The most bytes that a document of this type may have, signatures included."""
        return _LIMITS[self]

    @property
    def limit_name(self) -> str:
        return f"formats.{self.value}_bytes"


_LIMITS = {
    DocumentType.MANIFEST: 16 << 10,
    DocumentType.JOB: 128 << 10,
    DocumentType.RECEIPT: 2304 << 10,  # a summary and alerts of 1 MiB each, and the rest
    DocumentType.ACK: 128 << 10,
    DocumentType.NODE: 8 << 10,
    DocumentType.TRUST: 1 << 20,
    DocumentType.READING: 1 << 10,
}


@dataclass(frozen=True, slots=True)
class Signature:
    """One signer's part: the public key, the exact bytes that it signed (Sig_structure), and the signature."""

    kid: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A document taken apart, not verified."""

    type: DocumentType
    payload: bytes
    signatures: tuple[Signature, ...]


def sign1(kind: DocumentType, payload: bytes, kid: bytes, signer: Signer) -> bytes:
    """COSE_Sign1_Tagged over ``payload``. Raises LimitError when the document would be longer than its type may be."""
    protected = cbor.encode({ALG: ED25519, KID: kid, TYP: kind.media_type})
    signature = signer(cbor.encode(["Signature1", protected, kind.aad, payload]))
    return _tagged(kind, [protected, {}, payload, signature])


def sign(kind: DocumentType, payload: bytes, signers: Sequence[tuple[bytes, Signer]]) -> bytes:
    """COSE_Sign_Tagged over ``payload`` by each (kid, signer), in the order of the kids. Raises LimitError as sign1 does."""
    body = cbor.encode({TYP: kind.media_type})
    parts = []
    for kid, signer in sorted(signers, key=lambda one: one[0]):
        protected = cbor.encode({ALG: ED25519, KID: kid})
        parts.append([protected, {}, signer(cbor.encode(["Signature", body, protected, kind.aad, payload]))])
    return _tagged(kind, [body, {}, payload, parts])


def _tagged(kind: DocumentType, body: list[Any]) -> bytes:
    data = cbor.encode(cbor2.CBORTag(kind.tag, body))
    if len(data) > kind.limit:  # nobody would take it
        raise LimitError(kind.limit_name, kind.limit, len(data), hint="a limit of the format: say less in one document")
    return data


def parse(data: bytes, kind: DocumentType) -> Signed:
    """Take a document of this type apart. Raises MalformedError, or LimitError when it is too long."""
    tagged = cbor.decode(data, cbor.DOCUMENT, limit=kind.limit, limit_name=kind.limit_name)
    if not isinstance(tagged, cbor2.CBORTag) or tagged.tag != kind.tag:
        raise MalformedError(f"{kind} is not a COSE document with tag {kind.tag}")
    body = tagged.value
    if not _parts(body, 4) or not isinstance(body[2], bytes):
        raise MalformedError(f"{kind} is not a COSE document with protected headers, payload and signature")
    protected, _, payload, last = body
    if kind.tag == cbor.SIGN1_TAG:
        kid = _kid(protected, kind, {TYP: kind.media_type})
        structure = cbor.encode(["Signature1", protected, kind.aad, payload])
        return Signed(kind, payload, (Signature(kid, structure, _signature(last, kind)),))
    if protected != cbor.encode({TYP: kind.media_type}):
        raise MalformedError(f"{kind}: the body's protected header is not a typ of {kind.media_type}")
    if not isinstance(last, tuple) or not 1 <= len(last) <= 64:
        raise MalformedError(f"{kind} has no list of 1 to 64 signatures")
    signatures = []
    for part in last:
        if not _parts(part, 3):
            raise MalformedError(f"{kind} has a signature that is not a COSE_Signature")
        kid = _kid(part[0], kind, {})
        structure = cbor.encode(["Signature", protected, part[0], kind.aad, payload])
        signatures.append(Signature(kid, structure, _signature(part[2], kind)))
    kids = [one.kid for one in signatures]
    if kids != sorted(set(kids)):
        raise MalformedError(f"{kind} has signatures out of order, or two of one key")
    return Signed(kind, payload, tuple(signatures))


def _parts(value: Any, count: int) -> bool:
    """Whether this is a COSE list: protected headers in bytes, no unprotected ones, and the rest."""
    return isinstance(value, tuple) and len(value) == count and isinstance(value[0], bytes) and value[1] == {}


def _kid(protected: bytes, kind: DocumentType, rest: Mapping[int, Any]) -> bytes:
    """The signer that a protected header names. There is one header for a signer and type, so it is compared as bytes."""
    header = cbor.decode(protected, _HEADER, limit=256, limit_name="formats.header_bytes")
    kid = header.get(KID) if isinstance(header, Mapping) else None
    if not isinstance(kid, bytes) or len(kid) != KEY_BYTES:
        raise MalformedError(f"{kind}: the protected header has no kid of {KEY_BYTES} bytes")
    if protected != cbor.encode({ALG: ED25519, KID: kid, **rest}):
        raise MalformedError(f"{kind}: the protected header is not alg -19, kid and the right typ alone")
    return kid


def _signature(value: Any, kind: DocumentType) -> bytes:
    if not isinstance(value, bytes) or len(value) != SIGNATURE_BYTES:
        raise MalformedError(f"{kind} has no signature of {SIGNATURE_BYTES} bytes")
    return value

"""HTTP message signatures (RFC 9421) in the one shape that edgenode uses, over a Content-Digest (RFC 9530).

Covered: @method, @request-target, content-digest, and edgenode-boot, which names the server by its public key and its start by a nonce.
So nobody, not even the server that a request is for, can replay it to another server, or to this one after a restart. Parameters:
created, expires, nonce, keyid (the public key in hex), alg. Pure: who may call, and when, is judged in ``transport``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgenode.errors import CallerError, MalformedError
from edgenode.formats.cose import SIGNATURE_BYTES, Signer

DIGEST_HEADER = "Content-Digest"
INPUT_HEADER = "Signature-Input"
SIGNATURE_HEADER = "Signature"
BOOT_HEADER = "Edgenode-Boot"

_LABEL = "edgenode"
_COVERED = ("@method", "@request-target", "content-digest", "edgenode-boot")
_COMPONENTS = "({})".format(" ".join(f'"{name}"' for name in _COVERED))
_INPUT = re.compile(
    re.escape(f"{_LABEL}={_COMPONENTS}")
    + r';created=(?P<created>[0-9]{1,12});expires=(?P<expires>[0-9]{1,12});nonce="(?P<nonce>[A-Za-z0-9_-]{16,64})"'
    + r';keyid="(?P<keyid>[0-9a-f]{64})";alg="ed25519"'
)
_BOOT = re.compile(r"(?P<server>[0-9a-f]{64})\.[A-Za-z0-9_-]{16,64}")
_SIGNATURE = re.compile(_LABEL + r"=:(?P<signature>[A-Za-z0-9+/]{86}==):")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of itself: who signed it, when, over which bytes. Not verified."""

    keyid: bytes
    created: int  # s
    expires: int  # s
    nonce: str
    boot: str
    signed: bytes  # the signature base
    signature: bytes


def boot_value(server: bytes, nonce: str) -> str:
    """The Edgenode-Boot header's value: the server's public key, and a nonce that it drew at its start."""
    return f"{server.hex()}.{nonce}"


def boot_server(boot: str) -> bytes:
    """The public key of the server that an Edgenode-Boot header names. Raises MalformedError."""
    found = _BOOT.fullmatch(boot)
    if found is None:
        raise MalformedError(f"{BOOT_HEADER} is not in the form that docs/protocol.md gives")
    return bytes.fromhex(found["server"])


def content_digest(body: bytes) -> str:
    """The Content-Digest header's value (RFC 9530 §2)."""
    return _digest_value(hashlib.sha256(body).digest())


def _digest_value(sha256: bytes) -> str:
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def signature_base(components: Sequence[tuple[str, str]], parameters: str) -> bytes:
    """The bytes that are signed (RFC 9421 §2.5)."""
    lines = [f'"{name}": {value}' for name, value in components]
    lines.append(f'"@signature-params": {parameters}')
    return "\n".join(lines).encode()


def sign(
    method: str, target: str, digest: str, *, boot: str, nonce: str, created: int, expires: int, keyid: bytes, signer: Signer
) -> dict[str, str]:
    """The headers that authenticate a request. ``target`` is path and query as sent, ``digest`` the content digest of the body."""
    parameters = f'{_COMPONENTS};created={created};expires={expires};nonce="{nonce}";keyid="{keyid.hex()}";alg="ed25519"'
    base = signature_base(tuple(zip(_COVERED, (method, target, digest, boot), strict=True)), parameters)
    return {
        DIGEST_HEADER: digest,
        BOOT_HEADER: boot,
        INPUT_HEADER: f"{_LABEL}={parameters}",
        SIGNATURE_HEADER: f"{_LABEL}=:{base64.b64encode(signer(base)).decode()}:",
    }


def parse(method: str, target: str, headers: Mapping[str, str]) -> Claim:
    """Take a request's signature headers apart. Raises CallerError when one is missing or of another shape."""
    if not (method + target).isascii():
        raise CallerError("the request line is not ASCII")
    found = _INPUT.fullmatch(_one(headers, INPUT_HEADER))
    if found is None:
        raise CallerError(f"{INPUT_HEADER} is not in the form that docs/protocol.md gives")
    sealed = _SIGNATURE.fullmatch(_one(headers, SIGNATURE_HEADER))
    if sealed is None:
        raise CallerError(f"{SIGNATURE_HEADER} is not in the form that docs/protocol.md gives")
    digest, boot = _one(headers, DIGEST_HEADER), _one(headers, BOOT_HEADER)
    parameters = _one(headers, INPUT_HEADER).removeprefix(f"{_LABEL}=")
    base = signature_base(tuple(zip(_COVERED, (method, target, digest, boot), strict=True)), parameters)
    signature = base64.b64decode(sealed["signature"])
    if len(signature) != SIGNATURE_BYTES:
        raise CallerError(f"{SIGNATURE_HEADER} is not {SIGNATURE_BYTES} bytes")
    return Claim(bytes.fromhex(found["keyid"]), int(found["created"]), int(found["expires"]), found["nonce"], boot, base, signature)


def check_body(headers: Mapping[str, str], sha256: bytes) -> None:
    """Raise CallerError when the body's SHA-256 is not the one that was signed."""
    if _one(headers, DIGEST_HEADER) != _digest_value(sha256):
        raise CallerError(f"the body is not the one that {DIGEST_HEADER} names")


def _one(headers: Mapping[str, str], name: str) -> str:
    getall = getattr(headers, "getall", None)  # aiohttp's multi-valued headers
    values = getall(name, []) if getall else [headers[name]] if name in headers else []
    if len(values) != 1:
        raise CallerError(f"the request has {len(values)} {name} headers, not one")
    value = str(values[0])
    if not value.isascii():  # RFC 9421 §2.1: the base is ASCII
        raise CallerError(f"the request's {name} header is not ASCII")
    return value

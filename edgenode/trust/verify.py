"""Bytes + keyring + now -> Verified…, or a TrustError. The only place where trust is decided, and it does no I/O.

    manifest, module, job, receipt, ack, node, reading  --parse-->  Signed  --signature, key, role, time, digest-->  Verified…

A Verified… value can be made nowhere else: its constructor wants a proof that only this file has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from typing import Final, TypeVar

import nacl.exceptions
import nacl.signing

from edgenode.errors import DigestError, ExpiredError, RollbackError, SignatureError, UnknownKeyError
from edgenode.formats import cose, document
from edgenode.formats.cose import DocumentType
from edgenode.formats.job import Job
from edgenode.formats.manifest import Manifest
from edgenode.formats.reading import Reading
from edgenode.formats.receipt import Ack, Core, Receipt
from edgenode.formats.trust import Node, Role, Roots, Trust
from edgenode.records import digest
from edgenode.trust.keyring import Keyring, short

T = TypeVar("T")


class _Proof:
    """Held by this file alone."""

    __slots__ = ()


_PROOF: Final = _Proof()


@dataclass(frozen=True, slots=True)
class _Verified:
    proof: InitVar[_Proof]  # not kept, so that dataclasses.replace cannot put other bytes beside it

    def __post_init__(self, proof: _Proof) -> None:
        if proof is not _PROOF:
            raise TypeError(f"{type(self).__name__} is made only by trust.verify")


@dataclass(frozen=True, slots=True)
class VerifiedTrust(_Verified):
    trust: Trust
    data: bytes


@dataclass(frozen=True, slots=True)
class VerifiedNode(_Verified):
    """A member of the fleet: a registrar signed its key."""

    node: Node
    data: bytes


@dataclass(frozen=True, slots=True)
class VerifiedManifest(_Verified):
    manifest: Manifest
    digest: bytes  # of the signed bytes
    data: bytes
    publisher: bytes


@dataclass(frozen=True, slots=True)
class VerifiedModule(_Verified):
    """A wasm binary together with the manifest that its publisher signed for exactly these bytes."""

    wasm: bytes
    digest: bytes
    manifest: Manifest
    manifest_digest: bytes


@dataclass(frozen=True, slots=True)
class VerifiedJob(_Verified):
    job: Job
    digest: bytes  # of the signed bytes
    data: bytes
    submitter: bytes


@dataclass(frozen=True, slots=True)
class VerifiedReceipt(_Verified):
    receipt: Receipt
    core: Core | None
    digest: bytes  # of the signed bytes
    data: bytes
    node: Node


@dataclass(frozen=True, slots=True)
class VerifiedAck(_Verified):
    ack: Ack
    hub: bytes


@dataclass(frozen=True, slots=True)
class VerifiedReading(_Verified):
    """What a node says of itself: its own word, and nobody else's."""

    reading: Reading
    data: bytes


def signature_fits(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Ed25519 (RFC 8032 §5.1.7) by libsodium, which also refuses small-order keys and non-canonical S."""
    try:
        nacl.signing.VerifyKey(public_key).verify(data, signature)
    except (nacl.exceptions.BadSignatureError, ValueError, TypeError):
        return False
    return True


def verify_trust(data: bytes, current: VerifiedTrust | None, now: int, *, root: bytes | None = None) -> VerifiedTrust:
    """A trust document, taken in the place of ``current`` by TUF's rules (TUF specification §5.3).

    Signed by a threshold of its own roots and of the current ones, of the same fleet, and of a version not below the current. With no
    current one, ``root`` (if given) must be among its roots: the fingerprint that came on the boot partition.
    """
    signed = cose.parse(data, DocumentType.TRUST)
    trust = _payload(Trust, signed)
    if now >= trust.expires:
        raise ExpiredError(f"trust document version {trust.version} has expired", hint="fetch a newer one")
    _check_threshold(signed, trust.roots)
    if current is None:
        if root is not None and root not in trust.roots.keys:
            raise UnknownKeyError(f"root key {short(root)} is not among the trust document's roots", hint="this is another fleet")
        return VerifiedTrust(_PROOF, trust, data)
    if trust.fleet != current.trust.fleet:
        raise UnknownKeyError(f"trust document of fleet {short(trust.fleet)}, not of this fleet {short(current.trust.fleet)}")
    _check_threshold(signed, current.trust.roots)
    if trust.version < current.trust.version or (trust.version == current.trust.version and data != current.data):
        raise RollbackError(f"trust document version {trust.version} in the place of version {current.trust.version}")
    return VerifiedTrust(_PROOF, trust, data)


def reload_trust(data: bytes) -> VerifiedTrust:
    """The trust document that this machine verified and persisted before. It may have expired since: admitted work goes on."""
    signed = cose.parse(data, DocumentType.TRUST)
    trust = _payload(Trust, signed)
    _check_threshold(signed, trust.roots)
    return VerifiedTrust(_PROOF, trust, data)


def verify_node(data: bytes, keyring: Keyring, now: int) -> VerifiedNode:
    """A node document that a registrar of this fleet signed."""
    signed, registrar = _sign1(data, DocumentType.NODE)
    keyring.check(registrar, Role.REGISTRAR, now)
    node = _payload(Node, signed)
    if node.fleet != keyring.fleet:
        raise UnknownKeyError(f"node {node.name} is of fleet {short(node.fleet)}, not of this one")
    keyring.check_not_revoked(node.public_key)
    if now >= node.expires:
        raise ExpiredError(f"the node document of {node.name} has expired", hint="have a registrar sign it again")
    return VerifiedNode(_PROOF, node, data)


def reload_node(data: bytes) -> VerifiedNode:
    """The node document that was put on this machine. It may have expired: others then refuse this node, and its own work goes on."""
    signed, _ = _sign1(data, DocumentType.NODE)
    return VerifiedNode(_PROOF, _payload(Node, signed), data)


def verify_manifest(data: bytes, keyring: Keyring, now: int) -> VerifiedManifest:
    signed, publisher = _sign1(data, DocumentType.MANIFEST)
    keyring.check(publisher, Role.PUBLISHER, now)
    manifest = _payload(Manifest, signed)
    keyring.check_module(manifest.module)
    return VerifiedManifest(_PROOF, manifest, digest(data), data, publisher)


def recheck_manifest(manifest: VerifiedManifest, keyring: Keyring, now: int) -> VerifiedManifest:
    """A manifest whose signature was verified before: is its publisher still one, and the module not revoked?"""
    keyring.check(manifest.publisher, Role.PUBLISHER, now)
    keyring.check_module(manifest.manifest.module)
    return manifest


def verify_module(wasm: bytes, manifest: VerifiedManifest) -> VerifiedModule:
    """The binary that the manifest names. Raises DigestError for any other."""
    found, named = digest(wasm), manifest.manifest.module
    if found != named:
        raise DigestError(f"module {short(found)} is not {short(named)}, which the manifest of {manifest.manifest.name} names")
    return VerifiedModule(_PROOF, wasm, found, manifest.manifest, manifest.digest)


def unsigned_module(wasm: bytes, manifest: Manifest) -> VerifiedModule:
    """A module that the person at this machine runs on purpose, unsigned: ``edgenode exec`` and replay, never a node's intake.

    Or one that comes with the node itself: the guest that it measures its fuel with.
    """
    return VerifiedModule(_PROOF, wasm, digest(wasm), manifest, bytes(32))


def verify_job(data: bytes, keyring: Keyring, now: int) -> VerifiedJob:
    """A job that a submitter of this fleet signed. Whether this node takes it is for ``intake.admission``."""
    signed, submitter = _sign1(data, DocumentType.JOB)
    keyring.check(submitter, Role.SUBMITTER, now)
    job = _payload(Job, signed)
    if job.fleet != keyring.fleet:
        raise UnknownKeyError(f"job {short(job.id)} is for fleet {short(job.fleet)}, not for this one", hint="sign it for this fleet")
    return VerifiedJob(_PROOF, job, digest(data), data, submitter)


def reload_manifest(data: bytes) -> VerifiedManifest:
    """A manifest that this machine verified and stored before; its publisher's role was judged then, revocations are judged at each run."""
    signed, publisher = _sign1(data, DocumentType.MANIFEST)
    return VerifiedManifest(_PROOF, _payload(Manifest, signed), digest(data), data, publisher)


def reload_job(data: bytes) -> VerifiedJob:
    """A job that this machine admitted and stored before; its submitter's role was judged then."""
    signed, submitter = _sign1(data, DocumentType.JOB)
    return VerifiedJob(_PROOF, _payload(Job, signed), digest(data), data, submitter)


def verify_receipt(data: bytes, node: VerifiedNode) -> VerifiedReceipt:
    """A receipt of this node, whose core names the summary and alerts that it carries."""
    signed, signer = _sign1(data, DocumentType.RECEIPT)
    if signer != node.node.public_key:
        raise UnknownKeyError(f"receipt signed by key {short(signer)}, not by node {node.node.name}")
    receipt = _payload(Receipt, signed)
    core = None
    if receipt.core:
        core = document.decode(Core, receipt.core, limit=len(receipt.core), limit_name="formats.core_bytes")
        if core.summary != digest(receipt.summary) or core.alerts != digest(receipt.alerts):
            raise DigestError(f"receipt {receipt.seq} of {node.node.name} carries another summary or alerts than its core names")
    return VerifiedReceipt(_PROOF, receipt, core, digest(data), data, node.node)


def verify_signed_receipt(data: bytes, node_document: bytes, keyring: Keyring) -> VerifiedReceipt:
    """A receipt from anywhere and of any age: its node was a member when it signed, by the node's own clock, and is not revoked."""
    signed = cose.parse(data, DocumentType.RECEIPT)
    signed_at = _payload(Receipt, signed).measured.finished_ns // 1_000_000_000
    return verify_receipt(data, verify_node(node_document, keyring, signed_at))


def verify_ack(data: bytes, keyring: Keyring, now: int, *, hub: bytes) -> VerifiedAck:
    """An acknowledgement by this hub."""
    signed, signer = _sign1(data, DocumentType.ACK)
    if signer != hub:
        raise UnknownKeyError(f"acknowledgement signed by key {short(signer)}, not by hub {short(hub)}")
    keyring.check(signer, Role.HUB, now)
    return VerifiedAck(_PROOF, _payload(Ack, signed), signer)


def verify_reading(data: bytes, keyring: Keyring, *, node: bytes) -> VerifiedReading:
    """A self-reading of the node with this key, whose membership the caller has seen to."""
    signed, signer = _sign1(data, DocumentType.READING)
    if signer != node:
        raise UnknownKeyError(f"reading signed by key {short(signer)}, not by node {short(node)}")
    keyring.check_not_revoked(signer)
    reading = _payload(Reading, signed)
    if reading.node != signer:
        raise UnknownKeyError(f"reading of node {short(reading.node)}, signed by {short(signer)}")
    return VerifiedReading(_PROOF, reading, data)


def _sign1(data: bytes, kind: DocumentType) -> tuple[cose.Signed, bytes]:
    """Take a COSE_Sign1 apart, check its signature against the key that it names, and give that key."""
    signed = cose.parse(data, kind)
    _check_signatures(signed)
    return signed, signed.signatures[0].kid


def _check_signatures(signed: cose.Signed) -> None:
    for one in signed.signatures:
        if not signature_fits(one.kid, one.signed, one.signature):
            raise SignatureError(f"the {signed.type}'s signature by key {short(one.kid)} does not fit its bytes")


def _check_threshold(signed: cose.Signed, roots: Roots) -> None:
    """At least ``threshold`` different root keys signed; cose.parse has seen to it that no key signed twice."""
    fitting = _fitting(signed, roots.keys)
    if fitting < roots.threshold:
        raise SignatureError(
            f"trust document has {fitting} good signatures of root keys, and needs {roots.threshold}", hint="have more roots sign it"
        )


def _fitting(signed: cose.Signed, keys: Iterable[bytes]) -> int:
    known = set(keys)
    return sum(one.kid in known and signature_fits(one.kid, one.signed, one.signature) for one in signed.signatures)


def _payload(kind: type[T], signed: cose.Signed) -> T:
    return document.decode(kind, signed.payload, limit=signed.type.limit, limit_name=signed.type.limit_name)

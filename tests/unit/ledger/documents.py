"""A fleet's documents, signed with keys made here and verified as a node does."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from edgenode.formats import document
from edgenode.formats.job import Desired, Inputs, Job, JobType, ModuleReference, Selector, WindowKind, WindowSpec
from edgenode.formats.manifest import FRAME, Manifest
from edgenode.formats.receipt import Core, Measured, Notice, Receipt, ReceiptKind, Seal, TrustState
from edgenode.formats.trust import Grant, Node, Role, Roots, Trust
from edgenode.ledger.store import JobRow, JobState, Ledger, StepCommit
from edgenode.records import Abi, Capabilities, ClockState, Limits, digest
from edgenode.statement import notice_seal
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedJob, VerifiedManifest, verify_job, verify_manifest

NOW = 1_800_000_000  # s
WASM = b"\0asm\1\0\0\0"
MEASURED = Measured(finished_ns=NOW * 10**9, clock=ClockState.SYNCHRONISED, trust=TrustState.VALID)


def an_identity() -> Identity:
    return Identity(secrets.token_bytes(32))


class Documents:
    """``job`` and ``manifest`` take changes to their fields by name."""

    def __init__(self) -> None:
        self.fleet = secrets.token_bytes(16)
        self.submitter, self.publisher, self.node = an_identity(), an_identity(), an_identity()
        grants = ((Role.SUBMITTER, self.submitter), (Role.PUBLISHER, self.publisher))
        self.keyring = Keyring(
            Trust(
                fleet=self.fleet,
                version=1,
                issued=NOW,
                expires=NOW + 1000,
                roots=Roots(threshold=1, keys=(bytes(32),)),
                grants=tuple(Grant(role=role, public_key=one.public, name=role.value, expires=NOW + 1000) for role, one in grants),
            )
        )

    def manifest(self, **changes: Any) -> VerifiedManifest:
        return verify_manifest(issue(a_manifest(**changes), self.publisher), self.keyring, NOW)

    def job(self, **changes: Any) -> VerifiedJob:
        return verify_job(issue(replace(a_job(), fleet=self.fleet, **changes), self.submitter), self.keyring, NOW)

    def seal(self, text: str = "done") -> Seal:
        """Signs a receipt, for tests that do not look at what it says."""
        return notice_seal(self.node, ReceiptKind.STOP, Notice(code="test", text=text), MEASURED)


def a_manifest(**changes: Any) -> Manifest:
    plain = Manifest(
        module=digest(WASM),
        size=len(WASM),
        name="statistics",
        version="1",
        sequence=1,
        abi=Abi.STEP,
        input=FRAME,
        output="application/cbor",
        capabilities=Capabilities(channels=("*",)),
        limits=Limits(fuel=1000, memory=1 << 20),
        issued=NOW,
    )
    return replace(plain, **changes)


def a_job(**changes: Any) -> Job:
    plain = Job(
        fleet=bytes(16),
        id=bytes(range(16)),
        generation=1,
        desired=Desired.RUN,
        type=JobType.OPS,
        module=ModuleReference(name="statistics"),
        selector=Selector(),
        inputs=Inputs(channels=("press/*",)),
        window=WindowSpec(kind=WindowKind.SPAN, last_ns=10**9),
        issued=NOW,
        start_by=NOW + 60,
    )
    return replace(plain, **changes)


def a_node(public_key: bytes = bytes(32), **changes: Any) -> Node:
    return replace(Node(fleet=bytes(16), public_key=public_key, name="press-7", issued=NOW, expires=NOW + 1000), **changes)


def a_commit(job: Job, step: int = 0, **changes: Any) -> StepCommit:
    plain = StepCommit(
        job=job.id,
        generation=job.generation,
        step=step,
        revision=0,
        guest_state=b"state",
        failures=0,
        derived=b"",
        state=JobState.OPEN,
        reason="",
    )
    return replace(plain, **changes)


def receipt_in(data: bytes) -> Receipt:
    """What a signed receipt says, its signature not looked at."""
    from edgenode.formats import cose

    return document.decode(Receipt, cose.parse(data, cose.DocumentType.RECEIPT).payload, limit=1 << 20, limit_name="test")


def core_in(receipt: Receipt) -> Core:
    return document.decode(Core, receipt.core, limit=1 << 16, limit_name="test")


def accept(ledger: Ledger, documents: Documents, job: VerifiedJob, *, steps: int = 3, accepted_ns: int = 5) -> tuple[JobRow, bool]:
    """Take a job for a plain manifest."""
    manifest = documents.manifest()
    return ledger.accept(job, manifest, accepted_ns=accepted_ns, steps=steps, superseded=lambda row: documents.seal("superseded")).result()

"""One document of each type, from fixed keys and fixed times: for tests, for tests/vectors/ and for docs/protocol.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgenode.formats import document
from edgenode.formats.cose import DocumentType
from edgenode.formats.job import Desired, Inputs, Job, JobType, Label, ModuleReference, Selector, WindowKind, WindowSpec
from edgenode.formats.manifest import FRAME, Manifest
from edgenode.formats.reading import Reading
from edgenode.formats.receipt import NO_RECEIPT, Ack, Core, Measured, Notice, Receipt, ReceiptKind, Rejected, Stored, TrustState
from edgenode.formats.trust import Grant, Node, Revoked, Role, Roots, Trust
from edgenode.records import MAX_INT, Abi, Capabilities, ClockState, Completeness, Limits, Outcome, OutcomeKind, Window, digest
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue, issue_trust

NOW = 1_800_000_000  # 2027-01-15T08:00:00Z
YEAR = 365 * 24 * 3600

ROOT_A, ROOT_B, ROOT_C, REGISTRAR, PUBLISHER, SUBMITTER, HUB, NODE = (Identity(bytes([number]) * 32) for number in range(1, 9))
SEEDS = {Identity(bytes([number]) * 32).public: number for number in range(1, 9)}  # public key -> the byte that its seed repeats

FLEET = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
CHAIN = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
JOB_ID = bytes.fromhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf")
WASM = b"\0asm\1\0\0\0"

TRUST = Trust(
    fleet=FLEET,
    version=3,
    issued=NOW,
    expires=NOW + YEAR,
    roots=Roots(threshold=2, keys=(ROOT_A.public, ROOT_B.public, ROOT_C.public)),
    grants=(
        Grant(role=Role.REGISTRAR, public_key=REGISTRAR.public, name="office", expires=NOW + YEAR),
        Grant(role=Role.PUBLISHER, public_key=PUBLISHER.public, name="builds", expires=NOW + YEAR),
        Grant(role=Role.SUBMITTER, public_key=SUBMITTER.public, name="anna", expires=NOW + YEAR),
        Grant(role=Role.HUB, public_key=HUB.public, name="hub-1", expires=NOW + YEAR),
    ),
    revoked=Revoked(keys=(bytes([0xEE]) * 32,)),
)
NODE_BODY = Node(
    fleet=FLEET, public_key=NODE.public, name="press-7", issued=NOW, expires=NOW + YEAR, labels=(Label(name="hall", value="2"),)
)
GREATEST_NODE = Node(
    fleet=FLEET,
    public_key=NODE.public,
    name="x" * 63,
    issued=MAX_INT,
    expires=MAX_INT,
    labels=(Label(name="x" * 64, value="x" * 64),) * 32,
)
MANIFEST = Manifest(
    module=digest(WASM),
    size=len(WASM),
    name="statistics",
    version="1.0.0",
    sequence=1,
    abi=Abi.STEP,
    input=FRAME,
    output="application/cbor",
    capabilities=Capabilities(channels=("host.*",)),
    limits=Limits(fuel=50_000_000, memory=1 << 20),
    issued=NOW,
)
MANIFEST_DATA = issue(MANIFEST, PUBLISHER)
JOB = Job(
    fleet=FLEET,
    id=JOB_ID,
    generation=1,
    desired=Desired.RUN,
    type=JobType.OPS,
    module=ModuleReference(name="statistics", manifest=digest(MANIFEST_DATA)),
    selector=Selector(labels=(Label(name="hall", value="2"),)),
    inputs=Inputs(channels=("host.cpu",)),
    window=WindowSpec(kind=WindowKind.TUMBLING, last_ns=20_000_000_000, size_ns=10_000_000_000),
    issued=NOW,
    start_by=NOW + 3600,
    name="cpu of hall 2",
    params=b'{"quantiles":[0.5]}',
)
JOB_DATA = issue(JOB, SUBMITTER)
SUMMARY = bytes.fromhex("a165636f756e740a")  # {"count": 10}
CORE = Core(
    job=JOB_ID,
    generation=1,
    module=digest(WASM),
    manifest=digest(MANIFEST_DATA),
    params=digest(JOB.params),
    step=0,
    revision=0,
    window=Window(start_ns=(NOW - 20) * 10**9, end_ns=(NOW - 10) * 10**9),
    seed=digest(b"edgenode/seed/1" + JOB_ID + (1).to_bytes(8, "little") + bytes(12)),
    limits=Limits(fuel=50_000_000, memory=1 << 20),
    snapshot=digest(b""),
    completeness=Completeness(received=10, expected=10),
    state_before=digest(b""),
    state_after=digest(b""),
    summary=digest(SUMMARY),
    derived=digest(b""),
    alerts=digest(b""),
    outcome=Outcome(kind=OutcomeKind.OK),
    engine="wasmtime 50.0.0",
    config=digest(b"the engine's Config"),
    fuel=12_345,
)
MEASURED = Measured(finished_ns=NOW * 10**9, clock=ClockState.SYNCHRONISED, trust=TrustState.VALID, wall_ns=150_000, load=420)
RECEIPT = Receipt(
    kind=ReceiptKind.STEP, chain=CHAIN, seq=0, prev=NO_RECEIPT, measured=MEASURED, core=document.encode(CORE), summary=SUMMARY
)
RECEIPT_DATA = issue(RECEIPT, NODE)
STOP = Receipt(
    kind=ReceiptKind.STOP,
    chain=CHAIN,
    seq=1,
    prev=digest(RECEIPT_DATA),
    measured=MEASURED,
    notice=Notice(code="stopped", text="stopped by its submitter after step 1 of 2", job=JOB_ID, generation=2, step=1),
)
STOP_DATA = issue(STOP, NODE)
ACK = Ack(
    node=NODE.public,
    chain=CHAIN,
    issued=NOW,
    stored=(Stored(seq=0, digest=digest(RECEIPT_DATA)),),
    rejected=(Rejected(seq=1, digest=digest(b"damaged"), code="signature"),),
)
READING = Reading(
    node=NODE.public,
    issued=NOW,
    engine="wasmtime 50.0.0",
    config=digest(b"the engine's Config"),
    mode="native",
    fuel_per_second=1_900_000_000,
    workers=2,
    memory=4 << 30,
    cpus=4,
    architecture="aarch64",
)


@dataclass(frozen=True)
class Example:
    """A signed document, and what stands in it."""

    name: str
    type: DocumentType
    body: Any
    data: bytes
    signers: tuple[Identity, ...]


EXAMPLES = (
    Example("manifest", DocumentType.MANIFEST, MANIFEST, MANIFEST_DATA, (PUBLISHER,)),
    Example("job", DocumentType.JOB, JOB, JOB_DATA, (SUBMITTER,)),
    Example("receipt of a step", DocumentType.RECEIPT, RECEIPT, RECEIPT_DATA, (NODE,)),
    Example("receipt of a stop", DocumentType.RECEIPT, STOP, STOP_DATA, (NODE,)),
    Example("ack", DocumentType.ACK, ACK, issue(ACK, HUB), (HUB,)),
    Example("node", DocumentType.NODE, NODE_BODY, issue(NODE_BODY, REGISTRAR), (REGISTRAR,)),
    Example("reading", DocumentType.READING, READING, issue(READING, NODE), (NODE,)),
    Example(
        "trust",
        DocumentType.TRUST,
        TRUST,
        issue_trust(TRUST, [ROOT_A, ROOT_B]),
        tuple(sorted((ROOT_A, ROOT_B), key=lambda one: one.public)),
    ),
)
BY_NAME = {example.name: example for example in EXAMPLES}

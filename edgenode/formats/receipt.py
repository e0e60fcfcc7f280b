"""The node's statement of a step, and the hub's acknowledgement of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from edgenode.formats.job import ID_BYTES
from edgenode.records import DIGEST_BYTES, KEY_BYTES, ClockState, Completeness, Limits, Outcome, Window, key

NO_RECEIPT = bytes(DIGEST_BYTES)
"""``prev`` of the first receipt in a chain."""


Seal = Callable[[bytes, int, bytes], bytes]
"""(chain, seq, prev) -> the signed receipt's bytes; called inside the transaction that gives the receipt its place."""


class ReceiptKind(StrEnum):
    STEP = "step"
    FAULT = "fault"  # the node failed, not the guest
    GAP = "gap"  # receipts were dropped
    STOP = "stop"  # a job ended before its last step


class TrustState(StrEnum):
    VALID = "valid"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The replayable part: all digests in, all digests out. It names neither node nor chain, so k nodes can agree on its bytes."""

    job: bytes = key(1, size=ID_BYTES)
    generation: int = key(2, low=1)
    module: bytes = key(3, size=DIGEST_BYTES)
    manifest: bytes = key(4, size=DIGEST_BYTES)  # of the signed document's bytes
    params: bytes = key(5, size=DIGEST_BYTES)
    step: int = key(6)  # from 0
    revision: int = key(7)  # from 0
    window: Window = key(8)
    seed: bytes = key(9, size=DIGEST_BYTES)
    limits: Limits = key(10)  # in force for this step
    snapshot: bytes = key(11, size=DIGEST_BYTES)
    completeness: Completeness = key(12)
    state_before: bytes = key(13, size=DIGEST_BYTES)
    state_after: bytes = key(14, size=DIGEST_BYTES)
    summary: bytes = key(15, size=DIGEST_BYTES)
    derived: bytes = key(16, size=DIGEST_BYTES)
    alerts: bytes = key(17, size=DIGEST_BYTES)
    outcome: Outcome = key(18)
    engine: str = key(19, longest=64)  # "wasmtime 50.0.1"
    config: bytes = key(20, size=DIGEST_BYTES)  # of the engine's Config
    fuel: int | None = key(21, default=None)  # left out where it is not exact (traps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What this run was like here. Signed, but no part of what others can replay."""

    finished_ns: int = key(1)
    clock: ClockState = key(2)
    trust: TrustState = key(3)
    wall_ns: int = key(4, default=0)  # of the step, in the worker
    load: int = key(5, default=0)  # 1-minute load average x 1000
    library: bytes | None = key(6, size=DIGEST_BYTES, default=None)  # of the engine's shared library


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a receipt that is no step tells."""

    code: str = key(1, longest=64)
    text: str = key(2, longest=512)
    job: bytes | None = key(3, size=ID_BYTES, default=None)
    generation: int | None = key(4, default=None)
    step: int | None = key(5, default=None)
    first_seq: int | None = key(6, default=None)  # of a gap
    last_seq: int | None = key(7, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    kind: ReceiptKind = key(1)
    chain: bytes = key(2, size=ID_BYTES)  # random; new at init and at restore
    seq: int = key(3)  # from 0, gapless in a chain
    prev: bytes = key(4, size=DIGEST_BYTES)  # digest of the receipt before, its signature included
    measured: Measured = key(5)
    core: bytes = key(6, longest=4096, default=b"")  # a Core, encoded; empty unless kind is step
    summary: bytes = key(7, longest=1 << 20, default=b"")
    alerts: bytes = key(8, longest=1 << 20, default=b"")
    notice: Notice | None = key(9, default=None)

    def __post_init__(self) -> None:
        if (self.kind is ReceiptKind.STEP) != bool(self.core) or (self.kind is ReceiptKind.STEP) == (self.notice is not None):
            raise ValueError("a step receipt has a core, and every other has a notice instead")
        if not self.core and (self.summary or self.alerts):
            raise ValueError("a receipt without a core has no summary or alerts: nothing would name their digests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One receipt that the hub holds durably."""

    seq: int = key(1)
    digest: bytes = key(2, size=DIGEST_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One receipt that the hub will never store, and why; sending it again cannot help."""

    seq: int = key(1)
    digest: bytes = key(2, size=DIGEST_BYTES)
    code: str = key(3, longest=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The hub's signed answer to a batch of one node's receipts in one chain."""

    node: bytes = key(1, size=KEY_BYTES)
    chain: bytes = key(2, size=ID_BYTES)
    issued: int = key(3)  # s
    stored: tuple[Stored, ...] = key(4, longest=1024, default=())
    rejected: tuple[Rejected, ...] = key(5, longest=1024, default=())

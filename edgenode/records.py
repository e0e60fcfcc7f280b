"""The frozen values that cross rooms.

Those that also stand inside signed documents name their CBOR map key with :func:`key`; ``formats.document`` reads it. Times are
nanoseconds since 1970 (``_ns``) or seconds since 1970 (no suffix); sizes are bytes.
"""

from __future__ import annotations

import array
import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

MAX_INT = 2**63 - 1
DIGEST_BYTES = 32
KEY_BYTES = 32


PRINTABLE = r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*"
"""A pattern for what people read: no control characters, and none that turn the direction of text."""


def key(
    number: int,
    *,
    low: int = 0,
    high: int = MAX_INT,
    size: int | None = None,
    longest: int = 256,
    pattern: str | None = None,
    default: Any = dataclasses.MISSING,
) -> Any:
    """A dataclass field that stands in a signed document under the map key ``number``.

    ``low``/``high`` bound an int, ``size`` is the exact and ``longest`` the greatest length of bytes (bytes), text (UTF-8 bytes)
    or a tuple (items), ``pattern`` a regular expression that a whole text must match.
    """
    bounds = {"key": number, "low": low, "high": high, "size": size, "longest": longest, "pattern": pattern}
    return dataclasses.field(default=default, metadata=bounds)


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """SHA-256 (FIPS 180-4), 32 bytes: the name of every blob, document and section."""
    return hashlib.sha256(data).digest()


class Abi(StrEnum):
    STEP = "step"
    WASI_COMMAND = "wasi-command"


class OutcomeKind(StrEnum):
    """What a step ended in; docs/protocol.md says for each what is signed."""

    OK = "ok"
    EXIT = "exit"  # a command ended with a code other than 0
    TRAP = "trap"
    FUEL = "fuel"  # the fuel budget ran out
    STACK = "stack"  # the native stack ran out; its depth depends on the CPU, so not replayable across architectures
    MEMORY = "memory"  # the module's initial memory is over the limit, or a command's input over that of its file system
    OUTPUT = "output"  # summary, state, derived or alerts are over their limit
    REPLY = "reply"  # the reply breaks the ABI


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    kind: OutcomeKind = key(1)
    detail: str = key(2, default="", longest=64)  # the trap's class, the section that was too large, what is wrong with the reply
    exit_code: int | None = key(3, default=None, high=2**32 - 1)
    location: str = key(4, default="", longest=64)  # of a trap: the index of its function in the module, decimal

    @property
    def ok(self) -> bool:
        return self.kind is OutcomeKind.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one step may use. ``memory`` is wasm linear memory; ``wall_ms`` ends a worker, never a guest outcome."""

    fuel: int = key(1, low=1)
    memory: int = key(2, low=65536, high=2**32)
    files: int = key(3, default=0, high=2**31)  # bytes of a command's in-memory file system, its input and output included
    state: int = key(4, default=1 << 20, high=1 << 24)
    wall_ms: int = key(5, default=10_000, low=1, high=3_600_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a publisher's manifest lets a module read and say. Channels are patterns with ``*``, matched on whole names."""

    channels: tuple[str, ...] = key(1, longest=64)
    summary: int = key(2, default=4096, high=1 << 20)
    derived: int = key(3, default=0, high=1 << 24)
    alerts: int = key(4, default=0, high=1 << 20)
    share_snapshot: bool = key(5, default=False)
    derives: tuple[str, ...] = key(6, longest=64, default=())  # patterns of the channels that it may write back


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open slice of time, [start_ns, end_ns)."""

    start_ns: int = key(1)
    end_ns: int = key(2)

    def __post_init__(self) -> None:
        if self.end_ns < self.start_ns:
            raise ValueError(f"window ends at {self.end_ns}, before its start {self.start_ns}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How much of a window's data is there; ``expected`` is None where a channel's rate is not known."""

    received: int = key(1)
    expected: int | None = key(2, default=None)
    late: int = key(3, default=0)
    dropped: int = key(4, default=0)


@dataclass(frozen=True, slots=True)
class Channel:
    """One named series. ``unit`` is a SenML unit (RFC 8428 §12.1); ``interval_ns`` the configured time between samples."""

    name: str
    unit: str = ""
    interval_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """What one reading of a source brought: one time for all, a value for each channel that answered."""

    time_ns: int
    values: tuple[tuple[Channel, float], ...]
    dropped: int = 0  # readings that failed or were not numbers


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one channel: ``times`` ('q', ns, ascending) and ``values`` ('d') of equal length."""

    channel: Channel
    times: array.array[int]
    values: array.array[float]

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The frozen bytes of a window: series sections as docs/step-abi.md lays them out, named by their digest."""

    window: Window
    frame: bytes
    digest: bytes
    channels: tuple[str, ...]
    completeness: Completeness


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What a guest is told beside params, state and samples (docs/step-abi.md, section 1)."""

    window: Window
    step: int
    revision: int
    seed: bytes
    completeness: Completeness


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What came out of one step. ``state`` is the next state: on a guest failure the one that went in.

    ``fuel`` is None where it may not be signed (a trap can drop fuel that was not flushed). ``wall_ns`` is measured, not replayable, and
    ``log`` is what a command wrote to stderr, cut to the node's limit: for people, and never signed.
    """

    outcome: Outcome
    fuel: int | None
    summary: bytes
    state: bytes
    derived: bytes  # series sections, concatenated; empty when there are none
    alerts: bytes
    wall_ns: int
    log: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """What an unsigned program came to (``edgenode exec``): its two streams as far as they went, whatever the outcome."""

    outcome: Outcome
    fuel: int | None
    stdout: bytes
    stderr: bytes
    wall_ns: int


@dataclass(frozen=True, slots=True)
class Engine:
    """Which engine runs steps: its version, for each ABI the digest of all that decides a result beside the inputs (portable), and
    that of its library (differs by CPU)."""

    version: str
    step_config: bytes
    command_config: bytes
    library_digest: bytes

    def config(self, abi: Abi) -> bytes:
        return self.command_config if abi is Abi.WASI_COMMAND else self.step_config


class Pending(NamedTuple):
    """A receipt on its way upstream."""

    seq: int
    digest: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Receipts of one chain that upstream has not acknowledged, in the order of ``seq``."""

    chain: bytes
    receipts: tuple[Pending, ...]


class ClockState(StrEnum):
    SYNCHRONISED = "synchronised"
    ESTIMATED = "estimated"
    UNKNOWN = "unknown"


def matches(pattern: str, name: str) -> bool:
    """Whether a channel or module pattern, in which ``*`` stands for any run of characters, fits the whole ``name``."""
    head, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    if not name.startswith(head):
        return False
    at, *middles, tail = len(head), *rest
    for part in middles:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - at >= len(tail) and name.endswith(tail)


def matches_any(patterns: Sequence[str], name: str) -> bool:
    return any(matches(pattern, name) for pattern in patterns)

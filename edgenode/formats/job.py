"""The submitter's request: which module, on which nodes, over which data, how often."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgenode.formats.manifest import NAME
from edgenode.records import DIGEST_BYTES, KEY_BYTES, PRINTABLE, key

ID_BYTES = 16


class JobType(StrEnum):
    BATCH = "batch"  # on ``count`` nodes, once
    OPS = "ops"  # on all that match, once
    SERVICE = "service"  # on ``count`` nodes, kept running
    DAEMON = "daemon"  # on all that match, kept running


class Desired(StrEnum):
    RUN = "run"
    STOP = "stop"


class WindowKind(StrEnum):
    SPAN = "span"  # one window over the whole span
    TUMBLING = "tumbling"  # windows of size_ns, aligned to 1970, those that lie wholly in the span


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleReference:
    """By name the node's highest sequence is meant; the digest of a manifest pins one, a lower sequence included."""

    name: str = key(1, pattern=NAME)
    manifest: bytes | None = key(2, size=DIGEST_BYTES, default=None)  # digest of the signed manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    name: str = key(1, longest=64, pattern=PRINTABLE)
    value: str = key(2, longest=64, pattern=PRINTABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which nodes match: one of ``nodes`` if any are named, and all of ``labels``."""

    nodes: tuple[bytes, ...] = key(1, size=KEY_BYTES, longest=1024, default=())
    labels: tuple[Label, ...] = key(2, longest=32, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    channels: tuple[str, ...] = key(1, longest=64)  # patterns with *


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """A span, given by its ends or as the last ``last_ns`` before the node accepted the job, and how it is cut."""

    kind: WindowKind = key(1)
    start_ns: int | None = key(2, default=None)
    end_ns: int | None = key(3, default=None)
    last_ns: int | None = key(4, low=1, default=None)
    size_ns: int | None = key(5, low=1_000_000, default=None)

    def __post_init__(self) -> None:
        by_ends = self.start_ns is not None and self.end_ns is not None
        by_last = self.last_ns is not None and self.start_ns is None and self.end_ns is None
        if by_ends == by_last or (self.last_ns is not None) == by_ends:
            raise ValueError("a window's span is given either as start and end, or as last")
        if self.start_ns is not None and self.end_ns is not None and self.end_ns <= self.start_ns:
            raise ValueError("a window's span ends at or before its start")
        if (self.kind is WindowKind.TUMBLING) != (self.size_ns is not None):
            raise ValueError("a tumbling window has a size, and no other has")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Limits that the submitter sets below the manifest's; what is left out is the manifest's."""

    fuel: int | None = key(1, low=1, default=None)
    memory: int | None = key(2, low=65536, high=2**32, default=None)
    files: int | None = key(3, default=None)
    state: int | None = key(4, high=1 << 24, default=None)
    wall_ms: int | None = key(5, low=1, high=3_600_000, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    fleet: bytes = key(1, size=ID_BYTES)
    id: bytes = key(2, size=ID_BYTES)
    generation: int = key(3, low=1)  # a higher one replaces a lower one
    desired: Desired = key(4)
    type: JobType = key(5)
    module: ModuleReference = key(6)
    selector: Selector = key(7)
    inputs: Inputs = key(8)
    window: WindowSpec = key(9)
    issued: int = key(10)  # s; told, not judged
    start_by: int = key(11)  # s; a node that meets the job later refuses it
    name: str = key(12, longest=64, pattern=PRINTABLE, default="")
    count: int = key(13, low=1, high=10_000, default=1)  # batch and service: how many nodes
    params: bytes = key(14, longest=64 << 10, default=b"")
    limits: Wanted = key(15, default=Wanted())
    priority: int = key(16, high=100, default=50)
    until: int | None = key(17, default=None)  # s; no step starts after it
    max_failures: int = key(18, low=1, high=1_000_000, default=10)  # guest failures in a row that stop the job

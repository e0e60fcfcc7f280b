"""Windows: how a stretch of time is cut into the slices that steps see. Pure.

A windowing says which windows there are; when one fires (watermark, lateness) is another question, and not asked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from edgenode.formats.job import WindowKind, WindowSpec
from edgenode.records import Window


class Windowing(Protocol):
    """A finite, ordered set of windows."""

    def __len__(self) -> int:
        """How many windows there are, without making them."""

    def __getitem__(self, index: int) -> Window:
        """The window of this index, from 0, by their start. Raises IndexError."""

    def __iter__(self) -> Iterator[Window]:
        """All of them, in that order."""


@dataclass(frozen=True, slots=True)
class Span:
    """The span itself, as one window."""

    span: Window

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Window:
        if index != 0:
            raise IndexError(index)
        return self.span

    def __iter__(self) -> Iterator[Window]:
        yield self.span


@dataclass(frozen=True, slots=True)
class Tumbling:
    """The whole windows of ``size_ns`` in a span, side by side and aligned to multiples of the size since 1970.

    Aligned to 1970 and not to the span, so that every node and every run cuts at the same instants. The parts of a window at the span's
    two ends are left out. Raises ValueError for a size below 1.
    """

    span: Window
    size_ns: int

    def __post_init__(self) -> None:
        if self.size_ns < 1:
            raise ValueError(f"window size is {self.size_ns} ns")

    def __len__(self) -> int:
        return max(0, self.span.end_ns // self.size_ns - self._first)

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start_ns = (self._first + index) * self.size_ns
        return Window(start_ns=start_ns, end_ns=start_ns + self.size_ns)

    def __iter__(self) -> Iterator[Window]:
        return map(self.__getitem__, range(len(self)))

    @property
    def _first(self) -> int:
        return -(-self.span.start_ns // self.size_ns)


def windowing(spec: WindowSpec, accepted_ns: int) -> Windowing:
    """The windows of a job that this node accepted at ``accepted_ns``, which is where a span of the last so many ns ends."""
    if spec.last_ns is not None:
        span = Window(start_ns=max(0, accepted_ns - spec.last_ns), end_ns=accepted_ns)
    else:
        assert spec.start_ns is not None and spec.end_ns is not None  # noqa: S101 - WindowSpec holds one or the other
        span = Window(start_ns=spec.start_ns, end_ns=spec.end_ns)
    if spec.kind is WindowKind.TUMBLING:
        assert spec.size_ns is not None  # noqa: S101 - WindowSpec: a tumbling window has a size
        return Tumbling(span, spec.size_ns)
    return Span(span)

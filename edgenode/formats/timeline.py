"""The samples of several series in one order: by time, and at one time in the order of the series.

Rendered a batch at a time, so that the text of millions of samples is never there as millions of objects.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from edgenode.records import Series

SECOND: Final = 1_000_000_000  # ns

_BATCH: Final = 4096  # samples of one series

Row = TypeVar("Row", str, bytes)


def in_order(series: Sequence[Series], render: Callable[[Series], Iterable[Row]]) -> Iterator[list[Row]]:
    """Batches of rows. ``render`` makes one row of each sample of a part of a series."""
    starts = [0] * len(series)
    while True:
        ends = [one.times[start + _BATCH - 1] for one, start in zip(series, starts, strict=True) if start + _BATCH < len(one)]
        stops = [bisect_right(one.times, min(ends), start) if ends else len(one) for one, start in zip(series, starts, strict=True)]
        times: list[int] = []
        rows: list[Row] = []
        for one, start, stop in zip(series, starts, stops, strict=True):
            if start < stop:
                part = Series(one.channel, one.times[start:stop], one.values[start:stop])
                times += part.times
                rows += render(part)
        yield [rows[at] for at in sorted(range(len(times)), key=times.__getitem__)]  # a stable sort, quick over runs in order
        if not ends:
            return
        starts = stops


def seconds(times: Sequence[int]) -> list[str]:
    """Ascending times in ns as seconds with nine decimals: exact, where a double would not be."""
    if times and times[0] < 0:
        return [f"{'-' * (time < 0)}{abs(time) // SECOND}.{abs(time) % SECOND:09d}" for time in times]
    return [f"{time // SECOND}.{time % SECOND:09d}" for time in times]

"""Columns of samples: into order, and together. Pure.

Times are i64 ns ('q'), values f64 ('d'). Where one time stands several times, the sample that arrived last wins.
"""

from __future__ import annotations

import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgenode.formats.frame import ascending
from edgenode.records import Channel, Series, Window

Pick = Callable[[Sequence["array.array[float]"]], "array.array[float]"]
"""The values that belong to joined times, from the values of the pieces."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples that were read or gathered together: times, each greater than the one before, and a column for each channel's name."""

    times: array.array[int]
    values: Mapping[str, array.array[float]]

    @property
    def samples(self) -> int:
        return len(self.times) * len(self.values)

    def within(self, window: Window) -> Piece:
        """The part of it that lies in the window, which may be empty."""
        rows = rows_within(self.times, window)
        if rows.stop - rows.start == len(self.times):
            return self
        return Piece(self.times[rows], {name: column[rows] for name, column in self.values.items()})


def in_order(times: array.array[int]) -> tuple[array.array[int], list[int] | None]:
    """The times, each greater than the one before, and the rows they come from: None where nothing had to move."""
    if ascending(times):
        return times, None
    last = {time: row for row, time in enumerate(times)}
    ordered = array.array("q", sorted(last))
    return ordered, [last[time] for time in ordered]


def pick_rows(values: array.array[float], rows: list[int] | None) -> array.array[float]:
    """The values in these rows; all of them for None."""
    return values if rows is None else array.array("d", [values[row] for row in rows])


def rows_within(times: array.array[int], window: Window) -> slice:
    """The rows of ordered times that lie in the window."""
    return slice(bisect_left(times, window.start_ns), bisect_left(times, window.end_ns))


def assemble(channels: Iterable[Channel], pieces: Sequence[Piece]) -> list[Series]:
    """A series for each channel, from pieces that are not empty and come in the order in which they arrived."""
    of_channel: dict[str, list[Piece]] = {}
    for piece in pieces:
        for name in piece.values:
            of_channel.setdefault(name, []).append(piece)
    joined: dict[tuple[int, ...], tuple[array.array[int], Pick]] = {}  # channels of the same pieces share one time column
    series = []
    for channel in channels:
        mine = of_channel.get(channel.name, [])
        key = tuple(map(id, mine))
        if key not in joined:
            joined[key] = join([piece.times for piece in mine])
        times, pick = joined[key]
        series.append(Series(channel, times, pick([piece.values[channel.name] for piece in mine])))
    return series


def join(pieces: Sequence[array.array[int]]) -> tuple[array.array[int], Pick]:
    """The times of all pieces in order, and how to pick the values that belong to them, from pieces as in assemble."""
    if len(pieces) == 1:
        return pieces[0], lambda values: values[0]
    by_start = sorted(range(len(pieces)), key=lambda index: pieces[index][0])
    apart = all(pieces[before][-1] < pieces[after][0] for before, after in pairwise(by_start))
    times = array.array("q")
    for index in by_start if apart else range(len(pieces)):
        times.extend(pieces[index])
    if apart:
        return times, lambda values: _concatenated([values[index] for index in by_start])
    times, rows = in_order(times)
    return times, lambda values: pick_rows(_concatenated(values), rows)


def _concatenated(pieces: Sequence[array.array[float]]) -> array.array[float]:
    whole = array.array("d")
    for piece in pieces:
        whole.extend(piece)
    return whole

"""Polls gathered in memory, before the store writes them.

append -> open block (one per source and set of channels) --full or flushed--> sealed --take--> being written --done--> gone
                                                                ^---------------give back--------------'
"""

from __future__ import annotations

import array
from collections import deque
from collections.abc import Iterable, Iterator

from edgenode.errors import MalformedError
from edgenode.formats.frame import check_channel
from edgenode.records import MAX_INT, Channel, Poll, Window

# A poll's channels share one time column; nobody polls a sensor to better than this, and equal low digits code well.
_POLL_GRAIN_NS = 1_000_000

MOST_CHANNELS = 1 << 16  # in one poll


class Block:
    """Polls of one source with the same channels, as they arrived: one column of times, the values row by row."""

    __slots__ = ("_coarse", "channels", "drops", "earliest", "latest", "latest_row", "rivals", "source", "times", "values")

    def __init__(self, source: str, channels: tuple[Channel, ...]) -> None:
        self.source = source
        self.channels = channels
        self.times = array.array("q")
        self.values = array.array("d")
        self.drops = array.array("q")  # time, count, time, count …: readings that failed
        self.earliest = MAX_INT
        self.latest = -1
        self.latest_row = 0
        self.rivals: list[Block] = []  # open blocks with a channel of this one's
        # Faster or unsteady sources would lose samples that share a millisecond, so they keep their nanoseconds.
        self._coarse = bool(channels) and all(c.interval_ns is not None and c.interval_ns >= _POLL_GRAIN_NS for c in channels)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def samples(self) -> int:
        return len(self.values)

    @property
    def bytes(self) -> int:
        return 8 * (len(self.times) + len(self.values) + len(self.drops))

    def grain(self, time_ns: int) -> int:
        """The time as it is stored: cut to the millisecond, not rounded, so that no sample moves into a window that was closed."""
        return time_ns - time_ns % _POLL_GRAIN_NS if self._coarse else time_ns

    def add(self, time_ns: int, values: array.array[float], dropped: int) -> None:
        if time_ns >= self.latest:
            self.latest, self.latest_row = time_ns, len(self.times)
        if time_ns < self.earliest:
            self.earliest = time_ns
        self.values.extend(values)
        self.times.append(time_ns)
        if dropped:
            self.drops.extend((time_ns, dropped))

    def column(self, position: int) -> array.array[float]:
        """A copy of one channel's values, in the order of ``times``."""
        return self.values[position :: len(self.channels)]

    def value(self, row: int, position: int) -> float:
        return self.values[row * len(self.channels) + position]


class Gathered:
    """The blocks in memory. Not thread-safe: the store's lock guards it.

    ``full`` is the length at which a block is sealed, in polls; ``most_bytes`` bounds what waits to be written: when writing fails for
    long, the oldest blocks go, and ``dropped`` counts their samples.
    """

    def __init__(self, full: int, most_bytes: int) -> None:
        self._full = full
        self._most_bytes = most_bytes
        self._open: dict[tuple[str, tuple[Channel, ...]], Block] = {}
        self._of_source: dict[str, Block] = {}  # the block that a source's last poll went to
        self._holders: dict[str, list[Block]] = {}  # channel name -> the open blocks that hold it
        self._sealed: deque[Block] = deque()
        self._writing: list[Block] = []
        self._sealed_bytes = 0
        self.dropped = 0

    def __iter__(self) -> Iterator[Block]:
        """Every block, those that arrived first first."""
        return iter(self.blocks())

    def blocks(self, *, without_writing: bool = False) -> list[Block]:
        """Every block in the order of arrival, those that were taken to be written left out if so wished."""
        return [*(() if without_writing else self._writing), *self._sealed, *self._open.values()]

    @property
    def waiting(self) -> bool:
        """Whether there are sealed blocks."""
        return bool(self._sealed)

    def append(self, source: str, poll: Poll) -> Block | None:
        """Take one poll; returns the block when it was begun for this poll. Raises MalformedError for a channel that cannot be stored.

        A time before 1970 or past an i64 is counted as dropped, as is a poll without values and without failed readings ignored.
        """
        if not 0 <= poll.time_ns <= MAX_INT:
            self.dropped += len(poll.values)
            return None
        channels: tuple[Channel, ...] = ()
        row: tuple[float, ...] = ()
        if poll.values:
            channels, row = zip(*poll.values)  # noqa: B905 - pairs; this is the hot path
        elif not poll.dropped:
            return None
        values = array.array("d", row)  # before anything is changed: it raises for what is not a number
        begun = None
        block = self._of_source.get(source)
        if block is None or block.channels != channels:
            block = self._open.get((source, channels))
            if block is None:
                begun = block = self._begin(source, channels)
            self._of_source[source] = block
        time_ns = block.grain(poll.time_ns)
        if block.rivals:
            for rival in [rival for rival in block.rivals if rival.latest >= time_ns]:
                self._seal(rival)  # it may hold this very sample: end it, so that this one counts as the later
        block.add(time_ns, values, poll.dropped)
        if len(block) >= self._full:
            self._seal(block)
        return begun

    def seal_all(self) -> None:
        for block in tuple(self._open.values()):
            self._seal(block)

    def take(self) -> list[Block]:
        """The sealed blocks, to be written; they stay visible until ``written`` or ``give_back``."""
        self._writing = list(self._sealed)
        self._sealed.clear()
        self._sealed_bytes = 0
        return self._writing

    def written(self) -> None:
        self._writing = []

    def give_back(self) -> None:
        """The blocks that were taken could not be written: keep them for the next time."""
        self._sealed.extendleft(reversed(self._writing))
        self._sealed_bytes += sum(block.bytes for block in self._writing)
        self._writing = []
        self._bound()

    def _begin(self, source: str, channels: tuple[Channel, ...]) -> Block:
        for channel in channels:
            check_channel(channel)
            if channel.interval_ns is not None and not 0 < channel.interval_ns <= MAX_INT:
                raise MalformedError(f"interval of channel {channel.name} is {channel.interval_ns} ns", hint="set a usual interval_ms")
        if len(channels) > MOST_CHANNELS:
            raise MalformedError(
                f"source {source} has {len(channels)} channels in one poll", hint=f"at most {MOST_CHANNELS}: poll it in parts"
            )
        names = {channel.name for channel in channels}
        if len(names) < len(channels):
            raise MalformedError(f"source {source} names a channel twice in one poll", hint="give each of its channels its own name")
        block = self._open[source, channels] = Block(source, channels)
        for name in names:
            holders = self._holders.setdefault(name, [])
            for other in holders:
                if other not in block.rivals:
                    block.rivals.append(other)
                    other.rivals.append(block)
            holders.append(block)
        return block

    def _seal(self, block: Block) -> None:
        del self._open[block.source, block.channels]
        if self._of_source.get(block.source) is block:
            del self._of_source[block.source]
        for channel in block.channels:
            holders = self._holders[channel.name]
            holders.remove(block)
            if not holders:
                del self._holders[channel.name]
        for rival in block.rivals:
            rival.rivals.remove(block)
        block.rivals = []
        self._sealed.append(block)
        self._sealed_bytes += block.bytes
        self._bound()

    def _bound(self) -> None:
        while self._sealed_bytes > self._most_bytes:
            oldest = self._sealed.popleft()
            self._sealed_bytes -= oldest.bytes
            self.dropped += oldest.samples


def copies(blocks: Iterable[Block], names: set[str], window: Window) -> list[tuple[str, array.array[int], dict[str, array.array[float]]]]:
    """Source, times and columns of the blocks that may have samples of these channels in the window."""
    found = []
    for block in blocks:
        if block.latest >= window.start_ns and block.earliest < window.end_ns:
            values = {channel.name: block.column(position) for position, channel in enumerate(block.channels) if channel.name in names}
            if values:
                found.append((block.source, block.times[:], values))
    return found

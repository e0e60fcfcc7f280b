"""The store of samples, samples.db.

    append -> gathered in memory --flush_seconds, or chunk_samples polls--> chunk --when enough small ones--> merged chunk
                     |                                                        |                                   |
                     +------------------------ read: all alike <--------------+-----------------------------------+

A chunk holds polls of one source with one set of channels: a column of times and, for each channel, a column of values. Small chunks of
a slow source are merged once, when together they are as long as a full one: every sample is written twice at most. The oldest chunks go
when they are too old or the database is too large. Where a (channel, time) comes again, the later one wins.
"""

from __future__ import annotations

import array
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from edgenode.clock import Clock
from edgenode.config import SamplesConfig
from edgenode.errors import LimitError, NoSuchChannelError, StorageError
from edgenode.formats.frame import check_channel
from edgenode.records import MAX_INT, Channel, ClockState, Poll, Series, Window
from edgenode.sensors.chunks import Chunk, Chunks, KnownChannel, StepKey, drops_within, open_chunks, set_aside
from edgenode.sensors.columns import Piece, assemble, in_order, pick_rows
from edgenode.sensors.gathered import Block, Gathered, copies

HELD_BYTES = 32 * 1024 * 1024  # samples kept in memory while the disk takes none

_DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Selection:
    """What a window holds: a series for each name that was asked for, and how many readings of their sources failed in it."""

    series: list[Series]
    dropped: int


@dataclass(frozen=True, slots=True)
class SamplesHealth:
    held: int  # samples in memory, not yet written
    written: int  # samples since the start
    dropped: int  # samples lost since the start: the disk took none for too long, or their time was not in 1970 to 2262
    bytes: int  # that the database uses
    error: StorageError | None  # why nothing can be written now
    set_aside: Path | None  # where a damaged database was put since the start


class Samples:
    """One store. Calls come from any thread; append takes moments, the others wait for the disk.

    Raises StorageError when the file can be neither opened nor made. A damaged one is set aside, a new one begun, and health says so.
    """

    def __init__(self, path: Path, config: SamplesConfig, clock: Clock, *, held_bytes: int = HELD_BYTES) -> None:
        self._path = path
        self._config = config
        self._clock = clock
        # Taken in this order. The first two are held over disk calls, each for one of the connections; the third for moments only.
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._memory = threading.Lock()
        self._wake = threading.Condition(self._memory)
        self._gathered = Gathered(config.chunk_samples, held_bytes)
        self._written = self._lost = 0
        self._error: StorageError | None = None
        self._closing = False
        self._chunks, self._set_aside = open_chunks(path, config.chunk_samples)
        self._used_bytes = self._chunks.used_bytes()
        self._newest = 0  # the highest id of a chunk before the blocks that are being written
        self._known = dict(self._chunks.channels)
        self._writer = threading.Thread(target=self._write_behind, name="samples", daemon=True)
        self._writer.start()

    def append(self, source: str, poll: Poll) -> None:
        """Take one poll of a source; never waits or fails for the disk. Raises MalformedError for a channel that cannot be stored."""
        with self._memory:
            begun = self._gathered.append(source, poll)
            if begun is not None:
                self._known.update((channel.name, channel) for channel in begun.channels)
            if self._gathered.waiting and self._error is None:
                self._wake.notify()

    def append_series(self, source: str, series: Sequence[Series], key: StepKey) -> bool:
        """Write the samples that a step derived, once: False when this revision of it, or a higher one, was written before.

        They are on the disk, with the key and in one transaction, when it returns. Samples from before 1970 are counted as dropped. A
        channel that a source polls should not be derived too: what is polled and not yet flushed would count as the later.
        Raises MalformedError for a channel that cannot be stored and StorageError; then nothing was written.
        """
        chunks, lost = [], 0
        with self._memory:
            room = self._config.channels - len(self._known)
            names = set(self._known)
        kept = []
        for one in series:
            check_channel(one.channel)
            if one.channel.name not in names:
                if room <= 0:
                    lost += len(one.times)
                    continue
                room -= 1
                names.add(one.channel.name)
            kept.append(one)
            rows = [row for row, time_ns in enumerate(one.times) if time_ns >= 0]
            lost += len(one.times) - len(rows)
            times, order = in_order(array.array("q", [one.times[row] for row in rows]))
            if times:
                chunks.append(Chunk(source, (one.channel,), times, [pick_rows(pick_rows(one.values, rows), order)]))
        with self._writing:
            if not self._usable().apply(key, chunks, self._clock.now_ns()):
                return False
        with self._memory:
            self._written += sum(chunk.samples for chunk in chunks)
            self._lost += lost
            self._known.update((one.channel.name, one.channel) for one in kept)
        return True

    def known(self) -> list[Channel]:
        """Every channel, by name."""
        with self._memory:
            return sorted(self._known.values(), key=lambda channel: channel.name)

    def channels(self) -> list[KnownChannel]:
        """Every channel with its source, first and last time and last value, by name. Raises StorageError."""
        with self._reading:
            with self._memory:
                view = self._chunks.view()
                held = [
                    KnownChannel(channel, block.source, block.earliest, block.latest, block.value(block.latest_row, position))
                    for block in self._gathered
                    for position, channel in enumerate(block.channels)
                ]
            with closing(view):
                stored = list(view.known())
        newest: dict[str, KnownChannel] = {}
        for one in chain(stored, held):  # in the order of arrival
            newest[one.channel.name] = _newer(newest.get(one.channel.name), one)
        return [newest[name] for name in sorted(newest)]

    def read(self, names: Sequence[str], window: Window) -> list[Series]:
        """The samples of these channels in the window, a series for each name, in their order. Raises as select."""
        return self.select(names, window).series

    def select(self, names: Sequence[str], window: Window, most: int = MAX_INT) -> Selection:
        """As read, with the failed readings of the channels' sources.

        Raises NoSuchChannelError, StorageError, and LimitError for more than ``most`` samples, counted as they are stored, before all of
        them are in memory.
        """
        wanted = set(names)
        pieces: list[Piece] = []
        found = 0
        with self._reading:
            # Memory and disk as of one moment, so that nothing is missed or counted twice.
            with self._memory:
                channels = [self._channel(name) for name in names]
                view = self._chunks.view()
                blocks = self._gathered.blocks(without_writing=view.newest > self._newest)
                gathered = copies(blocks, wanted, window)
                failed = [(block.source, drops_within(block.drops, window)) for block in blocks if block.drops]
            with closing(view):
                sources = view.sources(wanted) | {source for source, _, _ in gathered}
                dropped = view.drops(sources, window) + sum(count for source, count in failed if source in sources)
                for piece in chain(view.pieces(wanted, window), (_piece(times, values, window) for _, times, values in gathered)):
                    found += piece.samples
                    if found > most:
                        raise LimitError("samples.window_samples", most, f"at least {found}", unit="samples")
                    if piece.times:
                        pieces.append(piece)
        return Selection(assemble(channels, pieces), dropped)

    def flush(self) -> None:
        """Write what is in memory. Raises StorageError; then it stays in memory."""
        with self._memory:
            self._gathered.seal_all()
        self._write()

    def retire(self) -> int:
        """Drop some of the chunks that are too old or too many, the oldest first; returns how many, 0 when there are no more.

        Each flush does so too. Age counts from when a chunk was written, so that a recording of old times stays. Raises StorageError.
        """
        now_ns = self._clock.now_ns()
        # Nothing is too old while nobody knows what time it is.
        before_ns = 0 if self._clock.state() is ClockState.UNKNOWN else now_ns - self._config.days * _DAY_NS
        with self._writing:
            chunks = self._usable()
            retired = chunks.retire(self._config.bytes, before_ns)
            self._used_bytes = chunks.used_bytes()
        return retired

    def health(self) -> SamplesHealth:
        """Counters, and the state of the database as the last write left it. Does not wait for the disk."""
        with self._memory:
            return SamplesHealth(
                held=sum(block.samples for block in self._gathered),
                written=self._written,
                dropped=self._lost + self._gathered.dropped,
                bytes=self._used_bytes,
                error=self._error,
                set_aside=self._set_aside,
            )

    def close(self) -> None:
        """Flush and close. Raises StorageError when the flush failed: what was in memory is lost then."""
        with self._memory:
            self._closing = True
            self._wake.notify_all()
        self._writer.join()
        try:
            self.flush()
        finally:
            with self._writing, self._reading:
                self._chunks.close()

    def _channel(self, name: str) -> Channel:
        if name not in self._known:
            raise NoSuchChannelError(f"no channel {name}")
        return self._known[name]

    def _write_behind(self) -> None:
        seconds = self._config.flush_seconds
        due_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
        while True:
            with self._memory:
                left = min(seconds, (due_ns - self._clock.monotonic_ns()) / 1e9)
                early = self._wake.wait_for(self._has_work, max(0.0, left))
                if self._closing:
                    return
                if not early or self._clock.monotonic_ns() >= due_ns:
                    self._gathered.seal_all()
                    due_ns = self._clock.monotonic_ns() + int(seconds * 1e9)
            try:
                self._write()
            except StorageError as error:
                with self._memory:
                    self._error = error

    def _has_work(self) -> bool:
        # After a failure only the time wakes the writer, not each poll.
        return self._closing or (self._gathered.waiting and self._error is None)

    def _write(self) -> None:
        with self._writing:
            now_ns = self._clock.now_ns()
            try:
                chunks = self._usable()
                newest = chunks.newest()
                with self._memory:
                    self._newest = newest
                    blocks = self._gathered.take()
                if not blocks:
                    return
                whole = [_chunk(block) for block in blocks]
                chunks.write(whole, now_ns)
            except StorageError as error:
                with self._memory:
                    self._error = error
                    self._gathered.give_back()
                raise
            with self._memory:
                self._error = None
                self._gathered.written()
                self._written += sum(chunk.samples for chunk in whole)
            chunks.merge(now_ns)
        # At least as much as was written may go, so that many small sources cannot outrun it.
        for _ in range(1 + len(blocks) // 32):
            if not self.retire():
                break

    def _usable(self) -> Chunks:
        """The database; a new one when the old was found damaged. The caller holds ``_writing``."""
        if self._chunks.damaged:
            with self._reading:
                self._chunks.close()
                self._set_aside = set_aside(self._path)
                self._chunks, _ = open_chunks(self._path, self._config.chunk_samples)
        return self._chunks


def _chunk(block: Block) -> Chunk:
    times, rows = in_order(block.times)
    columns = [pick_rows(block.column(position), rows) for position in range(len(block.channels))]
    return Chunk(block.source, block.channels, times, columns, block.drops)


def _piece(times: array.array[int], values: dict[str, array.array[float]], window: Window) -> Piece:
    times, rows = in_order(times)
    return Piece(times, {name: pick_rows(column, rows) for name, column in values.items()}).within(window)


def _newer(before: KnownChannel | None, after: KnownChannel) -> KnownChannel:
    if before is None or before.last_ns is None or before.first_ns is None:
        return after
    if after.last_ns is None or after.first_ns is None:
        return before
    newest = after if after.last_ns >= before.last_ns else before
    return replace(newest, first_ns=min(before.first_ns, after.first_ns))

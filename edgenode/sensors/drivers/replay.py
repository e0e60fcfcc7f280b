"""Plays a recording from a CSV file, as it was or faster.

    [sources.press]
    driver = "replay"
    path = "/data/press.csv"
    time = "timestamp"       # the column of times (default "time"): ISO 8601, YYYY-MM-DD HH:MM:SS, or seconds since 1970; UTC if no zone
    speed = 60.0             # 1 (default) as recorded, 60 sixty times faster, 0 as fast as possible
    loop = true              # begin again at the end (default false)
    shift = true             # move the times so that the first row is now (default false: the recorded times)

    [sources.press.columns]  # default: every other column, without a unit
    value = { channel = "temperature", unit = "Cel" }

Channels are named below the source: press/temperature. With ``shift`` the rows keep their distances, so at a speed above 1 their times
run ahead of the clock. A row or cell that cannot be read is counted as dropped.
"""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from edgenode.clock import Clock
from edgenode.config import SourceConfig, build, unknown_key
from edgenode.errors import ConfigError, MalformedError
from edgenode.formats.frame import check_channel
from edgenode.records import MAX_INT, Channel, Poll
from edgenode.sensors.blocking import Blocking
from edgenode.sensors.source import Sink

_BATCH_ROWS = 500  # read at once: few turns of the loop, and each of them short
_READ_SECONDS = 30.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = re.compile(r"(\d{1,10})(?:\.(\d{1,9})\d*)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayColumn:
    """What a column becomes; the channel is named as the column where nothing else is said."""

    channel: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    path: str
    time: str = "time"
    speed: float = 1.0
    loop: bool = False
    shift: bool = False
    columns: Mapping[str, ReplayColumn] = field(default_factory=dict)


class ReplaySource:
    """A driver of edgenode.sensors.source."""

    def __init__(self, name: str, config: SourceConfig, clock: Clock) -> None:
        options = build(ReplayOptions, config.options, f"sources.{name}")
        if options.loop and not options.speed:
            raise ConfigError(f"sources.{name}.loop with speed 0 would never rest", hint="set a speed above 0, or loop = false")
        self._name = name
        self._options = options
        self._clock = clock
        self._blocking = Blocking(name, _READ_SECONDS)
        self._columns = {column: self._channel(column, to) for column, to in options.columns.items()}

    def channels(self) -> Sequence[Channel]:
        return tuple(self._columns.values())

    async def run(self, sink: Sink) -> None:
        next_ns = 0  # where a moved pass may begin at the earliest: after the one before it
        while True:
            next_ns = await self._play(sink, next_ns)
            if not self._options.loop:
                return

    async def _play(self, sink: Sink, earliest_ns: int) -> int:
        """Deliver the file once; return the time at which a row after its last one would stand."""
        rows = self._rows()
        first_ns: int | None = None
        began_ns = move_ns = latest_ns = dropped = 0
        gap_ns = 1_000_000_000
        while batch := await self._blocking.call(lambda: list(islice(rows, _BATCH_ROWS))):
            for poll in batch:
                dropped += poll.dropped
                if poll.time_ns < 0:  # no time: told of with the next row that has one
                    continue
                if first_ns is None:
                    first_ns, began_ns = poll.time_ns, self._clock.monotonic_ns()
                    if self._options.shift:
                        move_ns = max(self._clock.now_ns(), earliest_ns) - first_ns
                else:
                    gap_ns = max(1, poll.time_ns + move_ns - latest_ns)
                if self._options.speed:
                    due_ns = began_ns + (poll.time_ns - first_ns) / self._options.speed
                    if (wait_ns := due_ns - self._clock.monotonic_ns()) > 0:
                        await asyncio.sleep(wait_ns / 1e9)
                latest_ns = min(poll.time_ns + move_ns, MAX_INT)
                sink(Poll(latest_ns, poll.values, dropped))
                dropped = 0
        if first_ns is None:
            raise MalformedError(f"{self._options.path} has no row with a time in column {self._options.time}", hint="check the file")
        if dropped:
            sink(Poll(latest_ns, (), dropped))
        return latest_ns + gap_ns

    def _rows(self) -> Iterator[Poll]:
        """The rows as recorded; one whose time cannot be read has the time -1. Runs in the reading thread."""
        with Path(self._options.path).open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            time_at, columns = self._layout(header)
            while True:
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error:
                    yield Poll(-1, (), len(columns))
                    continue
                if row:
                    yield _poll(row, time_at, columns)

    def _layout(self, header: list[str]) -> tuple[int, list[tuple[int, Channel]]]:
        columns = self._columns or {name: self._channel(name, ReplayColumn()) for name in header if name != self._options.time}
        for column in (self._options.time, *columns):
            if column not in header:
                raise unknown_key(f"{column!r} as a column of {self._options.path}", column, header)
        self._columns = columns
        return header.index(self._options.time), [(header.index(name), channel) for name, channel in columns.items()]

    def _channel(self, column: str, to: ReplayColumn) -> Channel:
        channel = Channel(f"{self._name}/{to.channel or column}", to.unit)
        try:
            check_channel(channel)
        except MalformedError as error:
            raise ConfigError(f"column {column!r} of source {self._name}: {error.what}", hint=error.hint) from error
        return channel


def _poll(row: list[str], time_at: int, columns: list[tuple[int, Channel]]) -> Poll:
    time_ns = parse_time(row[time_at]) if time_at < len(row) else None
    if time_ns is None:
        return Poll(-1, (), len(columns))
    values = []
    for at, channel in columns:
        cell = row[at].strip() if at < len(row) else ""
        if _NUMBER.fullmatch(cell):
            values.append((channel, float(cell)))
    return Poll(time_ns, tuple(values), len(columns) - len(values))


def parse_time(text: str) -> int | None:
    """ns since 1970 of an ISO 8601 time (UTC where it names no zone) or of seconds since 1970; None for anything else."""
    text = text.strip()
    if seconds := _SECONDS.fullmatch(text):
        whole, fraction = seconds.groups(default="")
        time_ns = int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0"))
        return time_ns if time_ns <= MAX_INT else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    time_ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
    return time_ns if 0 <= time_ns <= MAX_INT else None

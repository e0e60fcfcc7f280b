"""A CSV file of samples -> series, for ``edgenode exec``; its help says what such a file looks like."""

from __future__ import annotations

import array
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from edgenode.errors import ConfigError, MalformedError
from edgenode.formats.frame import check_channel
from edgenode.records import Channel, Series
from edgenode.sensors.drivers.replay import parse_time

_HEADING = re.compile(r"(?P<name>[^\[\]]*?)\s*(?:\[(?P<unit>[^\[\]]*)\])?")


def read(path: Path) -> list[Series]:
    """The series of a file, in the order of time; of two samples of a channel at one time the later row counts. Raises ConfigError."""
    samples: dict[str, dict[int, float]] = {}
    units: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for channel, time_ns, value in _samples(csv.DictReader(file, strict=True), path):
                samples.setdefault(channel.name, {})[time_ns] = value
                units.setdefault(channel.name, channel.unit)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"cannot read {path}: {error}", hint="a CSV file with a header: 'edgenode exec --help' shows both forms"
        ) from error
    return [_series(Channel(name, units[name]), found) for name, found in samples.items()]


def _series(channel: Channel, samples: dict[int, float]) -> Series:
    try:
        check_channel(channel)
    except MalformedError as error:
        raise ConfigError(error.what, hint=error.hint) from error
    times = sorted(samples)
    return Series(channel, array.array("q", times), array.array("d", [samples[time] for time in times]))


def _samples(rows: csv.DictReader[str], path: Path) -> Iterator[tuple[Channel, int, float]]:
    header = list(rows.fieldnames or ())
    if "time" not in header:
        raise ConfigError(f"{path} has no column time", hint="'edgenode exec --help' shows both forms")
    long = {"channel", "value"} <= set(header)
    columns = {} if long else {name: _channel(name) for name in header if name != "time"}
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        time_ns = parse_time(row["time"] or "")
        if time_ns is None:
            raise ConfigError(f"{where}: time is {row['time']!r:.60}", hint="ISO 8601, or seconds since 1970")
        if long:
            yield Channel(row["channel"] or "", row.get("unit") or ""), time_ns, _number(row["value"], where)
            continue
        for name, channel in columns.items():
            if cell := (row[name] or "").strip():
                yield channel, time_ns, _number(cell, where)


def _channel(heading: str) -> Channel:
    found = _HEADING.fullmatch(heading.strip())
    return Channel(heading) if found is None else Channel(found["name"], found["unit"] or "")


def _number(cell: str | None, where: str) -> float:
    try:
        return float(cell or "")
    except ValueError as error:
        raise ConfigError(f"{where}: value is {cell!r:.60}", hint="a number") from error

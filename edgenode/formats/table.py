"""Samples as CSV: what a command may read on stdin, and leaves as /out/derived.csv (docs/stdin.md).

    time,channel,value,unit
    1700000000.250000000,press/temperature,20.5,Cel

Names and units need no quoting: formats.frame lets neither commas nor quotes nor line ends into them.
"""

from __future__ import annotations

import array
import operator
import re
import struct
from collections.abc import Sequence
from itertools import islice
from math import isnan
from typing import Final

from edgenode.errors import MalformedError
from edgenode.formats.frame import check_channel, encode_series
from edgenode.formats.timeline import in_order, seconds
from edgenode.records import Channel, Series

MEDIA_TYPE: Final = "text/csv"

_HEADER: Final = b"time,channel,value,unit\n"
_SAMPLE_BYTES: Final = 16  # of a series section
_NAN: Final[float] = struct.unpack("<d", bytes.fromhex("000000000000f87f"))[0]  # for every spelling, on every platform

# ASCII, since float() and int() by themselves take "1_0" and " 1" too; every cell bounded, so that a row is refused in few steps.
_TIME = rb"(-?[0-9]{1,10})(?:\.([0-9]{1,9}))?"
_NAME = rb"([^,\r\n]{1,128})"
_VALUE = rb"([+-]?(?:(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?|(?i:nan|inf|infinity)))"
_UNIT = rb"([^,\r\n]{0,32})"
_END = rb"(?:\r?\n|\Z)"
_FIRST = re.compile(rb"time,channel,value(,unit)?" + _END)
_ROW = re.compile(b",".join((_TIME, _NAME, _VALUE)) + rb"()" + _END)
_ROW_WITH_UNIT = re.compile(b",".join((_TIME, _NAME, _VALUE, _UNIT)) + _END)


class TableError(Exception):
    """A program's table breaks the format. ``detail`` is what a receipt says of it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class TooLargeError(Exception):
    """A program's table holds more than it may."""


def encode(series: Sequence[Series]) -> bytes:
    """The table of these series, in the order of time."""
    return b"".join([_HEADER, *("".join(rows).encode() for rows in in_order(series, _rows))])


def parse(data: bytes, limit: int, channels: int) -> bytes:
    """A table as series sections (tag 16), the channels as they first appear; of no bytes, none.

    A channel has one unit, and its times do not descend. Raises TooLargeError when the sections take more than ``limit`` bytes or are
    of more than ``channels`` channels, and TableError, its detail ``derived-header``, ``-row``, ``-channel``, ``-unit`` or ``-order``.
    """
    if not data:
        return b""
    if (data.count(b"\n") - 1) * _SAMPLE_BYTES > limit:  # before a row is looked at: the limit bounds the work
        raise TooLargeError
    first = _FIRST.match(data)
    if first is None:
        raise TableError("derived-header")
    row = _ROW_WITH_UNIT if first[1] else _ROW
    found: dict[tuple[bytes, bytes], Series] = {}
    at = first.end()
    while at < len(data):
        cells = row.match(data, at)
        if cells is None:
            raise TableError("derived-row")
        at = cells.end()
        whole, fraction, name, value, unit = cells.groups(b"")
        one = found.get((name, unit))
        if one is None:
            one = found[name, unit] = Series(_channel(name, unit), array.array("q"), array.array("d"))
            if len(found) > channels:
                raise TooLargeError
        try:
            one.times.append(int(whole + fraction.ljust(9, b"0")))
        except OverflowError:
            raise TableError("derived-row") from None
        number = float(value)
        one.values.append(_NAN if isnan(number) else number)
    return _sections(list(found.values()), limit)


def _sections(series: list[Series], limit: int) -> bytes:
    if len({one.channel.name for one in series}) < len(series):
        raise TableError("derived-unit")
    for one in series:
        if not all(map(operator.le, one.times, islice(one.times, 1, None))):
            raise TableError("derived-order")
    sections = b"".join(map(encode_series, series))
    if len(sections) > limit:
        raise TooLargeError
    return sections


def _channel(name: bytes, unit: bytes) -> Channel:
    channel = Channel(str(name, "latin-1"), str(unit, "latin-1"))
    try:
        check_channel(channel)
    except MalformedError as error:
        raise TableError("derived-channel") from error
    return channel


def _rows(part: Series) -> list[str]:
    name, unit = part.channel.name, part.channel.unit
    return [f"{time},{name},{value!r},{unit}\n" for time, value in zip(seconds(part.times), part.values, strict=True)]

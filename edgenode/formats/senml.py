"""Samples as SenML packs in JSON and CBOR (RFC 8428 §5, §6): what a command may read on stdin (docs/stdin.md).

    [{"bt":1700000000,"n":"press/temperature","u":"Cel","t":0.250000000,"v":20.5},
    {"n":"press/vibration","t":0.251000000,"vs":"nan"}]

One record a sample, in the order of time, times relative to the whole second of the first. SenML's numbers are JSON's, in CBOR too, so
NaN and the infinities are string values. Written without a library: cbor2 costs a worker 1.4 MB, and records as objects much more.
"""

from __future__ import annotations

import array
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import isfinite
from typing import Final

from edgenode.formats.timeline import SECOND, in_order, seconds
from edgenode.records import Series

JSON: Final = "application/senml+json"
CBOR: Final = "application/senml+cbor"

# CBOR labels (RFC 8428 §6, table 4), encoded, in the order in which a deterministic map has them.
_NAME, _UNIT, _VALUE, _STRING_VALUE, _TIME, _BASE_TIME = b"\x00", b"\x01", b"\x02", b"\x03", b"\x06", b"\x22"

_UNSIGNED, _NEGATIVE, _TEXT, _ARRAY, _MAP = 0, 1, 3, 4, 5  # major types (RFC 8949 §3.1)
_HALF, _SINGLE, _DOUBLE = struct.Struct(">Be"), struct.Struct(">Bf"), struct.Struct(">Bd")
_GREATEST_HALF: Final = 65504.0

_NEXT: Final = ",\n{"  # between two records of JSON


def encode_json(series: Sequence[Series]) -> bytes:
    """The pack of these series, a line a record, times exact. Of no samples an empty array."""
    base = _base(series)
    batches = in_order(series, partial(_json_records, base * SECOND))
    first = next(batches)
    if first:
        first[0] = f'{{"bt":{base},' + first[0].removeprefix(_NEXT)
    return b"".join([b"[", "".join(first).encode(), *("".join(rows).encode() for rows in batches), b"]\n"])


def encode_cbor(series: Sequence[Series]) -> bytes:
    """The same records in deterministic CBOR (RFC 8949 §4.2.1); a time that is no whole second is the nearest double."""
    base = _base(series)
    batches = in_order(series, partial(_cbor_records, base * SECOND))
    first = next(batches)
    if first:
        first[0] = bytes([first[0][0] + 1]) + first[0][1:] + _BASE_TIME + _integer(base)
    return b"".join([_head(_ARRAY, sum(map(len, series))), *first, *map(b"".join, batches)])


def _base(series: Iterable[Series]) -> int:
    return min((one.times[0] for one in series if one.times), default=0) // SECOND


def _json_records(base_ns: int, part: Series) -> list[str]:
    unit = f'"u":"{part.channel.unit}",' if part.channel.unit else ""
    head = f'{_NEXT}"n":"{part.channel.name}",{unit}"t":'
    return [
        f'{head}{time},"v":{value!r}}}' if isfinite(value) else f'{head}{time},"vs":"{value!r}"}}'
        for time, value in zip(seconds([time - base_ns for time in part.times]), part.values, strict=True)
    ]


def _cbor_records(base_ns: int, part: Series) -> list[bytes]:
    name, unit = part.channel.name, part.channel.unit
    head = _head(_MAP, 4 if unit else 3) + _NAME + _text(name) + (_UNIT + _text(unit) if unit else b"")
    times = [time - base_ns for time in part.times]
    offsets = _floats(array.array("d", [time / SECOND for time in times]))  # of two ints: the nearest double
    return [
        head
        + (_VALUE + encoded if isfinite(value) else _STRING_VALUE + _text(repr(value)))
        + _TIME
        + (offset if time % SECOND else _head(_UNSIGNED, time // SECOND))
        for value, encoded, time, offset in zip(part.values, _floats(part.values), times, offsets, strict=True)
    ]


def _floats(values: array.array[float]) -> Iterator[bytes]:
    """Each in the shortest form that holds it."""
    for value, single in zip(values, array.array("f", values), strict=True):
        if value != single:
            yield _DOUBLE.pack(0xFB, value)
        elif abs(value) <= _GREATEST_HALF and _HALF.unpack(half := _HALF.pack(0xF9, value))[1] == value:
            yield half
        else:
            yield _SINGLE.pack(0xFA, value)


def _text(text: str) -> bytes:
    return _head(_TEXT, len(text)) + text.encode()


def _integer(number: int) -> bytes:
    return _head(_UNSIGNED, number) if number >= 0 else _head(_NEGATIVE, -1 - number)


def _head(major: int, argument: int) -> bytes:
    """A data item's head in its shortest form (RFC 8949 §3)."""
    if argument < 24:
        return bytes([major << 5 | argument])
    width = next(width for width in range(4) if argument < 1 << (8 << width))
    return bytes([major << 5 | 24 + width]) + argument.to_bytes(1 << width, "big")

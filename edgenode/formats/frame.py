"""The binary frame: sections and series as docs/step-abi.md lays them out.

    frame   = series section*, ordered by channel name
    section = tag u32, length u32, body, zero bytes up to a multiple of 8
    series  = count u32, name length u16, unit length u16, name, unit, zero bytes, times i64*, values f64*

Everything is little-endian. A window's snapshot is a frame; what a step derives is series sections too, in the order the guest chose.
Pure: bytes in, records out.
"""

from __future__ import annotations

import array
import operator
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

from edgenode.errors import LimitError, MalformedError
from edgenode.records import Channel, Series

SERIES = 16

_SECTION = struct.Struct("<II")
_HEAD = struct.Struct("<IHH")
_SWAP = sys.byteorder == "big"

# RFC 8428 §4.5.1 for names; units are those of its registry (§12.1) and others like them. A guest's derived series are held to the same.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,127}")
_UNIT = re.compile(r"[A-Za-z0-9%/.*^_+-]{0,32}")


def check_channel(channel: Channel) -> None:
    """Raise MalformedError unless the channel's name and unit may stand in a frame (RFC 8428 §4.5.1, §12.1)."""
    if not _NAME.fullmatch(channel.name):
        raise MalformedError(
            f"channel name {channel.name[:64]!r}",
            hint="a letter or digit, then letters, digits and - : . / _, at most 128 (RFC 8428 §4.5.1)",
        )
    if not _UNIT.fullmatch(channel.unit):
        raise MalformedError(f"unit {channel.unit[:64]!r} of channel {channel.name}", hint="a SenML unit such as Cel, V or m/s2")


def column_bytes(column: array.array[int] | array.array[float]) -> memoryview:
    """The little-endian bytes of a column of 8-byte numbers, without a copy where the host is little-endian."""
    if _SWAP:
        column = column[:]
        column.byteswap()
    return memoryview(column).cast("B") if column else memoryview(b"")


def times_from(data: bytes | memoryview) -> array.array[int]:
    """A column of times, i64 ns, from its little-endian bytes (a multiple of 8)."""
    column = array.array("q")
    _fill(column, data)
    return column


def values_from(data: bytes | memoryview) -> array.array[float]:
    """A column of values, f64, from its little-endian bytes (a multiple of 8), bit for bit."""
    column = array.array("d")
    _fill(column, data)
    return column


def ascending(times: array.array[int]) -> bool:
    """Whether each time is greater than the one before it."""
    return all(map(operator.lt, times, islice(times, 1, None)))


def encode_series(series: Series) -> bytes:
    """One section. Raises MalformedError for a name or unit that may not stand in one."""
    return b"".join(_parts(series))


def encode_frame(series: Iterable[Series]) -> bytes:
    """The frame of these series, each channel once. Every column is copied once. Raises as encode_series."""
    parts: list[bytes | memoryview] = []
    for one in sorted(series, key=lambda one: one.channel.name):
        parts += _parts(one)
    return b"".join(parts)


def sections(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """The (tag, body) of each section, in order. Raises MalformedError at the first byte that is out of place."""
    view = memoryview(data)
    at, size = 0, len(view)
    if size % 8:
        raise MalformedError(f"sections of {size} bytes, not a multiple of 8")
    while at < size:
        tag, length = _SECTION.unpack_from(view, at)
        start = at + _SECTION.size
        end = start + length
        at = _aligned(end)
        if at > size:
            raise MalformedError(f"section {tag} of {length} bytes ends past the {size} bytes there are")
        _check_zero(view[end:at], f"after section {tag}")
        yield tag, view[start:end]


def decode_frame(frame: bytes | memoryview) -> list[Series]:
    """The series of a snapshot. Raises MalformedError unless the bytes are exactly what encode_frame makes of them.

    Beyond what decode_derived asks: channels in the order of their names, each once; times from 1970, each once.
    """
    found = decode_derived(frame)
    for before, after in pairwise(found):
        if after.channel.name <= before.channel.name:
            raise MalformedError(f"channel {after.channel.name} after {before.channel.name}, not in the order of names")
    for series in found:
        if series.times and series.times[0] < 0:
            raise MalformedError(f"series {series.channel.name} begins before 1970")
        if not ascending(series.times):
            raise MalformedError(f"a time stands twice in series {series.channel.name}")
    return found


def decode_derived(data: bytes | memoryview) -> list[Series]:
    """The series that a step derived, as the guest ordered them; a channel may be there more than once. Raises MalformedError."""
    found: list[Series] = []
    for tag, body in sections(data):
        if tag != SERIES:
            raise MalformedError(f"section {tag} among series")
        found.append(decode_series(body))
    return found


def decode_series(body: bytes | memoryview) -> Series:
    """A series section's body; the channel's interval is not known. Raises MalformedError.

    Times are any i64 that do not descend; values any f64, NaN and infinities included.
    """
    view = memoryview(body)
    if len(view) < _HEAD.size:
        raise MalformedError(f"series of {len(view)} bytes, without its header")
    count, name_length, unit_length = _HEAD.unpack_from(view)
    name_end = _HEAD.size + name_length
    unit_end = name_end + unit_length
    times_at = _aligned(unit_end)
    values_at = times_at + 8 * count
    if len(view) != values_at + 8 * count:
        raise MalformedError(f"series of {len(view)} bytes, where its header says {values_at + 8 * count}")
    channel = Channel(_text(view[_HEAD.size : name_end]), _text(view[name_end:unit_end]))
    check_channel(channel)
    _check_zero(view[unit_end:times_at], f"after the name of {channel.name}")
    times = times_from(view[times_at:values_at])
    if not all(map(operator.le, times, islice(times, 1, None))):
        raise MalformedError(f"times of series {channel.name} descend")
    return Series(channel, times, values_from(view[values_at:]))


def _parts(series: Series) -> list[bytes | memoryview]:
    channel, count = series.channel, len(series.times)
    check_channel(channel)
    if len(series.values) != count:
        raise ValueError(f"series {channel.name} has {count} times and {len(series.values)} values")
    label = (channel.name + channel.unit).encode()
    label += bytes(-len(label) % 8)
    length = _HEAD.size + len(label) + 16 * count
    if length >= 2**32:
        raise LimitError("series", 2**32 - 1, length, hint="ask for a shorter window")
    head = _SECTION.pack(SERIES, length) + _HEAD.pack(count, len(channel.name), len(channel.unit)) + label
    return [head, column_bytes(series.times), column_bytes(series.values)]


def _fill(column: array.array[int] | array.array[float], data: bytes | memoryview) -> None:
    column.frombytes(data)
    if _SWAP:
        column.byteswap()


def _aligned(at: int) -> int:
    return (at + 7) & ~7


def _text(data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("series name or unit that is not UTF-8") from error


def _check_zero(padding: memoryview, where: str) -> None:
    if any(padding):
        raise MalformedError(f"padding that is not zero {where}")

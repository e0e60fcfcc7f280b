"""The binary frame: what docs/step-abi.md lays out, and nothing else."""

from __future__ import annotations

import array
import contextlib
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgenode.errors import MalformedError
from edgenode.formats.frame import decode_derived, decode_frame, decode_series, encode_frame, encode_series, sections
from edgenode.records import MAX_INT, Channel, Series

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,20}", fullmatch=True)
UNITS = st.from_regex(r"[A-Za-z0-9%/.*^_+-]{0,8}", fullmatch=True)
VALUES = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
TIMES = st.lists(st.integers(0, MAX_INT), unique=True, max_size=20).map(sorted)


@st.composite
def series_lists(draw: st.DrawFn) -> list[Series]:
    found = []
    for name in sorted(draw(st.sets(NAMES, max_size=5))):
        times = draw(TIMES)
        values = draw(st.lists(VALUES, min_size=len(times), max_size=len(times)))
        found.append(Series(Channel(name, draw(UNITS)), array.array("q", times), array.array("d", values)))
    return found


def bits(series: list[Series]) -> list[tuple[Channel, bytes, bytes]]:
    return [(one.channel, one.times.tobytes(), one.values.tobytes()) for one in series]  # NaN differs from itself


def section(tag: int, body: bytes) -> bytes:
    return struct.pack("<II", tag, len(body)) + body + bytes(-len(body) % 8)


def body(name: bytes = b"a", unit: bytes = b"V", times: tuple[int, ...] = (1, 2), count: int | None = None) -> bytes:
    label = name + unit
    label += bytes(-len(label) % 8)
    columns = struct.pack(f"<{len(times)}q{len(times)}d", *times, *map(float, times))
    return struct.pack("<IHH", len(times) if count is None else count, len(name), len(unit)) + label + columns


@given(series_lists())
def test_decodes_what_it_encoded_bit_for_bit(series: list[Series]) -> None:
    frame = encode_frame(series)
    assert len(frame) % 8 == 0
    assert bits(decode_frame(frame)) == bits(series)
    assert encode_frame(decode_frame(frame)) == frame


@given(series_lists(), st.randoms(use_true_random=False))
def test_the_order_of_the_series_does_not_show(series: list[Series], random: object) -> None:
    assert encode_frame(series[::-1]) == encode_frame(series) == b"".join(map(encode_series, series))


def test_lays_out_bytes_as_the_document_says() -> None:
    series = Series(Channel("host/cpu", "/"), array.array("q", [1, 2]), array.array("d", [0.5, -1.0]))
    assert encode_series(series) == (
        struct.pack("<II", 16, 8 + 16 + 32)
        + struct.pack("<IHH", 2, 8, 1)
        + b"host/cpu/\0\0\0\0\0\0\0"
        + struct.pack("<qq", 1, 2)
        + struct.pack("<dd", 0.5, -1.0)
    )


@given(st.binary(max_size=200))
@example(b"\x10\0\0\0\xff\xff\xff\xff")
@example(bytes(8))
def test_hostile_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (decode_frame, decode_derived, decode_series):
        with contextlib.suppress(MalformedError):
            decode(data)


@given(series_lists().filter(bool), st.data())
def test_a_damaged_frame_is_malformed_or_decodes_to_its_own_bytes(series: list[Series], data: st.DataObject) -> None:
    frame = bytearray(encode_frame(series))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_frame(bytes(frame))
    except MalformedError:
        return
    assert encode_frame(decoded) == bytes(frame)


@pytest.mark.parametrize(
    ("bytes_", "complaint"),
    [
        (section(16, body())[:-1], "multiple of 8"),
        (section(16, body())[:-8], "ends past"),
        (struct.pack("<II", 16, 2**32 - 1), "ends past"),
        (section(34, body()), "section 34"),
        (section(16, b""), "without its header"),
        (section(16, body(count=3)), "header says"),
        (section(16, body(count=2**32 - 1)), "header says"),
        (section(16, body(times=(2, 1))), "descend"),
        (section(16, body(times=(1, 1))), "stands twice"),
        (section(16, body(times=(-1, 1))), "before 1970"),
        (section(16, body(name=b"\xff")), "UTF-8"),
        (section(16, body(name=b"")), "channel name"),
        (section(16, body(name=b"/a")), "channel name"),
        (section(16, body(name=b"a b")), "channel name"),
        (section(16, body(name=b"a" * 129)), "channel name"),
        (section(16, body(unit=b"\n")), "unit"),
        (section(16, body().replace(b"aV\0", b"aV\1")), "padding"),
        (section(7, b"x")[:-1] + b"\1", "padding"),
        (section(16, body(name=b"b")) + section(16, body(name=b"a")), "order of names"),
        (section(16, body()) + section(16, body()), "order of names"),
    ],
)
def test_says_what_is_wrong(bytes_: bytes, complaint: str) -> None:
    with pytest.raises(MalformedError, match=complaint):
        decode_frame(bytes_)


def test_derived_series_stand_as_the_guest_ordered_them() -> None:
    data = section(16, body(name=b"b", times=(-5, -5))) + section(16, body(name=b"a")) + section(16, body(name=b"b"))
    assert [(one.channel.name, list(one.times)) for one in decode_derived(data)] == [("b", [-5, -5]), ("a", [1, 2]), ("b", [1, 2])]


def test_sections_are_told_with_their_tags() -> None:
    assert [(tag, bytes(part)) for tag, part in sections(section(1, b"abc") + section(9, b""))] == [(1, b"abc"), (9, b"")]


def test_columns_of_different_length_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="2 times and 1 values"):
        encode_series(Series(Channel("a"), array.array("q", [1, 2]), array.array("d", [1.0])))

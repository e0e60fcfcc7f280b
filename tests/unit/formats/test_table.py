"""Samples as CSV, both ways: to a command, and back as derived series."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.cli import recording
from edgenode.errors import MalformedError
from edgenode.formats import table
from edgenode.formats.frame import check_channel, decode_derived, encode_frame, encode_series
from edgenode.records import Channel, Series
from edgenode.sandbox.abi import DERIVED_SERIES, check_derived
from tests.unit.formats.samples import PRESS, UNEVEN, rows, series, snapshots

LIMIT = 1 << 20
HEADER = b"time,channel,value,unit\n"


def parse(data: bytes, limit: int = LIMIT) -> list[Series]:
    sections = table.parse(data, limit, DERIVED_SERIES)
    check_derived(sections)
    return decode_derived(sections)


def value(text: str) -> str:
    (one,) = parse(HEADER + f"0,a,{text},V\n".encode())
    return one.values.tobytes()[::-1].hex()


def test_is_written_as_the_document_shows() -> None:
    assert table.encode(PRESS) == (
        b"time,channel,value,unit\n"
        b"1700000000.250000000,press/running,1.0,\n"
        b"1700000000.250000000,press/temperature,20.5,Cel\n"
        b"1700000001.000000001,press/temperature,-0.1,Cel\n"
        b"1700000002.000000000,press/running,nan,\n"
        b"1700000003.000000000,press/temperature,1e+300,Cel\n"
    )


def test_no_samples_are_a_header_alone() -> None:
    assert table.encode([]) == table.encode([series("a", "V", [])]) == HEADER


@pytest.mark.parametrize("character", list(',"\r\n\\ '))
def test_no_name_or_unit_needs_quoting(character: str) -> None:
    for channel in (Channel(f"a{character}"), Channel("a", f"V{character}")):
        with pytest.raises(MalformedError):
            check_channel(channel)


def test_a_value_is_the_shortest_decimal_that_is_that_double() -> None:
    values = [0.0, -0.0, 1.0, 0.1, 1 / 3, 1e15, 1e16, 123456789012345680.0, 0.0001, 0.00001, 5e-324, float("inf"), -float("inf")]
    written = table.encode([series("a", "", list(enumerate(values)))]).decode().splitlines()[1:]
    assert [line.split(",")[2] for line in written] == [
        *("0.0", "-0.0", "1.0", "0.1", "0.3333333333333333", "1000000000000000.0", "1e+16", "1.2345678901234568e+17"),
        *("0.0001", "1e-05", "5e-324", "inf", "-inf"),
    ]


def test_times_before_1970_are_exact_too() -> None:
    written = table.encode([series("a", "", [(-1_500_000_000, 0.0), (-1, 0.0), (0, 0.0), (1, 0.0)])])
    assert [line.split(b",")[0] for line in written.split()[1:]] == [b"-1.500000000", b"-0.000000001", b"0.000000000", b"0.000000001"]
    (one,) = parse(written)
    assert list(one.times) == [-1_500_000_000, -1, 0, 1]


@given(snapshots(empty=False))
def test_what_was_written_reads_back_bit_for_bit(snapshot: list[Series]) -> None:
    read = sorted(parse(table.encode(snapshot)), key=lambda one: one.channel.name)
    assert rows(read) == rows(snapshot)


def test_rows_are_in_the_order_of_time_however_many_there_are() -> None:
    written = [line.split(",") for line in table.encode(UNEVEN).decode().splitlines()[1:]]
    assert [(int(time.replace(".", "")), name, unit, float(text).hex()) for time, name, text, unit in written] == rows(UNEVEN)


def test_edgenode_exec_imports_it(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_bytes(table.encode(UNEVEN))
    assert encode_frame(recording.read(path)) == encode_frame(UNEVEN[:3])  # of a channel without samples nothing is told


def test_channels_stand_as_they_first_appear() -> None:
    data = HEADER + b"5,b,1,V\n3,a,2,\n5,b,3,V\n9.5,a,4,\n"
    assert table.parse(data, LIMIT, 2) == encode_series(series("b", "V", [(5_000_000_000, 1.0), (5_000_000_000, 3.0)])) + encode_series(
        series("a", "", [(3_000_000_000, 2.0), (9_500_000_000, 4.0)])
    )


@pytest.mark.parametrize(
    "data",
    [
        b"time,channel,value\n1.5,a,2\n",
        b"time,channel,value\r\n1.5,a,2\r\n",
        b"time,channel,value\n1.500,a,2.0",
        HEADER + b"1.500000000,a,+2e0,\n",
        HEADER + b"1.5,a,2.,\r\n",
    ],
)
def test_takes_what_the_csv_writers_of_programs_make(data: bytes) -> None:
    assert table.parse(data, LIMIT, 1) == encode_series(series("a", "", [(1_500_000_000, 2.0)]))


@pytest.mark.parametrize("data", [b"", HEADER, HEADER[:-1], b"time,channel,value\r\n"])
def test_no_rows_are_no_sections(data: bytes) -> None:
    assert table.parse(data, 0, 0) == b""


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        *((text, "7ff8000000000000") for text in ("nan", "-nan", "NaN", "+NAN")),
        *((text, "7ff0000000000000") for text in ("inf", "+Inf", "Infinity", "1e999", "9" * 40 + "e300")),
        *((text, "fff0000000000000") for text in ("-inf", "-INFINITY")),
        *((text, "3fe0000000000000") for text in (".5", "0.5", "5e-1", "5E-01", "+0.50", "00.5")),
        ("-0", "8000000000000000"),
        ("1e-999", "0000000000000000"),
    ],
)
def test_a_value_becomes_the_same_bits_everywhere(text: str, bits: str) -> None:
    assert value(text) == bits


@given(st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]).filter(lambda number: number == number))
def test_a_value_of_seventeen_digits_is_that_double(number: float) -> None:
    assert value(f"{number:.17g}") == struct.pack(">d", number).hex()


@pytest.mark.parametrize(
    "row",
    [
        "1.5,a,1_0,V",
        "1.5,a, 1,V",
        "1.5,a,1 ,V",
        "1.5,a,١,V",
        "1.5,a,0x1,V",
        "1.5,a,,V",
        "1.5,a,.,V",
        "1.5,a,e5,V",
        "1.5,a,1e,V",
        "1.5,a,nano,V",
        "1.5,a,--1,V",
        "1.5,a,1" + "0" * 40 + ",V",
        "1.5,a,1e00001,V",
        "+1.5,a,1,V",
        " 1.5,a,1,V",
        "1.,a,1,V",
        ".5,a,1,V",
        "1e3,a,1,V",
        "1.0000000001,a,1,V",
        "9223372036.854775808,a,1,V",
        "-9223372036.854775809,a,1,V",
        "99999999999,a,1,V",
        "2023-11-14T22:13:20,a,1,V",
        '1.5,"a",1,"V",',
        "1.5,a,1",
        "1.5,a,1,V,",
        "1.5,,1,V",
        "1.5," + "a" * 129 + ",1,V",
        "1.5,a,1," + "V" * 33,
        "",
        "1.5,a,1,V\r\r",
        "1.5,a,1\r,V",
        "1.5,a,1,V\n\n1.5,a,1,V",
        "1.5,a,1,V\x001.5,a,1,V",
    ],
)
def test_a_row_is_read_strictly(row: str) -> None:
    with pytest.raises(table.TableError, match=r"^derived-row$") as raised:
        table.parse(HEADER + b"1,first,1,V\n" + row.encode() + b"\n", LIMIT, 8)
    assert raised.value.detail == "derived-row"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\n", "derived-header"),
        (b"1.5,a,1,V\n", "derived-header"),
        (b"\xef\xbb\xbf" + HEADER, "derived-header"),
        (b"time,channel,value,unit,\n", "derived-header"),
        (b"time,value,channel\n", "derived-header"),
        (b"time, channel, value\n", "derived-header"),
        (HEADER + b"1,/a,1,V\n", "derived-channel"),
        (HEADER + b'1,"a",1,V\n', "derived-channel"),
        (HEADER + b"1,\xc3\xa4,1,V\n", "derived-channel"),
        (HEADER + b"1,a,1,\xc2\xb0C\n", "derived-channel"),
        (HEADER + b"1,a,1,V\n2,a,1,A\n", "derived-unit"),
        (HEADER + b"1,a,1,V\n2,b,1,A\n0.999999999,a,1,V\n", "derived-order"),
    ],
)
def test_a_broken_table_is_told_by_its_fault(data: bytes, detail: str) -> None:
    with pytest.raises(table.TableError) as raised:
        table.parse(data, LIMIT, 8)
    assert raised.value.detail == detail


def test_the_limit_is_on_the_bytes_of_the_sections() -> None:
    data = HEADER + b"1,a,1,V\n2,a,1,V\n1,bb,1,\n"
    size = len(table.parse(data, LIMIT, 2))
    assert size == (8 + 8 + 8 + 32) + (8 + 8 + 8 + 16)
    assert len(table.parse(data, size, 2)) == size
    with pytest.raises(table.TooLargeError):
        table.parse(data, size - 1, 2)


def test_rows_beyond_the_limit_are_counted_and_not_read() -> None:
    with pytest.raises(table.TooLargeError):
        table.parse(b"\n" * 67, 1024, 1)


def test_the_number_of_channels_is_limited() -> None:
    data = b"time,channel,value\n" + b"".join(b"1,c%d,1\n" % number for number in range(DERIVED_SERIES + 1))
    with pytest.raises(table.TooLargeError):
        table.parse(data, LIMIT, DERIVED_SERIES)
    assert len(parse(data[: data.rindex(b"1,c")])) == DERIVED_SERIES


@given(st.binary(max_size=60) | st.lists(st.sampled_from([b"1", b".5", b",", b"a", b"\n", b"\r", b"nan", b"-", b"e", b'"'])).map(b"".join))
def test_hostile_bytes_are_refused_or_make_sections(data: bytes) -> None:
    with contextlib.suppress(table.TableError, table.TooLargeError):
        parse(HEADER + data, 256)

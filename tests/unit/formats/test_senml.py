"""SenML packs against the bytes in the document, and against the readers and writers of others: json, decimal and cbor2."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.errors import LimitError, MalformedError
from edgenode.formats import senml
from edgenode.formats.frame import encode_frame
from edgenode.records import Series
from tests.unit.formats.samples import PRESS, SHARED, SOON, UNEVEN, rows, series, snapshots

from . import senml_reader

LIMIT = 1 << 22
SECOND = 10**9

PRESS_JSON = b"""\
[{"bt":1700000000,"n":"press/running","t":0.250000000,"v":1.0},
{"n":"press/temperature","u":"Cel","t":0.250000000,"v":20.5},
{"n":"press/temperature","u":"Cel","t":1.000000001,"v":-0.1},
{"n":"press/running","t":2.000000000,"vs":"nan"},
{"n":"press/temperature","u":"Cel","t":3.000000000,"v":1e+300}]
"""
PRESS_CBOR = bytes.fromhex(
    "85"
    "a4 00 6d70726573732f72756e6e696e67 02 f93c00 06 f93400 22 1a6553f100"
    "a4 00 7170726573732f74656d7065726174757265 01 6343656c 02 f94d20 06 f93400"
    "a4 00 7170726573732f74656d7065726174757265 01 6343656c 02 fbbfb999999999999a 06 fb3ff000000044b830"
    "a3 00 6d70726573732f72756e6e696e67 03 636e616e 06 02"
    "a4 00 7170726573732f74656d7065726174757265 01 6343656c 02 fb7e37e43c8800759c 06 03"
)


def read_json(data: bytes) -> list[tuple[int, str, str, str]]:
    base = 0
    found = []
    for record in json.loads(data, parse_float=Decimal, parse_constant=pytest.fail):
        base = record.get("bt", base)
        value = record["v"] if math.isfinite(float(record.get("v", "nan"))) else record["vs"]
        found.append((int((base + record["t"]) * SECOND), record["n"], record.get("u", ""), float(value).hex()))
    return found


def test_json_is_written_as_the_document_shows() -> None:
    assert senml.encode_json(PRESS) == PRESS_JSON


def test_cbor_is_written_as_the_document_shows() -> None:
    assert senml.encode_cbor(PRESS) == PRESS_CBOR


def test_no_samples_are_an_empty_array() -> None:
    for none in ([], [series("a", "V", [])]):
        assert senml.encode_json(none) == b"[]\n"
        assert senml.encode_cbor(none) == b"\x80"


@given(snapshots())
def test_a_json_reader_finds_every_sample_exactly(snapshot: list[Series]) -> None:
    assert read_json(senml.encode_json(snapshot)) == rows(snapshot)


def test_records_are_in_the_order_of_time_however_many_there_are() -> None:
    assert read_json(senml.encode_json(UNEVEN)) == rows(UNEVEN)
    assert rows(senml_reader.decode_cbor(senml.encode_cbor(UNEVEN), limit=LIMIT)) == rows(UNEVEN)


@given(snapshots())
def test_the_cbor_is_what_a_library_makes_of_the_same_records(snapshot: list[Series]) -> None:
    samples = rows(snapshot)
    base = samples[0][0] // SECOND if samples else 0
    records: list[dict[int, Any]] = []
    for time, name, unit, value in samples:
        number, offset = float.fromhex(value), time - base * SECOND
        record: dict[int, Any] = {0: name, 6: offset / SECOND if offset % SECOND else offset // SECOND}
        record[2 if math.isfinite(number) else 3] = number if math.isfinite(number) else str(number)
        records.append(record | ({1: unit} if unit else {}))
    if records:
        records[0][-3] = base
    assert senml.encode_cbor(snapshot) == cbor2.dumps(records, canonical=True)


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        # RFC 8949, appendix A
        (0.0, "f90000"),
        (-0.0, "f98000"),
        (1.0, "f93c00"),
        (1.1, "fb3ff199999999999a"),
        (1.5, "f93e00"),
        (65504.0, "f97bff"),
        (100000.0, "fa47c35000"),
        (3.4028234663852886e38, "fa7f7fffff"),
        (1.0e300, "fb7e37e43c8800759c"),
        (5.960464477539063e-08, "f90001"),
        (0.00006103515625, "f90400"),
        (-4.0, "f9c400"),
        (-4.1, "fbc010666666666666"),
        # and next to their bounds
        (65505.0, "fa477fe100"),
        (65519.996, "fb40effdffdf3b645a"),
        (-65536.0, "fac7800000"),
        (2.9802322387695312e-08, "fa33000000"),
        (1.401298464324817e-45, "fa00000001"),
        (7.006492321624085e-46, "fb3690000000000000"),
        (3.4028235677973366e38, "fb47effffff0000000"),
        (5e-324, "fb0000000000000001"),
    ],
)
def test_a_float_has_its_shortest_form(number: float, encoded: str) -> None:
    assert senml.encode_cbor([series("a", "", [(0, number)])]).hex() == f"81a400616102{encoded}06002200"


@pytest.mark.parametrize(
    ("time", "encoded"),
    [
        (0, "06002200"),
        (23 * SECOND, "06002217"),
        (24 * SECOND, "0600221818"),
        (256 * SECOND + SECOND // 2, "06f93800" + "22190100"),
        (2**32 * SECOND, "0600221b0000000100000000"),
        (-1, "06fb3fefffffff768fa1" + "2220"),
        (-300 * SECOND, "06002239012b"),
    ],
)
def test_the_base_is_the_whole_second_of_the_first_sample(time: int, encoded: str) -> None:
    assert senml.encode_cbor([series("a", "", [(time, 0.0)])]).hex() == f"81a400616102f90000{encoded}"
    assert read_json(senml.encode_json([series("a", "", [(time, 0.0)])])) == [(time, "a", "", "0x0.0p+0")]


@given(snapshots(SOON | SHARED, empty=False))
def test_the_reader_undoes_both(snapshot: list[Series]) -> None:
    for read in (
        senml_reader.decode_json(senml.encode_json(snapshot), limit=LIMIT),
        senml_reader.decode_cbor(senml.encode_cbor(snapshot), limit=LIMIT),
    ):
        assert [one.channel for one in read] == [one.channel for one in snapshot]
        assert rows(read) == rows(snapshot)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b"{}\n",
        b"[]",
        b"[1]\n",
        b"[" * 100_000,
        b"\xff",
        PRESS_JSON[:-1],
        PRESS_JSON.replace(b'"n"', b'"name"'),
        PRESS_JSON.replace(b"20.5", b"20.50"),
        PRESS_JSON.replace(b"20.5", b"1e999"),
        PRESS_JSON.replace(b"20.5", b"NaN"),
        PRESS_JSON.replace(b"20.5", b'"20.5"'),
        PRESS_JSON.replace(b"20.5", b"true"),
        PRESS_JSON.replace(b"20.5", b"null"),
        PRESS_JSON.replace(b"nan", b"open"),
        PRESS_JSON.replace(b"1.0}", b'1.0,"vs":"x"}'),
        PRESS_JSON.replace(b"0.250000000", b"0.25", 1),
        PRESS_JSON.replace(b"0.250000000", b"2.250000000", 1),
        PRESS_JSON.replace(b"1.000000001", b"0.250000000"),
        PRESS_JSON.replace(b"1700000000", b"1.7e9"),
        PRESS_JSON.replace(b"1700000000", b"9" * 20),
        PRESS_JSON.replace(b"1700000000", b"9" * 5000),
        PRESS_JSON.replace(b"press/running", b"press running"),
        PRESS_JSON.replace(b'"press/running"', b"[]"),
        PRESS_JSON.replace(b'"Cel"', b'"V"', 1),
        PRESS_JSON.replace(b'"Cel"', b'"Cel","u":"Cel"', 1),
    ],
)
def test_the_reader_of_json_takes_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedError):
        senml_reader.decode_json(data, limit=LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xa0",
        b"\x00",
        b"\x81\x00",
        PRESS_CBOR[:-1],
        PRESS_CBOR + b"\0",
        b"\x9f" + PRESS_CBOR[1:] + b"\xff",
        cbor2.dumps([{0: "a", 2: math.nan, 6: 0, -3: 0}]),
        cbor2.dumps([{0: "a", 2: 1.5, 6: math.inf, -3: 0}]),
        cbor2.dumps([{0: "a", 2: 1.5, 6: "0", -3: 0}]),
        cbor2.dumps([{0: "a", 2: 1.5, 6: "1e99999999", -3: 0}]),
        cbor2.dumps([{0: "a", 2: 1, 6: 0, -3: 0}]),
        cbor2.dumps([{0: "a", 3: "1.5", 6: 0, -3: 0}]),
        cbor2.dumps([{0: "a", 6: 0, -3: 0}]),
        cbor2.dumps([{2: 1.5, 6: 0, -3: 0}]),
        cbor2.dumps([{0: "é", 2: 1.5, 6: 0, -3: 0}]),
        cbor2.dumps([{0: 1, 2: 1.5, 6: 0, -3: 0}]),
        cbor2.dumps([{0: "a", 2: 1.5, 6: 0, -3: 2**62}]),
        cbor2.dumps([{0: "a", 2: 1.5, 6: 0, 9: 0, -3: 0}]),
    ],
)
def test_the_reader_of_cbor_takes_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedError):
        senml_reader.decode_cbor(data, limit=LIMIT)


def test_the_reader_stops_at_its_limit() -> None:
    for decode, data in ((senml_reader.decode_json, PRESS_JSON), (senml_reader.decode_cbor, PRESS_CBOR)):
        assert encode_frame(decode(data, limit=len(data))) == encode_frame(PRESS)
        with pytest.raises(LimitError):
            decode(data, limit=len(data) - 1)


@given(st.binary(max_size=100))
def test_hostile_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (senml_reader.decode_json, senml_reader.decode_cbor):
        try:
            decode(data, limit=LIMIT)
        except MalformedError:
            continue
        assert data in (b"[]\n", b"\x80")

"""The strict scanner: what RFC 8949 §4.2.1 calls deterministic, within a profile, and nothing else."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.errors import LimitError, MalformedError
from edgenode.formats import cbor
from edgenode.formats.cbor import ANSWER, DOCUMENT, PARTS, STREAM_ITEM

# RFC 8949 appendix A, table 6, in its order; for each whether a document may hold it, and whether a guest's answer may.
DOC, ANS, NO = "document", "answer", ""
APPENDIX_A: list[tuple[str, Any, str]] = [
    ("00", 0, DOC),
    ("01", 1, DOC),
    ("0a", 10, DOC),
    ("17", 23, DOC),
    ("1818", 24, DOC),
    ("1819", 25, DOC),
    ("1864", 100, DOC),
    ("1903e8", 1000, DOC),
    ("1a000f4240", 1_000_000, DOC),
    ("1b000000e8d4a51000", 1_000_000_000_000, DOC),
    ("1bffffffffffffffff", 18_446_744_073_709_551_615, DOC),
    ("c249010000000000000000", None, NO),  # tag 2, a bignum
    ("3bffffffffffffffff", -18_446_744_073_709_551_616, ANS),
    ("c349010000000000000000", None, NO),
    ("20", -1, ANS),
    ("29", -10, ANS),
    ("3863", -100, ANS),
    ("3903e7", -1000, ANS),
    ("f90000", 0.0, ANS),
    ("f98000", -0.0, ANS),
    ("f93c00", 1.0, ANS),
    ("fb3ff199999999999a", 1.1, ANS),
    ("f93e00", 1.5, ANS),
    ("f97bff", 65504.0, ANS),
    ("fa47c35000", 100000.0, ANS),
    ("fa7f7fffff", 3.4028234663852886e38, ANS),
    ("fb7e37e43c8800759c", 1.0e300, ANS),
    ("f90001", 5.960464477539063e-8, ANS),
    ("f90400", 0.00006103515625, ANS),
    ("f9c400", -4.0, ANS),
    ("fbc010666666666666", -4.1, ANS),
    ("f97c00", float("inf"), ANS),
    ("f9fc00", float("-inf"), ANS),
    ("fa7f800000", float("inf"), ANS),  # wider than it need be: guests may
    ("faff800000", float("-inf"), ANS),
    ("fb7ff0000000000000", float("inf"), ANS),
    ("fbfff0000000000000", float("-inf"), ANS),
    ("f4", False, DOC),
    ("f5", True, DOC),
    ("f6", None, ANS),
    ("f7", None, NO),  # undefined
    ("f0", None, NO),  # simple(16)
    ("f818", None, NO),
    ("f8ff", None, NO),
    ("c074323031332d30332d32315432303a30343a30305a", None, NO),
    ("c11a514b67b0", None, NO),
    ("c1fb41d452d9ec200000", None, NO),
    ("d74401020304", None, NO),
    ("d818456449455446", None, NO),
    ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", None, NO),
    ("40", b"", DOC),
    ("4401020304", b"\1\2\3\4", DOC),
    ("60", "", DOC),
    ("6161", "a", DOC),
    ("6449455446", "IETF", DOC),
    ("62225c", '"\\', DOC),
    ("62c3bc", "ü", DOC),
    ("63e6b0b4", "水", DOC),
    ("64f0908591", "𐅑", DOC),
    ("80", (), DOC),
    ("83010203", (1, 2, 3), DOC),
    ("8301820203820405", (1, (2, 3), (4, 5)), DOC),
    ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", tuple(range(1, 26)), DOC),
    ("a0", {}, DOC),
    ("a201020304", {1: 2, 3: 4}, DOC),
    ("a26161016162820203", {"a": 1, "b": (2, 3)}, ANS),
    ("826161a161626163", ("a", {"b": "c"}), ANS),
    ("a56161614161626142616361436164614461656145", {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}, ANS),
    ("5f42010243030405ff", None, NO),  # from here on: indefinite lengths
    ("7f657374726561646d696e67ff", None, NO),
    ("9fff", None, NO),
    ("9f018202039f0405ffff", None, NO),
    ("9f01820203820405ff", None, NO),
    ("83018202039f0405ff", None, NO),
    ("83019f0203ff820405", None, NO),
    ("9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", None, NO),
    ("bf61610161629f0203ffff", None, NO),
    ("826161bf61626163ff", None, NO),
    ("bf6346756ef563416d7421ff", None, NO),
]

VALUES = st.recursive(
    st.integers(0, 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=100) | st.booleans(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.integers(0, 2**64 - 1), inner, max_size=6),
    max_leaves=20,
)


def decode(data: bytes, profile: cbor.Profile = DOCUMENT) -> Any:
    return cbor.decode(data, profile, limit=1 << 20, limit_name="test.bytes")


def refused(data: bytes, profile: cbor.Profile = DOCUMENT) -> str:
    with pytest.raises(MalformedError) as caught:
        decode(data, profile)
    return caught.value.what


def plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    return {key: plain(one) for key, one in value.items()} if hasattr(value, "items") else value


def head(major: int, argument: int, width: int) -> bytes:
    """A head with its argument in ``width`` bytes, whether or not that is the shortest."""
    info = {1: 24, 2: 25, 4: 26, 8: 27}[width]
    return bytes([major << 5 | info]) + argument.to_bytes(width, "big")


@pytest.mark.parametrize(("text", "value", "where"), APPENDIX_A, ids=[row[0][:24] for row in APPENDIX_A])
def test_takes_of_rfc_8949_appendix_a_what_the_profile_allows_and_nothing_else(text: str, value: Any, where: str) -> None:
    data = bytes.fromhex(text)
    if where == DOC:
        assert decode(data) == value and type(decode(data)) is not float
        assert cbor.encode(plain(value)) == data
    else:
        refused(data)
    if where in (DOC, ANS):
        assert repr(decode(data, ANSWER)) == repr(value) or decode(data, ANSWER) == value
    else:
        refused(data, ANSWER)


@pytest.mark.parametrize("text", ["f97e00", "fa7fc00000", "fb7ff8000000000000"])
def test_takes_nan_in_an_answer_alone(text: str) -> None:
    assert decode(bytes.fromhex(text), ANSWER) != decode(bytes.fromhex(text), ANSWER)
    refused(bytes.fromhex(text))


@given(VALUES)
def test_decodes_what_it_encodes(value: Any) -> None:
    data = cbor.encode(value)
    try:
        assert plain(decode(data)) == plain(value)
    except MalformedError as error:
        assert "nested deeper" in error.what


@given(VALUES)
def test_what_it_takes_has_one_encoding(value: Any) -> None:
    data = cbor2.dumps(value)  # in the order of insertion
    try:
        found = decode(data)
    except MalformedError:
        return
    assert cbor.encode(plain_lists(found)) == data


def plain_lists(value: Any) -> Any:
    if isinstance(value, tuple):
        return [plain_lists(one) for one in value]
    return {key: plain_lists(one) for key, one in value.items()} if hasattr(value, "items") else value


@pytest.mark.parametrize("major", [0, 2, 3, 4, 5])
@pytest.mark.parametrize(("width", "least"), [(1, 24), (2, 1 << 8), (4, 1 << 16), (8, 1 << 32)])
def test_refuses_integers_and_lengths_that_could_be_shorter(major: int, width: int, least: int) -> None:
    for argument in (0, least - 1):
        assert "shortest" in refused(head(major, argument, width))
    if major == 0:
        assert decode(head(0, least, width)) == least


@pytest.mark.parametrize("info", [28, 29, 30, 31])
@pytest.mark.parametrize("major", range(8))
def test_refuses_indefinite_and_reserved_lengths(major: int, info: int) -> None:
    for profile in (DOCUMENT, ANSWER):
        assert "indefinite or reserved" in refused(bytes([major << 5 | info]) + b"\xff", profile)


@pytest.mark.parametrize("text", ["a201000100", "a202000100", "a21818000100", "a3010002000200", "a219010000181800"])
def test_refuses_keys_out_of_order_or_twice(text: str) -> None:
    assert "out of order or stands twice" in refused(bytes.fromhex(text))


@pytest.mark.parametrize("key", ["20", "6161", "4161", "80", "a0", "f4", "f93c00", "d201"])
def test_refuses_keys_that_are_no_unsigned_integers(key: str) -> None:
    assert "not an unsigned integer" in refused(bytes.fromhex(f"a1{key}00"))


def test_orders_the_keys_of_an_answer_by_their_bytes_not_by_their_length_first() -> None:
    # RFC 8949 §4.2.1, not RFC 7049 §3.9: 0x1864 (100) < 0x20 (-1) < 0x617a ("z") < 0x626161 ("aa")
    assert decode(bytes.fromhex("a41864002000617a0062616100"), ANSWER) == {100: 0, -1: 0, "z": 0, "aa": 0}
    refused(bytes.fromhex("a22000186400"), ANSWER)


@pytest.mark.parametrize("tag", [*range(24), 24, 28, 29, 30, 55799, 258, 2**32])
def test_refuses_every_tag_but_those_of_cose(tag: int) -> None:
    data = cbor2.dumps(cbor2.CBORTag(tag, b""))
    if tag == cbor.SIGN1_TAG:
        assert decode(data) == cbor2.CBORTag(tag, b"")
    else:
        refused(data)
    refused(data, ANSWER)


@pytest.mark.parametrize("text", ["d2d240", "d2d86240", "81d240", "a100d240", "d86240d8"])
def test_refuses_a_cose_tag_anywhere_but_in_front(text: str) -> None:
    refused(bytes.fromhex(text))


@pytest.mark.parametrize("more", [b"\0", b"\xff", b"\xf6", b"\xa0"])
def test_refuses_what_stands_after_the_item(more: bytes) -> None:
    assert refused(b"\xa1\x01\x02" + more) == "1 bytes after the end of the CBOR document"


@given(VALUES)
def test_refuses_an_item_that_is_cut_off_anywhere(value: Any) -> None:
    data = cbor.encode(value)
    for end in range(min(len(data), 200)):
        refused(data[:end])


@pytest.mark.parametrize("profile", [DOCUMENT, ANSWER, PARTS])
def test_nests_as_deep_as_the_profile_says_and_no_deeper(profile: cbor.Profile) -> None:
    assert decode(b"\x81" * (profile.depth - 1) + b"\x80", profile) is not None
    assert "nested deeper" in refused(b"\x81" * profile.depth + b"\x80", profile)
    refused(b"\x81" * 1_000_000, profile)
    if profile is not PARTS:
        refused(b"\xa1\x00" * 500_000, profile)


@pytest.mark.parametrize("major", [2, 3, 4, 5])
@pytest.mark.parametrize("length", [1, 2**16, 2**31, 2**32, 2**63, 2**64 - 1])
def test_believes_no_length_that_is_longer_than_the_bytes(major: int, length: int) -> None:
    data = cbor.encode(length)
    assert "past the end" in refused(bytes([data[0] | major << 5]) + data[1:])


def test_counts_items_and_bytes() -> None:
    whole = cbor.encode([0] * (DOCUMENT.items - 1))
    assert len(decode(whole)) == DOCUMENT.items - 1
    assert "more than 60000 items" in refused(cbor.encode([0] * DOCUMENT.items))
    with pytest.raises(LimitError) as caught:
        cbor.decode(b"\x40", DOCUMENT, limit=0, limit_name="test.bytes")
    assert (caught.value.name, caught.value.limit, caught.value.met) == ("test.bytes", 0, 1)


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"])
def test_refuses_text_that_is_not_utf_8(raw: bytes) -> None:
    assert "not UTF-8" in refused(bytes([0x60 | len(raw)]) + raw)


def shared_references() -> bytes:
    """Tags 28 and 29: thirty lists, each of which holds the one before twice. Decoding is quick, and comparing or printing is not."""
    data = b"\xd8\x1c\x80"
    for _ in range(30):
        data = b"\xd8\x1c\x82" + data + b"\xd8\x1d\x00"
    return data


BOMBS = {
    "shared references": shared_references(),
    "integers that share a hash": cbor.encode({n * (2**61 - 1) % 2**64: 0 for n in range(9)} | {n << 44: 0 for n in range(29_000)}),
    "integers that collide in a table": cbor.encode({n << 20: 0 for n in range(29_000)}),
    "nesting": b"\x81" * (1 << 20),
    "nested maps": b"\xa1\x00" * (1 << 19),
    "nested tags": b"\xd2" * (1 << 20),
    "a length of 16 EiB": b"\x9b" + b"\xff" * 8,
    "bytes of 16 EiB": b"\x5b" + b"\xff" * 8,
    "a bignum of half a megabyte": b"\xc2\x5a\x00\x08\x00\x00" + bytes(1 << 19),
    "empty lists": b"\x9a\x00\x0f\xff\xf0" + b"\x80" * 0xFFFF0,
    "keys out of order at the end": cbor.encode(dict.fromkeys(range(29_000), 0))[:-4] + b"\0\0\0\0",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("profile", [DOCUMENT, ANSWER], ids=lambda profile: profile.name)
def test_a_bomb_costs_less_than_half_a_second(name: str, profile: cbor.Profile) -> None:
    begun = time.process_time()
    with contextlib.suppress(MalformedError, LimitError):
        cbor.decode(BOMBS[name], profile, limit=1 << 20, limit_name="test.bytes")
    assert time.process_time() - begun < 0.5


ITEMS: list[list[bytes]] = [[b"receipt", b"node"], [b""], [b"{}"], [bytes(300), b"x"]]
STREAM = b"".join(map(cbor.encode, ITEMS))


def take(buffer: bytearray, limit: int = 1 << 10) -> list[Any]:
    return list(cbor.take_items(buffer, limit=limit, limit_name="test.item_bytes"))


def test_takes_whole_items_from_a_stream_cut_at_every_position() -> None:
    for cut in range(len(STREAM) + 1):
        buffer = bytearray(STREAM[:cut])
        found = take(buffer)
        buffer += STREAM[cut:]
        assert found + take(buffer) == [tuple(item) for item in ITEMS]
        assert not buffer


def test_takes_items_from_a_stream_that_drips() -> None:
    buffer, found = bytearray(), []
    for byte in STREAM:
        buffer.append(byte)
        found += take(buffer)
    assert found == [tuple(item) for item in ITEMS]


def test_refuses_a_stream_item_that_is_too_long_whether_or_not_it_is_whole() -> None:
    for data in (cbor.encode([bytes(2000)]), cbor.encode([bytes(2000)])[:-1], b"\x5b" + b"\x7f" * 8 + bytes(1100)):
        with pytest.raises(LimitError, match="item_bytes"):
            take(bytearray(data))


@pytest.mark.parametrize("text", ["ff", "9f", "d240", "818180", "a100a0", "854040404040", "f6", "20"])
def test_refuses_what_can_be_no_item_of_a_stream(text: str) -> None:
    with pytest.raises(MalformedError):
        take(bytearray.fromhex(text))


def test_many_small_items_at_once_cost_time_in_proportion() -> None:
    buffer = bytearray(b"\x82\x40\x40" * 100_000)  # what one read of a hostile stream may bring
    begun = time.process_time()
    assert sum(1 for _ in cbor.take_items(buffer, limit=1 << 20, limit_name="test.item_bytes")) == 100_000
    assert time.process_time() - begun < 3
    assert STREAM_ITEM.items == 4

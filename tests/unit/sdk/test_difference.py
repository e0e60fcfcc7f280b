"""Where two answers differ: field by field for people, and never with what would move their terminal's cursor."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode_sdk.difference import MOST, Difference, between

ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def canonical(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)


@pytest.mark.parametrize("encode", [lambda value: json.dumps(value).encode(), canonical], ids=["json", "cbor"])
def test_fields_are_compared_one_by_one(encode: Callable[[Any], bytes]) -> None:
    said = {"press": {"mean": 1.5, "count": 10}, "quantiles": [1, 2], "gone": True}
    found = {"press": {"mean": 1.25, "count": 10}, "quantiles": [1, 3, 4], "new": None}
    assert between(encode(said), encode(found)) == (
        Difference("gone", "true", "absent"),
        Difference("new", "absent", "null"),
        Difference("press.mean", "1.5", "1.25"),
        Difference("quantiles[1]", "2", "3"),
        Difference("quantiles[2]", "absent", "4"),
    )


def test_what_is_neither_cbor_nor_json_is_shown_in_hex_from_the_first_other_byte() -> None:
    assert between(b"\xffhello", b"\xffhullo!") == (Difference("length", "6", "7"), Difference("byte 2", b"ello".hex(), b"ullo!".hex()))
    assert between(b"\xff", b"") == (Difference("length", "1", "0"), Difference("byte 0", "ff", "end"))


def test_other_bytes_of_equal_values_are_still_a_difference() -> None:
    other_nan = b"\xfb" + struct.pack(">Q", 0x7FF8000000000001)
    assert [one.field for one in between(canonical(math.nan), other_nan)] == ["length", "byte 0"]
    assert [one.field for one in between(b'{"a": 1}', b'{"a":  1}')][-1] == "byte 6"


def test_a_different_type_of_the_same_text_is_told() -> None:
    assert between(b"[1, true]", b"[1.0, 1]") == (Difference("[0]", "1", "1.0"), Difference("[1]", "true", "1"))


def test_no_answer_makes_many_lines_or_long_ones() -> None:
    many = between(json.dumps([0] * 10_000).encode(), json.dumps([1] * 10_000).encode())
    assert len(many) == MOST
    [one] = between(json.dumps("a" * 10_000).encode(), b'"b"')
    assert len(one.receipt) < 300
    deep = b"[" * 900 + b"%d" + b"]" * 900
    assert between(deep % 1, deep % 2)
    assert between(b"[" * 100_000, b"[" * 99_999)


def test_a_guest_cannot_write_to_the_terminal() -> None:
    [one] = between(json.dumps({"\x1b[2J\u202e": "\x9b1m"}).encode(), json.dumps({"\x1b[2J\u202e": 1}).encode())
    assert (one.field + one.receipt).isascii() and (one.field + one.receipt).isprintable()


@given(ANSWERS, ANSWERS)
def test_any_two_answers_differ_somewhere_unless_they_are_the_same_bytes(said: object, found: object) -> None:
    one, other = canonical(said), canonical(found)
    assert bool(between(one, other)) is (one != other)

"""Joining data segments: the same memory from fewer of them, and nothing else changed."""

from __future__ import annotations

import random

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.formats import data_segments, wasm
from edgenode.formats.data_segments import GAP_BYTES, MOST, joined
from edgenode.testing import wasm as binary

MANY = MOST + 1


def module(places: list[tuple[int, bytes]], more: str = "") -> bytes:
    data = "".join(f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in bytes_)}")' for at, bytes_ in places)
    return binary(f'(module (memory (export "memory") 40) {more} {data})')


def memory(wasm_: bytes) -> bytes:
    store = wasmtime.Store()
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, wasm_), [])
    found = instance.exports(store)["memory"]
    assert isinstance(found, wasmtime.Memory)
    return bytes(found.read(store, 0, found.data_len(store)))


def count(wasm_: bytes) -> int:
    for kind, start, _ in data_segments._sections(wasm_):
        if kind == 11:
            reader = wasm.Reader(wasm_, start + 1)
            reader.u32()
            return reader.u32()
    return 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=6)), min_size=MANY, max_size=MANY + 20))
def test_memory_is_the_same_from_fewer_segments(drawn: list[tuple[int, bytes]]) -> None:
    places, at = [], 0
    for gap, data in drawn:
        at += gap
        places.append((at, data))
        at += len(data)
    before = module(random.Random(len(drawn)).sample(places, len(places)))
    after = joined(before)
    assert count(before) == len(places) and count(after) == 1
    assert memory(after) == memory(before)


def test_wide_gaps_stay_gaps() -> None:
    places = [(index * 8, b"x") for index in range(MANY)]
    end = MANY * 8
    after = joined(module([*places, (end + GAP_BYTES + 100, b"y"), (end + GAP_BYTES + 101, b"z")]))
    assert count(after) == 2 and memory(after)[end + GAP_BYTES + 100 :][:2] == b"yz"


@pytest.mark.parametrize(
    "wasm_",
    [
        module([(index * 8, b"x") for index in range(MOST)]),
        module([(8, b"x")] * MANY),  # each over the one before
        module([(index * 8, b"x") for index in range(MANY)], '(func (data.drop 0)) (data "passive")'),
        module([(0, b"x")], ""),
        binary("(module)"),
    ],
)
def test_what_could_be_told_apart_or_is_few_is_left_alone(wasm_: bytes) -> None:
    assert joined(wasm_) == wasm_


def test_a_segment_that_does_not_fit_still_does_not() -> None:
    places = [(index * 8, b"x") for index in range(MANY)]
    for last in (40 * 65536 - 1, 2**32 - 1):
        with pytest.raises(wasmtime.Trap, match="out of bounds memory"):
            memory(joined(module([*places, (last, b"xx")])))

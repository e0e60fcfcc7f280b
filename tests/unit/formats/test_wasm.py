"""Reading the outside of a WebAssembly binary."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.errors import ModuleError
from edgenode.formats import wasm
from edgenode.testing import wasm as binary

MODULE = binary("""(module
    (import "env" "now" (func (param i32 f64) (result i64)))
    (import "env" "shared" (global (mut i32)))
    (import "env" "table" (table 1 2 funcref))
    (table 300 funcref) (table 0 funcref)
    (memory (export "memory") 2 16)
    (func $add (export "add") (param i32 i32) (result i32) local.get 0)
    (func (export "nothing"))
    (global (export "g") i32 (i32.const 1))
)""")


def test_imports_exports_and_memory() -> None:
    outside = wasm.read(MODULE)
    assert outside.imports == ("func env.now(i32, f64) -> i64", "global env.shared", "table env.table")
    assert outside.exports == ("memory memory", "func add(i32, i32) -> i32", "func nothing()", "global g")
    assert outside.tables == (300, 0)
    assert outside.memories == ((2 * 65536, 16 * 65536),)


def test_a_signature_without_end_is_not_repeated_with_each_export() -> None:
    exports = "".join(f'(export "f{index}" (func 0))' for index in range(1_000))
    outside = wasm.read(binary(f"(module (func (param {'i64 ' * 1_000})) {exports})"))
    assert outside.exports[0] == "func f0(1000 parameters) -> 0 results"


def test_the_modules_that_come_with_edgenode() -> None:
    for path in (Path(__file__).parents[3] / "wasm-modules").glob("*/*.wasm"):
        assert "func edgenode_step(i32, i32) -> i64" in wasm.read(path.read_bytes()).exports


@given(st.data())
def test_damage_is_an_error_or_another_outside(data: st.DataObject) -> None:
    damaged = bytearray(MODULE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        wasm.read(bytes(damaged))
    except ModuleError as error:
        assert error.hint


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    for one in (data, MODULE[:8] + data):
        try:
            wasm.read(one)
        except ModuleError:
            continue


@pytest.mark.parametrize("end", range(1, len(MODULE) - 1, 7))
def test_cut_off(end: int) -> None:
    try:
        wasm.read(MODULE[:end])
    except ModuleError:
        return
    assert end >= 8  # between two sections

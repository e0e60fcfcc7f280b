"""What may become code, and how the compiling child fails."""

from __future__ import annotations

import dataclasses

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.config import SandboxConfig
from edgenode.errors import LimitError, ModuleError
from edgenode.sandbox import engine
from edgenode.sandbox.compile import compile_step
from edgenode.sandbox.compiler import compile_module
from edgenode.sandbox.wire import Kind

from .guests import ALLOC, HELLO, binary, guest

CONFIG = SandboxConfig()
MEMORY = '(memory (export "memory") 1)'
STEP = '(func (export "edgenode_step") (param i32 i32) (result i64) i64.const 0)'


def leb(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + leb(number >> 7)


def compile_bomb(depth: int) -> bytes:
    """Nested blocks, each with a branch out of it: compiling takes time that grows faster than the module."""
    branches = b"".join(b"\x20\x00\x0d" + leb(target) for target in range(depth))
    return with_body(b"\x02\x40" * depth + branches + b"\x0b" * depth)


def straight_line(turns: int) -> bytes:
    """One long block of 14 bytes again and again: a load, a multiplication and a store."""
    return with_body(b"\x20\x00\x20\x00\x28\x02\x00\x20\x01\x6c\x36\x02\x04\x01" * turns)


def with_body(code: bytes) -> bytes:
    """A guest whose edgenode_step is this code, and answers 0."""
    body = b"\0" + code + b"\x42\0\x0b"
    wasm = guest("(i64.const 0)")
    short = b"\x04\0\x42\0\x0b"  # the body that it replaces: its length, no locals, i64.const 0, end
    assert wasm.count(short) == 1
    start = wasm.index(short)
    entries = wasm[:start].rindex(b"\x0a")  # the code section: its id, then its length
    code = wasm[entries + 2 : start] + leb(len(body)) + body
    return wasm[:entries] + b"\x0a" + leb(len(code)) + code


@pytest.mark.parametrize(
    ("wasm", "what"),
    [
        (b"", "not WebAssembly"),
        (b"\x7fELF\x02\x01\x01", "7f454c46"),
        (b"(module)", "not WebAssembly"),
        (b"\0asm\x0d\0\x01\0", "not a core module"),
        (b"\0asm", "not a valid module"),
        (HELLO[:-1], "not a valid module"),
        (HELLO[: len(HELLO) // 2], "not a valid module"),
    ],
)
def test_what_is_not_a_module_is_refused_by_the_child(wasm: bytes, what: str) -> None:
    with pytest.raises(ModuleError, match=what) as caught:
        compile_module(wasm, Kind.STEP, "", CONFIG)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("wat", "what"),
    [
        (
            '(import "wasi_snapshot_preview1" "fd_write" (func)) (import "env" "other" (func))',
            r"it imports func wasi_snapshot_preview1\.fd_write\(\), and",
        ),
        ('(import "env" "memory" (memory 1))', "it imports memory env.memory"),
        (f"{ALLOC} {STEP}", "no memory named memory"),
        (f'{ALLOC} {STEP} (func (export "memory"))', "no memory named memory"),
        (f"{MEMORY} {STEP}", "no function edgenode_alloc"),
        (f"{MEMORY} {ALLOC}", "no function edgenode_step"),
        (f'{MEMORY} {STEP} (global (export "edgenode_alloc") i32 (i32.const 0))', "no function edgenode_alloc"),
        (f'{MEMORY} {STEP} (func (export "edgenode_alloc") (result i32) i32.const 0)', r"edgenode_alloc is \(\) -> i32, not"),
        (
            f'{MEMORY} {ALLOC} (func (export "edgenode_step") (param i32 i32) (result f64) f64.const 0)',
            r"edgenode_step is \(i32, i32\) -> f64, not",
        ),
        (f'{MEMORY} {ALLOC} {STEP} (func (export "_initialize") (param i32))', r"_initialize is \(i32\), not"),
        (f"{MEMORY} {ALLOC} {STEP} {'(table 1 funcref)' * 5}", "5 tables"),
        (f"{MEMORY} {ALLOC} {STEP} (table 2 3 funcref) (table 100001 funcref)", "table of 100001 elements"),
        (f'{MEMORY} {ALLOC} (func (export "edgenode_step") (param v128) unreachable)', r"edgenode_step is \(v128\), not"),
    ],
)
def test_module_outside_the_abi_is_refused(wat: str, what: str) -> None:
    with pytest.raises(ModuleError, match=what):
        compile_step(binary(f"(module {wat})"))


def test_forbidden_import_is_named_by_the_child_too() -> None:
    wasm = binary('(module (import "env" "\\1b[31mred" (func)))')
    with pytest.raises(ModuleError, match=r"it imports func env\.\?\[31mred"):
        compile_module(wasm, Kind.STEP, "", CONFIG)


def test_code_loads_in_an_engine_with_the_same_config() -> None:
    code = compile_module(HELLO, Kind.STEP, "", CONFIG)
    assert wasmtime.Module.deserialize(engine.create(), code).exports


def test_compile_bomb_ends_in_a_named_limit() -> None:
    with pytest.raises(LimitError, match=r"sandbox\.compile_seconds is 1 seconds"):
        compile_module(compile_bomb(30_000), Kind.STEP, "", dataclasses.replace(CONFIG, compile_seconds=1))


def test_straight_line_megabytes_end_in_a_named_limit() -> None:
    with pytest.raises(LimitError, match=r"sandbox\.compile_(seconds|memory)"):
        compile_module(straight_line(500_000), Kind.STEP, "", dataclasses.replace(CONFIG, compile_seconds=1))


def test_compiler_memory_is_bounded() -> None:
    with pytest.raises(LimitError, match=r"sandbox\.compile_memory"):
        compile_module(HELLO, Kind.STEP, "", dataclasses.replace(CONFIG, compile_memory=16 << 20))


def test_code_larger_than_the_cache_is_refused() -> None:
    with pytest.raises(LimitError, match=r"sandbox\.cache_bytes"):
        compile_module(HELLO, Kind.STEP, "", dataclasses.replace(CONFIG, cache_bytes=4096))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_modules_compile_or_are_refused(data: st.DataObject) -> None:
    wasm = bytearray(HELLO)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(wasm) - 1), st.integers(0, 255)), min_size=1, max_size=4)):
        wasm[at] = value
    try:
        assert compile_step(bytes(wasm))
    except ModuleError as error:
        assert error.what

"""The Config: what it forbids, and that two targets agree under it."""

from __future__ import annotations

import pytest
import wasmtime

from edgenode.errors import ModuleError
from edgenode.records import Abi, digest
from edgenode.sandbox import engine
from edgenode.sandbox.abi import OutputLimits
from edgenode.sandbox.compile import compile_step
from edgenode.sandbox.step import Budget, Ran, StepModule, run

from .guests import HELLO, REPLY_AT, answer, binary, guest

BUDGET = Budget(fuel=1_000_000, memory=1 << 20, output=OutputLimits(64, 64, 0, 0))

# Adds 1 to a signalling NaN with a payload; the answer is the sum's bits.
NAN = guest(
    f"""(i64.store (i32.const {REPLY_AT}) (i64.const 0x800000020))
    (f64.store (i32.const {REPLY_AT + 8}) (f64.add (f64.load (i32.const 8)) (f64.const 1)))
    {answer(16)}""",
    more='(data (i32.const 8) "\\01\\02\\03\\00\\00\\00\\f4\\ff")',
)


def on(target: str | None, wasm: bytes) -> Ran:
    native = engine.create(target)
    return run(StepModule(native, wasmtime.Module(native, wasm)), b"request!", BUDGET)


def test_nan_is_canonical_and_payloads_are_gone() -> None:
    assert on(None, NAN).reply.summary == (0x7FF8 << 48).to_bytes(8, "little")


@pytest.mark.parametrize("wasm", [HELLO, NAN, guest("(loop br 0) unreachable"), guest("unreachable")])
def test_portable_interpreter_gives_the_same_outcome_bytes_and_fuel(wasm: bytes) -> None:
    assert on(None, wasm) == on("pulley64", wasm)


def test_data_segments_are_metered() -> None:
    # With copy-on-write memory initialisation they cost nothing: this is how that it is off can be seen.
    store = wasmtime.Store(native := engine.create())
    store.set_fuel(1000)
    wasmtime.Instance(store, wasmtime.Module(native, '(module (memory 1) (data (i32.const 0) "abc"))'), [])
    assert store.get_fuel() < 1000


def test_config_digest_is_of_the_text_and_names_every_flag() -> None:
    described = engine.describe()
    assert described.config(Abi.STEP) == digest(engine.step_text().encode())
    assert described.config(Abi.WASI_COMMAND) == digest(engine.command_text().encode()) != described.config(Abi.STEP)
    name, version = described.version.split(" ")
    assert name == "wasmtime"
    assert version.split(".")[0].isdecimal()
    assert all(f"\n{name} " in engine.step_text() for name in engine.FLAGS)


@pytest.mark.parametrize(
    "wat",
    [
        '(module (memory (export "memory") 1) (memory 1))',
        '(module (memory (export "memory") i64 1))',
        '(module (memory (export "memory") 1 1 shared))',
        '(module (memory (export "memory") 1 (pagesize 1)))',
        "(module (func (param v128 v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))))",
        "(module (func (drop (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))))",
        "(module (type (struct)))",
        "(module (tag))",
        "(module (func (param externref)))",
        "(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))",
        "(module (type $f (func)) (type $c (cont $f)))",
        "(module (func atomic.fence))",
    ],
)
def test_forbidden_language_is_refused(wat: str) -> None:
    with pytest.raises(ModuleError, match="not a valid module"):
        compile_step(binary(wat))


def test_component_is_refused() -> None:
    with pytest.raises(ModuleError, match="not a core module"):
        compile_step(binary("(component)"))

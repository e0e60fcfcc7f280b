"""How long a module of 100 KB takes to be ready: module_cold_ms with nothing cached, module_warm_ms from the cache on disk."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median

import wasmtime

from edgenode.config import SandboxConfig
from edgenode.records import digest
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import VerifiedModule, unsigned_module
from tests.bench import guest
from tests.bench.figure import Figure, Measured

BYTES = 100 * 1024
ROUNDS = 5

FIGURES = (
    Figure(name="module_cold_ms", unit="ms", at_most=300, against="an interpreter that imports the engine"),
    Figure(name="module_warm_ms", unit="ms", at_most=5, against="reading and hashing the same code"),
)


def measure() -> Mapping[str, Measured]:
    cold, warm, started, read = [], [], [], []
    for turn in range(ROUNDS):
        module = _module(turn)
        with tempfile.TemporaryDirectory() as folder:
            with _pool(folder) as pool:
                cold.append(_ms(partial(pool.prepare, module)))
            with _pool(folder) as pool:
                warm.append(_ms(partial(pool.prepare, module)))
            code = next(Path(folder).glob("*.code"))
            read.append(_ms(partial(_digest, code)))
        started.append(_ms(partial(subprocess.run, [sys.executable, "-c", "import wasmtime"], check=True)))
    return {
        "module_cold_ms": Measured(median(cold), median(started)),
        "module_warm_ms": Measured(median(warm), median(read)),
    }


def _digest(path: Path) -> bytes:
    return digest(path.read_bytes())


def _pool(folder: str) -> Pool:
    return Pool(SandboxConfig(), cache=Path(folder), mac_key=bytes(32))


def _module(turn: int) -> VerifiedModule:
    """Functions that read, compute and branch, as compilers emit them, up to the size."""
    functions: list[str] = []
    binary = b""
    while len(binary) < BYTES:
        functions += [_function(turn, len(functions) + index) for index in range(100)]
        calls = "".join(f"(drop (call $f{index} (local.get $ptr) (f64.const 1)))" for index in range(len(functions)))
        binary = bytes(
            wasmtime.wat2wasm(
                f"""(module (memory (export "memory") 8) {"".join(functions)}
                (func (export "edgenode_alloc") (param i32) (result i32) i32.const 1024)
                (func (export "edgenode_step") (param $ptr i32) (param i32) (result i64) {calls} i64.const 0))"""
            )
        )
    return unsigned_module(binary, guest.manifest(binary, 0))


def _function(turn: int, index: int) -> str:
    return f"""(func $f{index} (param $at i32) (param $x f64) (result f64) (local $i i32) (local $sum f64)
        (loop $again
            (local.set $sum (f64.add (local.get $sum) (f64.mul (local.get $x) (f64.load offset={8 * index} (local.get $at)))))
            (if (f64.gt (local.get $sum) (f64.const {turn + index}))
                (then (local.set $sum (f64.sqrt (f64.sub (local.get $sum) (f64.const {index})))))
                (else (i32.store offset={4 * index} (local.get $at) (i32.xor (local.get $i) (i32.const {index})))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const {index % 7}))))
        (local.get $sum))"""


def _ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3

"""wasi_stdin_8mb_ratio: an unchanged C program that aggregates 8 MB of samples from stdin, through a worker and over the operating system
that is wasm itself, against the bare engine with its own WASI and the same flags."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import wasmtime

from edgenode.config import SandboxConfig
from edgenode.records import Abi, Limits
from edgenode.sandbox import engine
from edgenode.sandbox.image import Kind, Record, Settings, encode
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import unsigned_module
from edgenode_sdk.local import widest_manifest
from tests.bench.figure import Figure, Measured

ROUNDS = 15
BYTES = 8_000_000
LIMITS = Limits(fuel=20_000_000_000, memory=64 << 20, files=32 << 20)

FIGURES = (Figure(name="wasi_stdin_8mb_ratio", unit="x", at_most=1.1, against="the bare engine with its own WASI, the same program"),)


def measure() -> Mapping[str, Measured]:
    with tempfile.TemporaryDirectory() as folder, Pool(SandboxConfig(), cache=None, mac_key=bytes(32)) as pool:
        binary, samples = _program(Path(folder)), _samples()
        ours, bare = _ours(pool, binary, samples), _bare(binary, samples, Path(folder))
        if ours() != bare():
            raise RuntimeError("the two print different things")
        took: tuple[list[float], list[float]] = [], []
        for _ in range(ROUNDS):
            took[0].append(_seconds(ours))
            took[1].append(_seconds(bare))
    return {"wasi_stdin_8mb_ratio": Measured(median(took[0]) / median(took[1]), 1.0)}


def _program(folder: Path) -> bytes:
    path = folder / "aggregate.wasm"
    source = Path(__file__).parents[1] / "aggregate.c"
    cache = str(Path(__file__).parents[3] / "build" / "zig-cache")
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-o", str(path), str(source)]
    subprocess.run(command, env=environment, check=True)
    return path.read_bytes()


def _samples() -> bytes:
    rows = (f"{1_700_000_000 + row // 10}.{row % 10}00000000,press/force,{row % 977 / 7!r},N\n" for row in range(BYTES))
    text = bytearray(b"time,channel,value,unit\n")
    while len(text) < BYTES:
        text += next(rows).encode()
    return bytes(text)


def _ours(pool: Pool, binary: bytes, samples: bytes) -> Callable[[], bytes]:
    module = unsigned_module(binary, widest_manifest(binary, LIMITS, Abi.WASI_COMMAND))
    settings = Settings(clock_ns=0, seed=bytes(32), stdout=4096, stderr=4096).record()

    def run() -> bytes:
        image = encode([settings, Record(Kind.ARGUMENT, content=b"aggregate"), Record(Kind.STDIN, content=samples)])
        result = pool.execute(module, image=image, limits=LIMITS, streams=4096)
        if not result.outcome.ok:
            raise RuntimeError(f"the program ended with {result.outcome}: {result.stderr!r}")
        return result.stdout

    return run


def _bare(binary: bytes, samples: bytes, folder: Path) -> Callable[[], bytes]:
    native = engine.create()
    module = wasmtime.Module(native, binary)
    linker = wasmtime.Linker(native)
    linker.define_wasi()
    stdin, stdout = folder / "stdin", folder / "stdout"
    stdin.write_bytes(samples)

    def run() -> bytes:
        with wasmtime.Store(native) as store:
            store.set_fuel(LIMITS.fuel)
            wasi = wasmtime.WasiConfig()
            wasi.stdin_file, wasi.stdout_file = str(stdin), str(stdout)
            store.set_wasi(wasi)
            start = linker.instantiate(store, module).exports(store)["_start"]
            if not isinstance(start, wasmtime.Func):
                raise TypeError("no _start")
            try:
                start(store)
            except wasmtime.ExitTrap as ended:
                if ended.code:
                    raise
        return stdout.read_bytes()

    return run


def _seconds(call: Callable[[], bytes]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began

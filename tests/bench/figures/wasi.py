"""wasi_stdin_8mb_ratio: an unchanged C program that aggregates 8 MB of samples from stdin, through a worker and over the operating system
that is wasm itself, against the bare engine with its own WASI and the same flags. wasi_as_csv_ratio: the whole step of a job whose manifest
wants text/csv, the conversion of its snapshot included."""

from __future__ import annotations

import array
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import wasmtime

from edgenode.config import SandboxConfig
from edgenode.formats.frame import encode_frame
from edgenode.formats.stdin import convert
from edgenode.records import Abi, Channel, Completeness, Limits, Series, StepContext, Window
from edgenode.sandbox import engine
from edgenode.sandbox.image import Kind, Record, Settings, encode
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import unsigned_module
from edgenode_sdk.local import widest_manifest
from tests.bench.figure import Figure, Measured

ROUNDS = 15
BYTES = 8_000_000
LIMITS = Limits(fuel=20_000_000_000, memory=64 << 20, files=32 << 20)

FIGURES = (
    Figure(name="wasi_stdin_8mb_ratio", unit="x", at_most=1.1, against="the bare engine with its own WASI, the same program"),
    Figure(name="wasi_as_csv_ratio", unit="x", against="the same, a snapshot being made into those 8 MB first"),
)


def measure() -> Mapping[str, Measured]:
    with tempfile.TemporaryDirectory() as folder, Pool(SandboxConfig(), cache=None, mac_key=bytes(32)) as pool:
        binary, frame = _program(Path(folder)), _samples()
        samples = bytes(convert("text/csv", frame))
        calls = [_ours(pool, binary, samples), _step(pool, binary, frame), _bare(binary, samples, Path(folder))]
        if len({call() for call in calls}) > 1:
            raise RuntimeError("they print different things")
        took: list[list[float]] = [[], [], []]
        for _ in range(ROUNDS):
            for times, call in zip(took, calls, strict=True):
                times.append(_seconds(call))
    ours, step, bare = map(median, took)
    return {"wasi_stdin_8mb_ratio": Measured(ours / bare, 1.0), "wasi_as_csv_ratio": Measured(step / bare, 1.0)}


def _program(folder: Path) -> bytes:
    path = folder / "aggregate.wasm"
    source = Path(__file__).parents[1] / "aggregate.c"
    cache = str(Path(__file__).parents[3] / "build" / "zig-cache")
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-o", str(path), str(source)]
    subprocess.run(command, env=environment, check=True)
    return path.read_bytes()


def _samples() -> bytes:
    """The frame of one channel that makes so many bytes as CSV."""
    rows = BYTES // len("1700000000.000000000,press/force,0.14285714285714285,N\n")
    times = array.array("q", range(1_700_000_000 * 10**9, 1_700_000_000 * 10**9 + rows * 10**8, 10**8))
    values = array.array("d", (row % 977 / 7 for row in range(rows)))
    return encode_frame([Series(Channel("press/force", "N"), times, values)])


def _step(pool: Pool, binary: bytes, frame: bytes) -> Callable[[], bytes]:
    manifest = replace(widest_manifest(binary, LIMITS, Abi.WASI_COMMAND), input="text/csv")
    module = unsigned_module(binary, manifest)
    context = StepContext(window=Window(start_ns=0, end_ns=1), step=0, revision=0, seed=bytes(32), completeness=Completeness(received=0))

    def run() -> bytes:
        result = pool.run(module, context=context, params=b"", state=b"", frame=frame, limits=LIMITS)
        if not result.outcome.ok:
            raise RuntimeError(f"the step ended with {result.outcome}: {result.log!r}")
        return result.summary

    return run


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

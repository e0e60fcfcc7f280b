"""step_overhead_us: what the sandbox adds to a step, over a bare call of the engine with the same flags in this process."""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Mapping
from statistics import median

import wasmtime

from edgenode.config import SandboxConfig
from edgenode.formats.frame import encode_frame
from edgenode.records import Channel, Completeness, Series, StepContext, StepResult, Window, digest
from edgenode.sandbox import engine, step
from edgenode.sandbox.abi import OutputLimits, request_head
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import VerifiedModule, unsigned_module
from tests.bench import guest
from tests.bench.figure import Figure, Measured

STEPS = 3_000
CHANNELS, SAMPLES = 10, 100

FIGURES = (Figure(name="step_overhead_us", unit="us", at_most=300, against="the same step by the bare engine"),)

_CONTEXT = StepContext(
    window=Window(start_ns=0, end_ns=SAMPLES), step=0, revision=0, seed=bytes(32), completeness=Completeness(received=CHANNELS * SAMPLES)
)


def measure() -> Mapping[str, Measured]:
    binary = guest.wasm()
    module = unsigned_module(binary, guest.manifest(binary, 0))
    frame = _frame()
    bare = _bare(module, frame)
    with Pool(SandboxConfig(), cache=None, mac_key=bytes(32)) as pool:

        def pooled() -> StepResult:
            return pool.run(module, context=_CONTEXT, params=b"", state=b"", frame=frame, limits=guest.LIMITS)

        result, ran = pooled(), bare()
        if (result.outcome, result.fuel, result.summary) != (ran.outcome, ran.fuel, ran.reply.summary) or not result.outcome.ok:
            raise RuntimeError(f"the two do not run the same step: {result}, {ran}")
        took: tuple[list[float], list[float]] = [], []
        for _ in range(STEPS):
            took[0].append(_us(pooled))
            took[1].append(_us(bare))
    of_pool, of_engine = map(median, took)
    return {"step_overhead_us": Measured(of_pool - of_engine, of_engine)}


def _bare(module: VerifiedModule, frame: bytes) -> Callable[[], step.Ran]:
    """The step as the engine runs it, all that comes before it prepared."""
    native = engine.create()
    compiled = step.StepModule(native, wasmtime.Module(native, module.wasm))
    request = request_head(_CONTEXT, b"", b"", frame) + frame
    output = OutputLimits.of(module.manifest.capabilities, guest.LIMITS)
    budget = step.Budget(guest.LIMITS.fuel, guest.LIMITS.memory, output)
    if digest(module.wasm) != module.manifest.module:
        raise RuntimeError("not the guest's binary")
    return lambda: step.run(compiled, request, budget)


def _frame() -> bytes:
    times = array.array("q", range(SAMPLES))
    values = array.array("d", map(float, range(SAMPLES)))
    return encode_frame([Series(Channel(f"press/c{channel}", "Cel"), times, values) for channel in range(CHANNELS)])


def _us(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e6

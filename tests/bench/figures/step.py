"""What the sandbox costs a step: step_overhead_us of a small one, step_100ms_ratio of a long one, both over a bare call of the engine
with the same flags in this process."""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Mapping
from statistics import median

import wasmtime

from edgenode import testing
from edgenode.config import SandboxConfig
from edgenode.formats.frame import encode_frame
from edgenode.records import Channel, Completeness, Series, StepContext, StepResult, Window
from edgenode.sandbox import engine, step
from edgenode.sandbox.abi import OutputLimits, request_head
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import unsigned_module
from tests.bench import guest
from tests.bench.figure import Figure, Measured

SMALL_STEPS, LONG_STEPS = 3_000, 15
LONG_TURNS = 350_000_000  # of a loop, some 100 ms
CHANNELS, SAMPLES = 10, 100

FIGURES = (
    Figure(name="step_overhead_us", unit="us", at_most=150, against="the same step by the bare engine"),
    Figure(name="step_100ms_ratio", unit="x", at_most=1.05, against="the same step by the bare engine"),
)

_CONTEXT = StepContext(
    window=Window(start_ns=0, end_ns=SAMPLES), step=0, revision=0, seed=bytes(32), completeness=Completeness(received=CHANNELS * SAMPLES)
)


def measure() -> Mapping[str, Measured]:
    with Pool(SandboxConfig(), cache=None, mac_key=bytes(32)) as pool:
        pooled_us, bare_us = _compare(pool, guest.wasm(), SMALL_STEPS)
        pooled_long, bare_long = _compare(pool, testing.guest(testing.burning(LONG_TURNS)), LONG_STEPS)
    return {
        "step_overhead_us": Measured(pooled_us - bare_us, bare_us),
        "step_100ms_ratio": Measured(pooled_long / bare_long, 1.0),
    }


def _compare(pool: Pool, binary: bytes, steps: int) -> tuple[float, float]:
    """Medians of the step through the pool and of the same by the bare engine, in turns, us."""
    module = unsigned_module(binary, guest.manifest(binary, 0))
    frame, limits = _frame(), guest.LIMITS
    native = engine.create()
    compiled = step.StepModule(native, wasmtime.Module(native, binary))
    request = request_head(_CONTEXT, b"", b"", frame) + frame
    budget = step.Budget(limits.fuel, limits.memory, OutputLimits.of(module.manifest.capabilities, limits))

    def pooled() -> StepResult:
        return pool.run(module, context=_CONTEXT, params=b"", state=b"", frame=frame, limits=limits)

    def bare() -> step.Ran:
        return step.run(compiled, request, budget)

    result, ran = pooled(), bare()
    if (result.outcome, result.fuel, result.summary) != (ran.outcome, ran.fuel, ran.reply.summary) or not result.outcome.ok:
        raise RuntimeError(f"the two do not run the same step: {result}, {ran}")
    took: tuple[list[float], list[float]] = [], []
    for _ in range(steps):
        took[0].append(_us(pooled))
        took[1].append(_us(bare))
    return median(took[0]), median(took[1])


def _frame() -> bytes:
    times = array.array("q", range(SAMPLES))
    values = array.array("d", map(float, range(SAMPLES)))
    return encode_frame([Series(Channel(f"press/c{channel}", "Cel"), times, values) for channel in range(CHANNELS)])


def _us(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e6

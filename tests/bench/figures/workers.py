"""What workers bring and cost: steps_per_s_1 and steps_per_s_2 with steps of some 10 ms, worker_scaling between the two, and
worker_unshared_mb, the memory that one more worker takes."""

from __future__ import annotations

import multiprocessing
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from edgenode import testing
from edgenode.config import SandboxConfig
from edgenode.records import Completeness, StepContext, Window
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import unsigned_module
from tests.bench import guest
from tests.bench.figure import Figure, Measured

TURNS = 35_000_000  # of a loop, some 10 ms
STEPS = 25  # of each caller in one round
ROUNDS = 5

FIGURES = (
    Figure(name="steps_per_s_1", unit="/s", against="steps of 10 ms that fit in a second"),
    Figure(name="steps_per_s_2", unit="/s", against="with one worker"),
    Figure(name="worker_scaling", unit="x", at_least=1.8, against="two processes that count, over one"),
    Figure(name="worker_unshared_mb", unit="MB", at_most=20, against="an interpreter"),
)

_CONTEXT = StepContext(window=Window(start_ns=0, end_ns=1), step=0, revision=0, seed=bytes(32), completeness=Completeness(received=0))


def measure() -> Mapping[str, Measured]:
    one: list[float] = []
    two: list[float] = []
    counting: list[float] = []
    with _pool(1) as single, _pool(2) as double:
        for _ in range(ROUNDS):
            one.append(_rate(single, 1))
            two.append(_rate(double, 2))
            counting.append(_counting(2) / _counting(1))
        unshared = max(_unshared_mb(pid) for pid in double.status().pids)
    per_step = median(_alone() for _ in range(ROUNDS))
    with multiprocessing.get_context("spawn").Pool(1) as bare:
        interpreter = _unshared_mb(bare.apply(_own_pid))
    return {
        "steps_per_s_1": Measured(median(one), 1 / per_step),
        "steps_per_s_2": Measured(median(two), median(one)),
        "worker_scaling": Measured(median(b / a for a, b in zip(one, two, strict=True)), median(counting)),
        "worker_unshared_mb": Measured(unshared, interpreter),
    }


def _pool(workers: int) -> Pool:
    return Pool(SandboxConfig(workers=workers), cache=None, mac_key=bytes(32))


def _rate(pool: Pool, callers: int) -> float:
    """Steps a second of the whole pool, each caller waiting for one at a time."""
    step = _step(pool)
    step()

    def call() -> None:
        for _ in range(STEPS):
            step()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return callers * STEPS / (time.perf_counter() - began)


def _alone() -> float:
    """Seconds that the guest itself takes, as its worker measures it."""
    with _pool(1) as pool:
        step = _step(pool)
        return median(step() for _ in range(9))


def _step(pool: Pool) -> Callable[[], float]:
    binary = testing.guest(testing.burning(TURNS))
    module = unsigned_module(binary, guest.manifest(binary, 0))

    def run() -> float:
        result = pool.run(module, context=_CONTEXT, params=b"", state=b"", frame=b"", limits=guest.LIMITS)
        if not result.outcome.ok:
            raise RuntimeError(f"the step ended with {result.outcome}")
        return result.wall_ns / 1e9

    return run


def _counting(processes: int) -> float:
    """How fast this machine counts with so many processes: what two workers could reach at best."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        pool.map(_count, [1] * processes, chunksize=1)
        began = time.perf_counter()
        pool.map(_count, [6_000_000] * processes, chunksize=1)
        return processes / (time.perf_counter() - began)


def _count(turns: int) -> None:
    total = 0
    for turn in range(turns):
        total += turn


def _own_pid() -> int:
    return multiprocessing.current_process().pid or 0


def _unshared_mb(pid: int) -> float:
    """Private pages (proc_pid_smaps(5)): what ending the process would give back."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB$", text, re.MULTILINE)
    return sum(map(int, found)) * 1024 / 1e6

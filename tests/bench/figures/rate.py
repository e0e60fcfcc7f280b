"""jobs_per_s: how many jobs one node takes through to their verified receipts, 16 in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median

from tests.bench.figure import Figure, Measured
from tests.bench.laptop import laptop

IN_FLIGHT = 16
ROUNDS = 5
JOBS, CALLS = 200, 1_000  # of one round

FIGURES = (Figure(name="jobs_per_s", unit="/s", at_least=200, against="bare calls over pinned TLS, 16 in flight, per s"),)


def measure() -> Mapping[str, Measured]:
    return {"jobs_per_s": asyncio.run(_measure())}


async def _measure() -> Measured:
    jobs, calls = [], []
    async with laptop() as ready:
        await _rate(ready.job, JOBS)  # opens the connections
        for _ in range(ROUNDS):
            jobs.append(await _rate(ready.job, JOBS))
            calls.append(await _rate(ready.bare, CALLS))
    return Measured(median(jobs), median(calls))


async def _rate(one: Callable[[], Awaitable[float]], count: int) -> float:
    """How many a second, ``IN_FLIGHT`` at any time."""
    left = iter(range(count))

    async def run() -> None:
        for _ in left:
            await one()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(run())
    return count / (time.perf_counter() - began)

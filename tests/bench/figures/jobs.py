"""job_p50_ms, job_p99_ms: one job after another, each from its submission to its verified receipt, over a warm connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tests.bench.figure import Figure, Measured, percentile
from tests.bench.laptop import laptop

JOBS = 400

_AGAINST = "a bare call over pinned TLS"
FIGURES = (
    Figure(name="job_p50_ms", unit="ms", at_most=10, against=f"{_AGAINST}, p50"),
    Figure(name="job_p99_ms", unit="ms", against=f"{_AGAINST}, p99"),
)


def measure() -> Mapping[str, Measured]:
    jobs, bare = asyncio.run(_measure())
    percents = {"job_p50_ms": 50, "job_p99_ms": 99}
    return {name: Measured(percentile(jobs, at) * 1e3, percentile(bare, at) * 1e3) for name, at in percents.items()}


async def _measure() -> tuple[list[float], list[float]]:
    jobs, bare = [], []
    async with laptop() as ready:
        for _ in range(JOBS):
            jobs.append(await ready.job())
            bare.append(await ready.bare())
    return jobs, bare

"""The jobs that have a step to run, each with a share of the turns by its priority."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class JobQueue:
    """Stride scheduling (Waldspurger and Weihl, 1995): a job of priority p gets turns in proportion to p + 1.

    So the urgent goes first and often, and nothing waits for ever; among equals, who has waited longest. Each job stands in it once.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, bytes, int]] = []
        self._virtual = 0.0  # where the job that had the last turn stood
        self._turn = itertools.count()
        self._queued: set[bytes] = set()
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, job: bytes, priority: int) -> None:
        if job not in self._queued:
            self._queued.add(job)
            heapq.heappush(self._heap, (self._virtual + 1 / (priority + 1), next(self._turn), job, priority))
            self._ready.set()

    async def get(self) -> tuple[bytes, int]:
        """The next job and its priority; waits for one."""
        while not self._heap:
            self._ready.clear()
            await self._ready.wait()
        self._virtual, _, job, priority = heapq.heappop(self._heap)
        self._queued.discard(job)
        return job, priority

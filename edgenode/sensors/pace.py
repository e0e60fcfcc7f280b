"""The steady beat of a polled source."""

from __future__ import annotations

import asyncio

from edgenode.clock import Clock


class Pace:
    """Ticks at a fixed rate, by the clock that never goes back: time spent polling does not add up.

    A tick that passed while a poll still ran is skipped and counted: polls never bunch.
    """

    def __init__(self, clock: Clock, interval_ns: int) -> None:
        self._clock = clock
        self._interval_ns = interval_ns
        self._due_ns: int | None = None

    async def tick(self) -> int:
        """Wait for the next tick, the first one being now, and return how many were missed since the last."""
        now = self._clock.monotonic_ns()
        if self._due_ns is None:
            self._due_ns = now
            return 0
        due = self._due_ns + self._interval_ns
        missed = max(0, -((due - now) // self._interval_ns))
        self._due_ns = due + missed * self._interval_ns
        await asyncio.sleep((self._due_ns - now) / 1e9)
        return missed

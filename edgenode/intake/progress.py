"""Who waits for news of which job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Wakes those who follow a job. It carries no news itself: they read the ledger, so nothing can be missed or kept twice."""

    def __init__(self) -> None:
        self._followers: dict[bytes, set[asyncio.Event]] = {}

    @contextmanager
    def follow(self, job: bytes) -> Iterator[asyncio.Event]:
        """An event that is set at each change of the job from now on; the follower clears it."""
        event = asyncio.Event()
        self._followers.setdefault(job, set()).add(event)
        try:
            yield event
        finally:
            followers = self._followers[job]
            followers.discard(event)
            if not followers:
                del self._followers[job]

    def changed(self, job: bytes) -> None:
        for event in self._followers.get(job, ()):
            event.set()

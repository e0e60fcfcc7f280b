"""The laptop's side of the figures about jobs: one kept connection, jobs to their verified receipts, and bare calls beside them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from edgenode.transport.tls import PinnedKey, client_context
from edgenode.transport.wire import CARD
from edgenode_sdk import AsyncFleet
from tests.bench import fleet, guest
from tests.bench.node import running

SETTLE_SECONDS = 3.0  # until the source has filled the window
WARM_UP = 20

JOB: dict[str, Any] = {
    "module": guest.NAME,
    "channels": [f"press/c{channel}" for channel in range(fleet.CHANNELS)],
    "window": {"last": "2s"},
}


class Laptop:
    def __init__(self, fleet: AsyncFleet, session: aiohttp.ClientSession, address: str) -> None:
        self._fleet, self._session, self._card = fleet, session, f"https://{address}{CARD}"
        self._context = client_context()

    async def job(self) -> float:
        """Submit a job and follow it to its end; seconds until its receipt was verified."""
        began = time.perf_counter()
        submission = await self._fleet.submit(JOB)
        took = 0.0
        async for result in submission.receipts(10):
            took = time.perf_counter() - began
            if not result.ok or result.summary != 42 or result.core is None or not result.core.completeness.received:
                raise RuntimeError(f"not the answer of this job: {result.to_json()}")
        if not took:
            raise RuntimeError(f"no receipt: {submission.executions}")
        return took

    async def bare(self) -> float:
        """One bare call over pinned TLS; seconds."""
        began = time.perf_counter()
        async with self._session.get(self._card, ssl=self._context) as response:
            await response.read()
        return time.perf_counter() - began


@asynccontextmanager
async def laptop() -> AsyncIterator[Laptop]:
    """A laptop and a node that has run some jobs already."""
    with tempfile.TemporaryDirectory() as folder:
        home = fleet.create(Path(folder))
        with running(Path(folder, "node")) as node:
            async with await AsyncFleet.connect(node.address, home=home) as found:
                pinned = aiohttp.TCPConnector(ssl=PinnedKey(found.nodes[0].node.public_key), limit=32)
                async with aiohttp.ClientSession(connector=pinned) as session:
                    ready = Laptop(found, session, node.address)
                    await asyncio.sleep(SETTLE_SECONDS)
                    for _ in range(WARM_UP):
                        await ready.job()
                        await ready.bare()
                    yield ready

"""A hub process that is killed while it works on a batch: afterwards every receipt is there, once."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgenode.errors import UnreachableError
from edgenode.hub.store import HubStore
from edgenode.uplink.uplink import Uplink

from .fleet import Fleet, Member

JOB = bytes(range(16))
BATCHES, SIZE = 6, 50

# Runs a hub that kills itself at the nth call of a function that stands somewhere in the path of a batch.
CHILD = """
import asyncio, importlib, os, signal, sys
from pathlib import Path
from edgenode.clock import SystemClock
from edgenode.hub.api import Hub

folder, module, name, nth = sys.argv[1:]
module, left = importlib.import_module(module), int(nth)
whole = getattr(module, name)

def cut(*args, **kwargs):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **kwargs)

setattr(module, name, cut)

async def main():
    hub = Hub(Path(folder), SystemClock())
    await hub.start()
    print(hub.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def hub_process(folder: Path, module: str, name: str, nth: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(folder), module, name, str(nth), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 20), "the hub did not start"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("module", "name", "nth"),
    [
        ("edgenode.hub.receive", "verify", 3),  # before anything of the third batch is stored
        ("edgenode.hub.store", "_store_one", 2 * SIZE + SIZE // 2),  # in the middle of its transaction
        ("edgenode.hub.receive", "acknowledge", 3),  # after its commit, before anybody hears of it
    ],
)
async def test_killed_in_mid_batch(module: str, name: str, nth: int, fleet: Fleet, node: Member, tmp_path: Path) -> None:
    port = free_port()
    folder = fleet.write_hub(tmp_path / "hub", port=port)
    receipts = node.receipts(BATCHES * SIZE, job=JOB)
    batches = [node.batch(receipts[at : at + SIZE], at) for at in range(0, len(receipts), SIZE)]
    uplink: Uplink = fleet.uplink(node, port)
    delivered = 0
    try:
        async with hub_process(folder, module, name, nth) as process:
            with pytest.raises(UnreachableError):
                for batch in batches:
                    await uplink.deliver(batch)
                    delivered += 1
            assert await process.wait() == -9
        assert delivered == 2
        async with hub_process(folder, module, name, 10**9):
            for batch in batches[delivered:]:
                ack = (await uplink.deliver(batch)).ack
                assert len(ack.stored) == SIZE
    finally:
        await uplink.close()

    store = HubStore(folder / "hub.db")
    found = [receipt for receipt, _ in (await store.receipts(JOB, 0, 10_000, 1 << 30)).receipts]
    counts = await store.nodes()
    store.close()
    assert sorted(found) == sorted(receipts)
    assert [count.receipts for count in counts] == [len(receipts)]

"""What every uplink promises (edgenode/uplink/uplink.py), over each of them and with a real far end.

A new uplink joins by a ``FarEnd`` of its own in ``FAR_ENDS``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from edgenode.clock import SystemClock
from edgenode.config import UplinkConfig
from edgenode.errors import TransportError
from edgenode.formats.receipt import Ack, Rejected, Stored
from edgenode.hub.api import Hub
from edgenode.records import Batch, Pending, digest
from edgenode.transport.wire import BATCH_RECEIPTS
from edgenode.uplink.forward import Forwarder
from edgenode.uplink.uplink import Uplink

from ..unit.hub.fleet import Fleet, Member, write_config

JOB = bytes(range(16))


class FarEnd(Protocol):
    """An uplink under test, and what it leads to."""

    uplink: Uplink

    async def start(self) -> None:
        """Answer, again after ``stop`` too."""

    async def stop(self) -> None:
        """Go away, and keep what was stored."""

    async def stored(self) -> list[bytes]:
        """The receipts that it holds, in the order in which they came."""


class HttpHub:
    def __init__(self, fleet: Fleet, node: Member, folder: Path) -> None:
        self._fleet, self._node, self._folder = fleet, node, fleet.write_hub(folder)
        self._hub = Hub(folder, fleet.clock)
        self.uplink: Uplink

    async def start(self) -> None:
        await self._hub.start()
        write_config(self._folder, self._hub.port)  # the same port when it starts again
        if not hasattr(self, "uplink"):
            self.uplink = self._fleet.uplink(self._node, self._hub.port)

    async def stop(self) -> None:
        await self._hub.stop()

    async def stored(self) -> list[bytes]:
        page = await self._hub._store.receipts(JOB, 0, 1 << 20, 1 << 30)
        return [receipt for receipt, _ in page.receipts]


FAR_ENDS = {"http": HttpHub}


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def node(fleet: Fleet) -> Member:
    return fleet.node()


@pytest.fixture(params=sorted(FAR_ENDS))
async def far(request: pytest.FixtureRequest, fleet: Fleet, node: Member, tmp_path: Path) -> AsyncIterator[FarEnd]:
    far = FAR_ENDS[request.param](fleet, node, tmp_path / "far")
    await far.start()
    yield far
    await far.uplink.close()
    await far.stop()


def named(receipts: list[bytes], first: int = 0) -> tuple[Stored, ...]:
    return tuple(Stored(seq=seq, digest=digest(data)) for seq, data in enumerate(receipts, first))


async def test_what_it_acknowledges_is_stored(far: FarEnd, node: Member) -> None:
    receipts = node.receipts(5, job=JOB)
    ack = (await far.uplink.deliver(node.batch(receipts))).ack
    assert (ack.node, ack.chain) == (node.identity.public, node.chain)
    assert ack.stored == named(receipts)
    assert await far.stored() == receipts


async def test_what_is_sent_twice_is_stored_once_and_acknowledged_twice(far: FarEnd, node: Member) -> None:
    receipts = node.receipts(4, job=JOB)
    await far.uplink.deliver(node.batch(receipts[:3]))
    ack = (await far.uplink.deliver(node.batch(receipts))).ack
    assert ack.stored == named(receipts)
    assert await far.stored() == receipts


async def test_a_damaged_receipt_is_rejected_and_the_others_stored(far: FarEnd, node: Member) -> None:
    receipts = node.receipts(4, job=JOB)
    sent = [receipts[0], receipts[1], receipts[2][:-1] + bytes([receipts[2][-1] ^ 1]), receipts[3]]
    ack = (await far.uplink.deliver(node.batch(sent))).ack
    assert [one.seq for one in ack.stored] == [0, 1, 3]
    assert ack.rejected == (Rejected(seq=2, digest=digest(sent[2]), code="signature"),)
    assert await far.stored() == [receipts[0], receipts[1], receipts[3]]


async def test_the_largest_batch_goes_through(far: FarEnd, node: Member) -> None:
    ack = (await far.uplink.deliver(node.batch(node.receipts(BATCH_RECEIPTS, job=JOB)))).ack
    assert len(ack.stored) == BATCH_RECEIPTS


async def test_the_largest_receipt_goes_through(far: FarEnd, node: Member) -> None:
    receipt = node.receipt(0, job=JOB, summary=bytes(1 << 20))
    ack = (await far.uplink.deliver(node.batch([receipt]))).ack
    assert ack.stored == named([receipt])


async def test_a_far_end_that_is_away_is_told_and_found_again(far: FarEnd, node: Member) -> None:
    receipts = node.receipts(2, job=JOB)
    await far.uplink.deliver(node.batch(receipts[:1]))
    await far.stop()
    for _ in range(2):
        with pytest.raises(TransportError):
            await far.uplink.deliver(node.batch(receipts))
    await far.start()
    assert (await far.uplink.deliver(node.batch(receipts))).ack.stored == named(receipts)
    assert await far.stored() == receipts


async def test_it_delivers_again_after_a_close(far: FarEnd, node: Member) -> None:
    receipts = node.receipts(1, job=JOB)
    await far.uplink.deliver(node.batch(receipts))
    await far.uplink.close()
    await far.uplink.close()
    assert (await far.uplink.deliver(node.batch(receipts))).ack.stored == named(receipts)


class MemoryOutbox:
    """Receipts of one chain; ``done`` is set when none waits."""

    def __init__(self, chain: bytes, receipts: list[bytes]) -> None:
        self._chain = chain
        self._loop = asyncio.get_running_loop()
        self._waiting = {seq: Pending(seq, digest(data), data) for seq, data in enumerate(receipts)}
        self.done = asyncio.Event()
        self.half = asyncio.Event()
        self._half = len(receipts) // 2

    def pending(self, limit: int, limit_bytes: int) -> Batch | None:
        receipts = tuple(one for one, _ in zip(self._waiting.values(), range(limit), strict=False))
        return Batch(self._chain, receipts) if receipts else None

    def settle(self, ack: Ack) -> int:
        before = len(self._waiting)
        for one in ack.stored:
            if one.seq in self._waiting and self._waiting[one.seq].digest == one.digest:
                del self._waiting[one.seq]
        if len(self._waiting) <= self._half:
            self._loop.call_soon_threadsafe(self.half.set)
        if not self._waiting:
            self._loop.call_soon_threadsafe(self.done.set)
        return before - len(self._waiting)

    def waiting(self) -> int:
        return len(self._waiting)


async def test_ten_thousand_receipts_arrive_once_and_in_order_though_the_far_end_goes_away(far: FarEnd, node: Member) -> None:
    receipts = node.receipts(10_000, job=JOB)
    outbox = MemoryOutbox(node.chain, receipts)
    config = UplinkConfig(url="", key="", batch=500, backoff_seconds=0.01, backoff_most=0.05)
    forwarding = asyncio.ensure_future(Forwarder(outbox, far.uplink, config, SystemClock()).run())
    try:
        async with asyncio.timeout(60):
            await outbox.half.wait()
            await far.stop()
            await far.start()
            await outbox.done.wait()
    finally:
        forwarding.cancel()
        await asyncio.wait([forwarding])
    assert await far.stored() == receipts

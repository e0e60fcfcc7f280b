"""The forwarder: order, backing off, waking, ending."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from edgenode.config import UplinkConfig
from edgenode.errors import ConfigError
from edgenode.formats.receipt import Ack, Rejected, Stored
from edgenode.records import Batch, digest
from edgenode.trust.verify import VerifiedAck
from edgenode.uplink.forward import Forwarder, ForwarderState

from .doubles import Keys, MemoryOutbox, MemoryUplink, running, unreachable


def config(batch: int = 10, backoff_seconds: float = 0.001, backoff_most: float = 0.01) -> UplinkConfig:
    return UplinkConfig(url="https://hub:1", key="00" * 32, batch=batch, backoff_seconds=backoff_seconds, backoff_most=backoff_most)


def forwarder(outbox: MemoryOutbox, uplink: MemoryUplink, keys: Keys, settings: UplinkConfig | None = None) -> Forwarder:
    return Forwarder(outbox, uplink, settings or config(), keys.clock)


async def until_state(forwarder: Forwarder, state: ForwarderState) -> None:
    async with asyncio.timeout(10):
        while (await forwarder.status()).state is not state:
            pass


async def test_a_backlog_goes_in_order_and_in_batches(uplink: MemoryUplink, keys: Keys) -> None:
    outbox = MemoryOutbox(25)
    one = forwarder(outbox, uplink, keys)
    async with running(one.run()):
        await uplink.until(lambda up: len(up.seen) == 25)
        await until_state(one, ForwarderState.IDLE)
        status = await one.status()
    assert uplink.seen == list(range(25))
    assert uplink.sizes == [10, 10, 5]
    assert (status.waiting, status.sent, status.last_error, status.next_try_ns) == (0, 25, "", None)
    assert status.last_success_ns is not None


async def test_it_sleeps_until_it_is_woken(uplink: MemoryUplink, keys: Keys) -> None:
    outbox = MemoryOutbox()
    one = forwarder(outbox, uplink, keys)
    async with running(one.run()):
        for total in (1, 2, 3):
            outbox.add(1)
            one.wake()
            await uplink.until(lambda up, total=total: len(up.seen) == total)  # type: ignore[misc]
    assert uplink.sizes == [1, 1, 1]


async def test_a_receipt_committed_while_it_looks_is_not_missed(uplink: MemoryUplink, keys: Keys) -> None:
    looking, go = threading.Event(), threading.Event()

    class Slow(MemoryOutbox):
        def pending(self, limit: int, limit_bytes: int) -> Batch | None:
            found = super().pending(limit, limit_bytes)
            looking.set()
            go.wait(5)
            return found

    outbox = Slow()
    one = forwarder(outbox, uplink, keys)
    async with running(one.run()):
        await asyncio.to_thread(looking.wait, 5)  # it has seen an empty outbox, and not gone to sleep
        outbox.add(1)
        one.wake()
        go.set()
        await uplink.until(lambda up: up.seen == [0])


async def test_it_backs_off_and_drains_when_the_far_end_returns(uplink: MemoryUplink, keys: Keys) -> None:
    outbox = MemoryOutbox(25)
    uplink.error = unreachable()
    one = forwarder(outbox, uplink, keys)
    async with running(one.run()):
        await uplink.until(lambda up: up.tries >= 5)
        status = await one.status()
        assert (status.waiting, status.sent, status.last_success_ns) == (25, 0, None)
        assert status.last_error == "cannot reach hub:7430; is it on?"
        assert status.last_error_ns is not None
        uplink.error = None
        await uplink.until(lambda up: len(up.seen) == 25)
    assert uplink.seen == list(range(25))


async def test_the_status_tells_when_the_next_try_is_and_waking_shortens_nothing(uplink: MemoryUplink, keys: Keys) -> None:
    uplink.error = unreachable()
    one = forwarder(MemoryOutbox(1), uplink, keys, config(backoff_seconds=1e6, backoff_most=1e6))
    async with running(one.run()):
        await until_state(one, ForwarderState.BACKING_OFF)
        one.wake()
        await asyncio.sleep(0)
        status = await one.status()
        assert status.state is ForwarderState.BACKING_OFF
        assert status.next_try_ns is not None and status.last_error_ns is not None
        assert 0 <= status.next_try_ns - status.last_error_ns <= 1e6 * 1e9
    assert uplink.tries == 1


async def test_the_wait_doubles_to_its_ceiling_and_starts_anew_after_a_success(
    uplink: MemoryUplink, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceilings: list[float] = []

    class Dice:
        def uniform(self, low: float, high: float) -> float:
            ceilings.append(high)
            return low

    monkeypatch.setattr("edgenode.uplink.forward._dice", Dice())
    outbox = MemoryOutbox(1)
    uplink.error = unreachable()
    one = forwarder(outbox, uplink, keys, config(backoff_seconds=1, backoff_most=5))
    async with running(one.run()):
        await uplink.until(lambda up: up.tries == 6)
        uplink.error = None
        await uplink.until(lambda up: up.seen == [0])
        await until_state(one, ForwarderState.IDLE)
        before = len(ceilings)
        uplink.error = unreachable()
        outbox.add(1)
        one.wake()
        await uplink.until(lambda up: up.tries >= before + 2)
    assert ceilings[:5] == [1, 2, 4, 5, 5]
    assert ceilings[before] == 1


async def test_an_outbox_that_fails_is_tried_again(uplink: MemoryUplink, keys: Keys) -> None:
    outbox = MemoryOutbox(3)
    outbox.broken = True
    one = forwarder(outbox, uplink, keys)
    async with running(one.run()):
        for _ in range(3):
            assert await asyncio.to_thread(outbox.refused.acquire, timeout=5)
        outbox.broken = False
        await uplink.until(lambda up: len(up.seen) == 3)


async def test_a_defect_is_logged_and_does_not_end_it(uplink: MemoryUplink, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    uplink.error = RuntimeError("a defect")
    one = forwarder(MemoryOutbox(3), uplink, keys)
    async with running(one.run()):
        await uplink.until(lambda up: up.tries >= 2)
        assert (await one.status()).last_error == "RuntimeError: a defect"
        uplink.error = None
        await uplink.until(lambda up: len(up.seen) == 3)
    assert "forwarding failed unexpectedly" in caplog.text


@pytest.mark.parametrize("lie", ["nothing", "wrong digest", "another seq"])
async def test_an_acknowledgement_that_settles_nothing_is_an_error(lie: str, uplink: MemoryUplink, keys: Keys) -> None:
    def answer(batch: Batch) -> VerifiedAck:
        first = batch.receipts[0]
        return keys.verified(
            {
                "nothing": (),
                "wrong digest": (Stored(seq=first.seq, digest=digest(b"other")),),
                "another seq": (Stored(seq=first.seq + 1000, digest=first.digest),),
            }[lie]
        )

    uplink.answer = answer
    outbox = MemoryOutbox(3)
    one = forwarder(outbox, uplink, keys, config(backoff_seconds=1e6, backoff_most=1e6))
    async with running(one.run()):
        await until_state(one, ForwarderState.BACKING_OFF)
        status = await one.status()
    assert (status.waiting, status.sent) == (3, 0)
    assert "settles none of the 3 receipts" in status.last_error
    assert uplink.tries == 1


async def test_a_rejected_receipt_is_not_sent_again_and_holds_nobody_up(
    uplink: MemoryUplink, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(batch: Batch) -> VerifiedAck:
        bad, *good = batch.receipts
        stored = tuple(Stored(seq=one.seq, digest=one.digest) for one in good)
        return keys.verified(stored, (Rejected(seq=bad.seq, digest=bad.digest, code="signature"),))

    uplink.answer = answer
    outbox = MemoryOutbox(15)
    with caplog.at_level(logging.WARNING):
        one = forwarder(outbox, uplink, keys)
        async with running(one.run()):
            await uplink.until(lambda up: len(up.seen) == 15)
            await until_state(one, ForwarderState.IDLE)
    assert outbox.rejected == [0, 10]
    assert "rejects receipt 10 for good: signature" in caplog.text


async def test_what_is_left_out_of_an_acknowledgement_is_sent_again(uplink: MemoryUplink, keys: Keys) -> None:
    def answer(batch: Batch) -> VerifiedAck:
        return keys.verified(tuple(Stored(seq=one.seq, digest=one.digest) for one in batch.receipts[:4]))

    uplink.answer = answer
    outbox = MemoryOutbox(10)
    one = forwarder(outbox, uplink, keys)
    async with running(one.run()):
        await uplink.until(lambda up: up.sizes == [10, 6, 2])
        await until_state(one, ForwarderState.IDLE)
    assert outbox.waiting() == 0


async def test_cancelling_it_during_a_delivery_loses_nothing(uplink: MemoryUplink, keys: Keys) -> None:
    uplink.held = asyncio.Event()
    outbox = MemoryOutbox(3)
    async with running(forwarder(outbox, uplink, keys).run()):
        await uplink.until(lambda up: up.tries == 1)
    assert outbox.waiting() == 3


async def test_when_it_has_ended_the_outbox_is_out_of_use(uplink: MemoryUplink, keys: Keys) -> None:
    settling, go, settled = threading.Event(), threading.Event(), threading.Event()

    class Slow(MemoryOutbox):
        def settle(self, ack: Ack) -> int:
            settling.set()
            go.wait(5)
            count = super().settle(ack)
            settled.set()
            return count

    task = asyncio.ensure_future(forwarder(Slow(3), uplink, keys).run())
    await asyncio.to_thread(settling.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert settled.is_set()


async def test_ten_thousand_receipts_drain(uplink: MemoryUplink, keys: Keys) -> None:
    outbox = MemoryOutbox(10_000)
    async with running(forwarder(outbox, uplink, keys, config(batch=1024)).run()):
        await uplink.until(lambda up: len(up.seen) == 10_000)
    assert uplink.seen == list(range(10_000))


@pytest.mark.parametrize(
    "settings", [config(batch=0), config(batch=1025), config(backoff_seconds=0), config(backoff_seconds=2, backoff_most=1)]
)
async def test_settings_that_cannot_work_are_refused(settings: UplinkConfig, uplink: MemoryUplink, keys: Keys) -> None:
    with pytest.raises(ConfigError):
        forwarder(MemoryOutbox(), uplink, keys, settings)

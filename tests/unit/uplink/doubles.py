"""An outbox and an uplink in memory, the keys that acknowledgements need, and a wait for what the forwarder does."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from edgenode.clock import SystemClock, seconds
from edgenode.errors import EdgenodeError, StorageError, UnreachableError
from edgenode.formats.receipt import Ack, Rejected, Stored
from edgenode.formats.trust import Grant, Role, Roots, Trust
from edgenode.records import Batch, Pending, digest
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedAck, verify_ack

CHAIN = bytes(range(16))
YEAR = 365 * 24 * 3600


class MemoryOutbox:
    """What an Outbox promises, over a dict; its calls come from threads. ``broken`` makes each call fail, and ``refused`` counts them."""

    def __init__(self, count: int = 0) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Pending] = {}
        self._next = 0
        self.rejected: list[int] = []
        self.broken = False
        self.refused = threading.Semaphore(0)
        self.add(count)

    def add(self, count: int) -> None:
        with self._lock:
            for seq in range(self._next, self._next + count):
                data = f"receipt {seq}".encode()
                self._waiting[seq] = Pending(seq, digest(data), data)
            self._next += count

    def pending(self, limit: int, limit_bytes: int) -> Batch | None:
        self._check()
        with self._lock:
            receipts = tuple(list(self._waiting.values())[:limit])
        assert sum(len(one.data) for one in receipts) <= limit_bytes
        return Batch(CHAIN, receipts) if receipts else None

    def settle(self, ack: Ack) -> int:
        self._check()
        with self._lock:
            stored = [one.seq for one in ack.stored if one.seq in self._waiting and self._waiting[one.seq].digest == one.digest]
            by_digest = {one.digest: seq for seq, one in self._waiting.items()}
            rejected = [by_digest[one.digest] for one in ack.rejected if one.digest in by_digest]
            for seq in (*stored, *rejected):
                del self._waiting[seq]
            self.rejected += rejected
        return len(stored) + len(rejected)

    def waiting(self) -> int:
        self._check()
        with self._lock:
            return len(self._waiting)

    def _check(self) -> None:
        if self.broken:
            self.refused.release()
            raise StorageError("the outbox cannot be read")


class Keys:
    """A hub that signs acknowledgements, and a keyring that believes it."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.now = seconds(self.clock)
        self.hub, self.other_hub, self.node = (Identity(secrets.token_bytes(32)) for _ in range(3))

    def keyring(self) -> Keyring:
        grants = tuple(
            Grant(role=Role.HUB, public_key=one.public, name="hub", expires=self.now + YEAR) for one in (self.hub, self.other_hub)
        )
        roots = Roots(threshold=1, keys=(self.hub.public,))
        return Keyring(Trust(fleet=CHAIN, version=1, issued=self.now, expires=self.now + YEAR, roots=roots, grants=grants))

    def ack(
        self,
        stored: tuple[Stored, ...] = (),
        rejected: tuple[Rejected, ...] = (),
        *,
        node: bytes | None = None,
        chain: bytes = CHAIN,
        by: Identity | None = None,
    ) -> bytes:
        ack = Ack(node=node or self.node.public, chain=chain, issued=self.now, stored=stored, rejected=rejected)
        return issue(ack, by or self.hub)

    def verified(self, stored: tuple[Stored, ...] = (), rejected: tuple[Rejected, ...] = ()) -> VerifiedAck:
        return verify_ack(self.ack(stored, rejected), self.keyring(), self.now, hub=self.hub.public)


Answer = Callable[[Batch], VerifiedAck]


class MemoryUplink:
    """A far end that keeps what it gets. Each delivery goes by ``answer``, or fails while ``error`` is set; ``delivered`` wakes tests."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.error: EdgenodeError | Exception | None = None
        self.answer: Answer = self.store_all
        self.held: asyncio.Event | None = None  # a delivery waits for it
        self.seen: list[int] = []  # seqs in the order of arrival
        self.sizes: list[int] = []  # of the batches
        self.tries = 0
        self._changed = asyncio.Condition()

    async def deliver(self, batch: Batch) -> VerifiedAck:
        async with self._changed:
            self.tries += 1
            self._changed.notify_all()
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            raise self.error
        verified = self.answer(batch)
        async with self._changed:
            self.seen += [one.seq for one in batch.receipts]
            self.sizes.append(len(batch.receipts))
            self._changed.notify_all()
        return verified

    async def close(self) -> None:
        pass

    def store_all(self, batch: Batch) -> VerifiedAck:
        return self._keys.verified(tuple(Stored(seq=one.seq, digest=one.digest) for one in batch.receipts))

    async def until(self, true: Callable[[MemoryUplink], bool]) -> None:
        """Wait until a delivery has made this so."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: true(self))


@asynccontextmanager
async def running(coroutine: Awaitable[None]) -> AsyncIterator[asyncio.Future[None]]:
    """A task for as long as the block lasts. It must still run at its end, and end promptly when cancelled."""
    task = asyncio.ensure_future(coroutine)
    try:
        yield task
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        async with asyncio.timeout(2):
            await asyncio.wait([task])


def unreachable() -> UnreachableError:
    return UnreachableError("cannot reach hub:7430", hint="is it on?")

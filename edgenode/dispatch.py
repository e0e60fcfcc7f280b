"""Jobs in motion: the asynchronous edge around the pipeline.

submit -> verify -> take (thread) -> queue -> advance (thread), again and again -> followers and forwarder are woken
             \\-> pass on to peers ........................... -> their receipts flow back to whoever follows here
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, NamedTuple, ParamSpec, TypeVar

from edgenode.clock import seconds
from edgenode.errors import (
    ConflictError,
    EdgenodeError,
    LimitError,
    ModuleMissingError,
    NoSuchChannelError,
    NotFoundError,
    NoWorkerError,
    RefusedError,
    StorageError,
    TransportError,
)
from edgenode.formats.job import Desired, JobType
from edgenode.intake.admission import selects
from edgenode.intake.progress import Progress
from edgenode.intake.queue import JobQueue
from edgenode.intake.server import MOST_HOPS, Send
from edgenode.ledger.store import JobRow, JobState, ReceiptRow, RelayRow
from edgenode.peers.relay import Relay
from edgenode.peers.table import Peer, PeerTable
from edgenode.pipeline import Rooms, advance, find_manifest, take_job, verify
from edgenode.transport.node_api import Execution, ReceiptItem
from edgenode.transport.wire import encode_header
from edgenode.trust.verify import VerifiedJob

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = 1.0  # before a step is tried again whose receipt could not be written, or whose channel is not there yet,
RETRY_MOST = 30.0  # doubled each time up to this
CALLS = 4  # submissions that are judged at once; compiling a new module holds one
ATTEMPTS = 4  # to reach one peer with a job, 0.5, 1 and 2 s apart
HEARD = 10_000  # jobs remembered with who brought them, so that those which this node refuses end their way round here as well
PAGE = 64  # receipts read at once for a follower: each may be some MiB
ASKED, REFUSED, UNREACHABLE = "asked", "refused", "unreachable"


class _News(NamedTuple):
    """What is known here of a job, for one who follows it."""

    spreading: bool  # it is still being passed on
    row: JobRow | None
    receipts: list[ReceiptRow]  # those that were not sent yet
    relays: list[RelayRow]


class Dispatch:
    """``committed`` is called on the loop after each receipt."""

    def __init__(self, rooms: Rooms, document: bytes, table: PeerTable, relay: Relay, committed: Callable[[], None]) -> None:
        self._rooms, self._document, self._table, self._relay, self._committed = rooms, document, table, relay, committed
        self._queue = JobQueue()
        self._progress = Progress()
        self._spreading: dict[tuple[bytes, int], asyncio.Task[None]] = {}  # (job, generation) ->
        self._heard: OrderedDict[bytes, bytes] = OrderedDict()  # digest of a job -> the key of who brought it first
        self._submitting: set[asyncio.Task[dict[str, Any]]] = set()
        self._steps = ThreadPoolExecutor(rooms.config.sandbox.workers, thread_name_prefix="step")
        self._calls = ThreadPoolExecutor(CALLS, thread_name_prefix="call")
        self.last_error = ""

    async def run(self) -> None:
        """Take up what was accepted before the last stop, then run steps until cancelled."""
        for job, priority in await self._in_thread(self._open_jobs):
            self._queue.put(job, priority)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._rooms.config.sandbox.workers):
                group.create_task(self._work())

    async def close(self) -> None:
        """Stop passing jobs on, and end the pool with what it runs: such a step runs again after the next start. Call it after ``run``."""
        await asyncio.gather(*self._submitting, return_exceptions=True)
        for task in self._spreading.values():
            task.cancel()
        await asyncio.gather(*self._spreading.values(), return_exceptions=True)
        self._rooms.stopping.set()
        await asyncio.to_thread(self._rooms.pool.close)
        await asyncio.to_thread(self._steps.shutdown)
        await asyncio.to_thread(self._calls.shutdown)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        delay = RETRY_SECONDS
        while True:
            job, priority = await self._queue.get()
            try:
                more = await loop.run_in_executor(self._steps, advance, self._rooms, job)
            except (StorageError, NoSuchChannelError, NoWorkerError) as error:
                self.last_error = f"{error.what}; {error.hint}"
                log.error("job %s waits %g s: %s", job.hex(), delay, self.last_error)
                loop.call_later(delay, self._queue.put, job, priority)
                delay = min(2 * delay, RETRY_MOST)
                continue
            delay = RETRY_SECONDS
            if more:
                self._queue.put(job, priority)
            self._progress.changed(job)
            self._committed()

    # in

    async def submit(self, job: bytes, manifest: bytes | None, *, hops: int | None, sender: bytes) -> dict[str, Any]:
        """Take a job here, and pass it on to those peers that it is for.

        A refusal is this node's alone: others may take the job. It is raised only when there is nobody to pass it on to. A caller that
        goes away changes nothing: what is in the ledger is run and passed on all the same.
        """
        task = asyncio.get_running_loop().create_task(self._submit(job, manifest, hops, sender))
        self._submitting.add(task)
        task.add_done_callback(self._submitted)
        return await asyncio.shield(task)

    def _submitted(self, task: asyncio.Task[dict[str, Any]]) -> None:
        self._submitting.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when the caller has gone

    async def _submit(self, job: bytes, manifest: bytes | None, hops: int | None, sender: bytes) -> dict[str, Any]:
        verified, verified_manifest = verify(self._rooms, job, manifest)
        refusal = None
        try:
            row, new = await self._in_thread(take_job, self._rooms, verified, verified_manifest)
            execution = self._execution(row)
            if new and row.state is JobState.OPEN:
                self._queue.put(row.id, verified.job.priority)
        except ModuleMissingError:
            raise  # the caller brings the bytes, and submits again
        except ConflictError:
            raise  # not this node's alone: the id is in use
        except (RefusedError, LimitError) as error:
            refusal, execution = error, self._refused(error)
            new = verified.digest not in self._heard or hops is None
            if new and verified.job.desired is Desired.RUN and self._peers_for(verified, hops, sender):
                await self._in_thread(self._module, verified)  # the others may want its bytes from here
        brought_by = self._hear(verified.digest, sender)
        again = not new and hops is None  # handed in again: those that it has not reached, for a stop of this node came between, get it now
        reached = await asyncio.to_thread(self._reached, verified.job.id) if again else set[bytes]()
        passing_on = (new or again) and self._pass_on(verified, manifest, hops, sender, refusal is None, reached)
        if refusal is not None:
            if not passing_on and hops is None:
                raise refusal
            await self._remember(verified, RelayRow(self._rooms.identity.public, REFUSED, refusal.what))
        self._progress.changed(verified.job.id)
        self._committed()
        return {
            "job": verified.job.id.hex(),
            "generation": verified.job.generation,
            "execution": execution.to_json(),
            "duplicate": not new and (hops is None or brought_by != sender),  # who asks again gets the answer that it got before
            "passing_on": passing_on,
        }

    def _is_spreading(self, job: bytes) -> bool:
        return any(spreading == job for spreading, _ in self._spreading)

    def _hear(self, job: bytes, sender: bytes) -> bytes:
        """Who brought this document first."""
        first = self._heard.setdefault(job, sender)
        while len(self._heard) > HEARD:
            self._heard.popitem(last=False)
        return first

    def _reached(self, job: bytes) -> set[bytes]:
        """The peers that have the job from here."""
        return {row.node for row in self._rooms.ledger.relays(job) if row.state == ASKED}

    def _open_jobs(self) -> list[tuple[bytes, int]]:
        found = []
        for row in self._rooms.ledger.open_jobs():
            try:
                found.append((row.id, self._rooms.library.job(row).job.priority))
            except EdgenodeError:
                found.append((row.id, 0))  # it cannot be read any more: its turn will say so in a receipt
        return found

    # on to peers

    def _peers_for(self, job: VerifiedJob, hops: int | None, sender: bytes) -> list[Peer]:
        """Whom a job could be passed on to: for a batch the first node chooses among those that match, all else goes to all."""
        body = job.job
        if body.type is JobType.BATCH and body.desired is Desired.RUN:
            return [peer for peer in self._table if selects(body.selector, peer.node)] if hops is None else []
        return [peer for peer in self._table if peer.key != sender]

    def _pass_on(self, job: VerifiedJob, manifest: bytes | None, hops: int | None, sender: bytes, taken: bool, reached: set[bytes]) -> bool:
        """Begin to pass a job on; whether there is anybody to pass it on to."""
        body = job.job
        peers = [peer for peer in self._peers_for(job, hops, sender) if peer.key not in reached]
        chosen = body.type is JobType.BATCH and body.desired is Desired.RUN
        wanted = body.count - taken - len(reached) if chosen else len(peers)
        most = min(self._rooms.config.peers.hops, MOST_HOPS + 1)
        further = most if hops is None else min(hops, most)
        if not peers or wanted < 1 or further < 1 or (body.id, body.generation) in self._spreading:
            return False
        task = asyncio.get_running_loop().create_task(self._spread(job, manifest, peers, wanted, further - 1))
        self._spreading[body.id, body.generation] = task

        def spread(task: asyncio.Task[None]) -> None:
            del self._spreading[body.id, body.generation]
            if not task.cancelled() and (error := task.exception()):
                log.error("job %s was not passed on to all", body.id.hex(), exc_info=error)
            self._progress.changed(body.id)

        task.add_done_callback(spread)
        return True

    async def _spread(self, job: VerifiedJob, manifest: bytes | None, peers: list[Peer], wanted: int, hops: int) -> None:
        """Pass a job on to ``wanted`` of these peers: to all at once, or, when fewer are wanted than there are, until enough took it."""
        whole = await self._in_thread(self._manifest, job) if manifest is None else manifest
        if wanted >= len(peers):
            await asyncio.gather(*(self._ask(job, whole, peer, hops, ATTEMPTS) for peer in peers))
            return
        for peer in peers:
            wanted -= await self._ask(job, whole, peer, hops, 1)  # there are others: none is waited for twice
            if not wanted:
                return

    def _manifest(self, job: VerifiedJob) -> bytes:
        """The manifest to pass on with a job; empty where this node has none, as for the stop of a job that is elsewhere."""
        try:
            return find_manifest(self._rooms, job.job).data
        except ModuleMissingError:
            return b""

    def _module(self, job: VerifiedJob) -> bytes:
        return self._rooms.library.module(find_manifest(self._rooms, job.job).digest).wasm

    async def _ask(self, job: VerifiedJob, manifest: bytes, peer: Peer, hops: int, attempts: int) -> bool:
        """Pass a job on to one peer; whether it runs there."""

        for attempt in range(1, attempts + 1):
            try:
                answer = await self._relay.pass_on(peer, job.data, manifest, functools.partial(self._module, job), hops)
            except EdgenodeError as error:
                if error.retry and attempt < attempts and seconds(self._rooms.clock) < job.job.start_by:
                    await asyncio.sleep(0.25 * 2**attempt)
                    continue
                state = UNREACHABLE if isinstance(error, TransportError) else REFUSED
                await self._remember(job, RelayRow(peer.key, state, f"{peer.node.name}: {error.what}"))
                return False
            if not answer.get("duplicate"):
                await self._remember(job, RelayRow(peer.key, ASKED, ""))
            execution = answer.get("execution")
            return isinstance(execution, dict) and execution.get("state") != REFUSED
        return False

    async def _remember(self, job: VerifiedJob, row: RelayRow) -> None:
        await asyncio.wrap_future(self._rooms.ledger.relayed(job.job.id, job.job.generation, row))
        self._progress.changed(job.job.id)

    # out

    async def follow(self, job: bytes, wait: float, send: Send) -> None:
        """Send receipts and executions, here and at the peers that were asked, until all is over or ``wait`` s have passed."""
        with self._progress.follow(job) as changed:
            news = await self._look(job, -1)
            if news.row is None and not news.relays and not news.spreading:
                raise NotFoundError(f"no job {job.hex()} is here", hint="ask the node that it was submitted to")
            try:
                async with asyncio.timeout(wait or self._rooms.config.peers.relay_seconds), asyncio.TaskGroup() as group:
                    await self._follow(job, news, changed, wait, send, group)
            except TimeoutError:
                return

    async def _follow(self, job: bytes, news: _News, changed: asyncio.Event, wait: float, send: Send, group: asyncio.TaskGroup) -> None:
        sent, asked = -1, set[bytes]()
        while True:
            for receipt in news.receipts:
                await send(ReceiptItem(receipt.data, self._document))
                sent = receipt.seq
            for relay in news.relays:
                if relay.node not in asked:
                    asked.add(relay.node)
                    group.create_task(self._follow_peer(job, relay, wait, send))
            if len(news.receipts) < PAGE:
                over = news.row is None or news.row.state is not JobState.OPEN
                if not wait or (over and not news.spreading):
                    break
                await changed.wait()
            changed.clear()
            news = await self._look(job, sent)
        if news.row is not None:
            await send(self._execution(news.row))

    async def _look(self, job: bytes, sent: int) -> _News:
        spreading = self._is_spreading(job)  # before the relays: when it is over, they are all there
        row, receipts, relays = await asyncio.to_thread(self._read, job, sent)
        return _News(spreading, row, receipts, relays)

    def _read(self, job: bytes, sent: int) -> tuple[JobRow | None, list[ReceiptRow], list[RelayRow]]:
        """A job, and then its receipts past the seq ``sent``: one that is over has them all."""
        ledger = self._rooms.ledger
        return ledger.job(job), ledger.receipts(job, after=sent, limit=PAGE), ledger.relays(job)

    async def _follow_peer(self, job: bytes, row: RelayRow, wait: float, send: Send) -> None:
        name = peer.node.name if (peer := self._table.get(row.node)) else ""
        if row.state != ASKED:
            own = row.node == self._rooms.identity.public
            await send(Execution(row.node.hex(), self._rooms.node.name if own else name, row.state, row.reason))
            return
        try:
            async with aclosing(self._relay.receipts(row.node, job, wait)) as items:
                async for item in items:
                    await send(item)
        except EdgenodeError as error:
            await send(Execution(row.node.hex(), name, UNREACHABLE, error.what))

    # told

    async def jobs(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._jobs)

    def _jobs(self) -> list[dict[str, Any]]:
        found = []
        for row in self._rooms.ledger.jobs(1000):
            try:
                found.append(self._describe(row))
            except EdgenodeError as error:
                log.error("job %s cannot be read: %s", row.id.hex(), error.what)
        return found

    async def job(self, job: bytes) -> dict[str, Any]:
        row, _ = await asyncio.to_thread(self._rooms.library.find_job, job)
        relays = await asyncio.to_thread(self._rooms.ledger.relays, job)
        return {
            **self._describe(row),
            "document": encode_header(row.data),
            "relays": [{"node": relay.node.hex(), "state": relay.state, "reason": relay.reason} for relay in relays],
        }

    def _describe(self, row: JobRow) -> dict[str, Any]:
        body = self._rooms.library.job(row).job
        return {
            "job": row.id.hex(),
            "name": body.name,
            "generation": row.generation,
            "type": body.type.value,
            "module": body.module.name,
            "channels": list(body.inputs.channels),
            "state": row.state.value,
            "reason": row.reason,
            "steps": row.steps,
            "done_steps": row.next_step,
            "failures": row.failures,
            "accepted_ns": row.accepted_ns,
            "stopping": body.desired is Desired.STOP,
        }

    def _execution(self, row: JobRow) -> Execution:
        node = self._rooms.node
        return Execution(node.public_key.hex(), node.name, row.state.value, row.reason, row.steps, row.next_step)

    def _refused(self, error: EdgenodeError) -> Execution:
        node = self._rooms.node
        return Execution(node.public_key.hex(), node.name, REFUSED, error.what)

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._calls, functools.partial(call, *args, **kwargs))

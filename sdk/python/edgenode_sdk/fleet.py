"""The laptop's view of a fleet: find a node, submit through it, and get verified receipts as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from edgenode.clock import seconds
from edgenode.errors import ConfigError, EdgenodeError, NotFoundError, PinError
from edgenode.formats.job import Desired, Job
from edgenode.formats.trust import Node, Role
from edgenode.peers.mdns import Discovery, Hint
from edgenode.records import digest
from edgenode.transport.client import Client
from edgenode.transport.node_api import Execution, NodeApi
from edgenode.transport.wire import decode_header
from edgenode.trust.issue import issue
from edgenode.trust.verify import verify_job, verify_manifest, verify_node, verify_signed_receipt
from edgenode_sdk import spec as specs
from edgenode_sdk.home import Home
from edgenode_sdk.result import Result, check_answers, check_job, generation_of
from edgenode_sdk.spec import JobSpec

T = TypeVar("T")

UNTRUSTED = "untrusted"  # the state of what a receipt that cannot be believed says

STOP_WITHIN = 30 * 24 * 3600  # s that a stop may be under way to a node that is away


@dataclass(frozen=True, slots=True)
class FleetNode:
    """A node that proved its key and its membership to this laptop."""

    node: Node
    address: str  # host:port
    api: NodeApi


@dataclass(slots=True)
class Submission:
    """A job on its way. ``receipts`` yields results as they come; ``executions`` then tells what became of it at each node."""

    fleet: AsyncFleet
    job: Job
    manifest: bytes | None  # digest of the pinned manifest
    through: FleetNode
    submitted_ns: int
    answer: dict[str, Any]
    executions: dict[str, Execution] = field(default_factory=dict)  # by node key, hex

    @property
    def id(self) -> str:
        return self.job.id.hex()

    async def receipts(self, wait: float = 60.0) -> AsyncIterator[Result]:
        """Each receipt of the job, verified here, as it comes; ends when the job is over at every node, or after ``wait`` s."""
        async for item in self.fleet.follow(self.through, self.job.id, wait):
            if isinstance(item, Result):
                if generation_of(item) != self.job.generation:
                    continue  # an earlier or later generation of the job stands in the same chain
                item = _checked(item, lambda result: check_answers(self.job, self.manifest, result))
            if isinstance(item, Execution):
                self.executions[item.node] = item
            else:
                yield item


def _checked(result: Result, check: Callable[[Result], None]) -> Result | Execution:
    """The result, unless it is one that was not asked for."""
    try:
        check(result)
    except EdgenodeError as error:
        return Execution(result.verified.digest.hex(), result.node.name, UNTRUSTED, error.what)
    return result


class AsyncFleet:
    """Nodes of one fleet in reach. Use ``discover`` or ``connect`` as an async context manager."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.nodes: list[FleetNode] = []
        self.unmet: list[tuple[str, EdgenodeError]] = []  # addresses that answered wrongly or not at all, and why
        self._keyring = home.keyring()
        self._identity = home.identity(Role.SUBMITTER.value)

    @classmethod
    async def discover(
        cls, home: Home | None = None, *, interfaces: Sequence[str] = (), least: int = 1, patience: float = 5.0, settle: float = 0.5
    ) -> Self:
        """Find nodes by mDNS: wait until ``least`` have answered and no other has for ``settle`` s, or until ``patience`` s are over.

        Raises TransportError where multicast is not available.
        """
        fleet = cls(home or Home())
        hints: asyncio.Queue[Hint] = asyncio.Queue()
        async with Discovery(interfaces, fleet._keyring.fleet, found=hints.put_nowait, lost=lambda hint: None):
            end = asyncio.get_running_loop().time() + patience
            while (left := end - asyncio.get_running_loop().time()) > 0:
                try:
                    hint = await asyncio.wait_for(hints.get(), min(left, settle) if len(fleet.nodes) >= least else left)
                except TimeoutError:
                    break
                if hint.fleet == fleet._keyring.fleet.hex()[:8]:
                    await fleet._try(hint.address, hint.key)
        return fleet

    @classmethod
    @asynccontextmanager
    async def watching(cls, home: Home | None = None, *, interfaces: Sequence[str] = ()) -> AsyncIterator[tuple[Self, asyncio.Event]]:
        """A fleet whose ``nodes`` follow what mDNS tells, and an event that is set at each change. Raises TransportError as discover."""
        changed = asyncio.Event()
        async with cls(home or Home()) as fleet, asyncio.TaskGroup() as group:

            async def meet(hint: Hint) -> None:
                if hint.fleet == fleet._keyring.fleet.hex()[:8]:
                    await fleet._try(hint.address, hint.key)
                    changed.set()

            async def forget(hint: Hint) -> None:
                gone = [node for node in fleet.nodes if node.node.public_key == hint.key and node.address == hint.address]
                fleet.nodes = [node for node in fleet.nodes if node not in gone]
                fleet.unmet = [(address, error) for address, error in fleet.unmet if address != hint.address]
                changed.set()
                for node in gone:
                    await node.api.client.close()

            def found(hint: Hint) -> None:
                group.create_task(meet(hint))

            def lost(hint: Hint) -> None:
                group.create_task(forget(hint))

            async with Discovery(interfaces, fleet._keyring.fleet, found=found, lost=lost):
                yield fleet, changed

    @classmethod
    async def connect(cls, *addresses: str, home: Home | None = None) -> Self:
        """Nodes at known addresses (host:port). Raises what went wrong with the first, if none can be met."""
        fleet = cls(home or Home())
        await asyncio.gather(*(fleet._try(address, None) for address in addresses))
        if not fleet.nodes and fleet.unmet:
            raise fleet.unmet[0][1]
        return fleet

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await asyncio.gather(*(node.api.client.close() for node in self.nodes))

    async def submit(self, spec: JobSpec | Mapping[str, Any], *, through: str | None = None, job: bytes | None = None) -> Submission:
        """Sign a job and hand it to one node (the first, or the one of this name), which passes it on. Raises what that node raised.

        A module that was signed on this laptop goes along, pinned; else the node's own module of that name is meant.
        """
        spec = spec if isinstance(spec, JobSpec) else specs.parse(spec)
        node = self._node(through)
        now = seconds(self.home.clock)
        try:
            wasm, manifest = self.home.module(Path(spec.module).stem)
            verify_manifest(manifest, self._keyring, now)
        except ConfigError:
            wasm, manifest = b"", b""
        pinned = digest(manifest) if manifest else None
        body = specs.to_job(spec, fleet=self._keyring.fleet, manifest=pinned, now=now, job=job)
        signed = issue(body, self._identity)
        submitted_ns = self.home.clock.now_ns()
        answer = await (node.api.offer(signed, manifest, lambda: wasm) if manifest else node.api.submit(signed, b""))
        return Submission(self, body, pinned, node, submitted_ns, answer)

    async def ask(self, call: Callable[[NodeApi], Awaitable[T]]) -> dict[str, T | EdgenodeError]:
        """What each node in reach answers, or why it did not, by its name."""

        async def one(node: FleetNode) -> T | EdgenodeError:
            try:
                return await call(node.api)
            except EdgenodeError as error:
                return error

        answers = await asyncio.gather(*(one(node) for node in self.nodes))
        return {node.node.name: answer for node, answer in zip(self.nodes, answers, strict=True)}

    async def job(self, job: bytes) -> Job:
        """The newest document of a job that any node in reach has, verified here. Raises NotFoundError."""
        now = seconds(self.home.clock)
        found: list[Job] = []
        for told in (await self.ask(lambda api: api.job(job))).values():
            if not isinstance(told, EdgenodeError):
                found.append(verify_job(decode_header(str(told.get("document", ""))), self._keyring, now).job)
        if not found:
            raise _unknown_job(job)
        return max(found, key=lambda one: one.generation)

    async def stop(self, job: bytes) -> dict[str, dict[str, Any] | EdgenodeError]:
        """Sign the job's next generation, which wants it stopped, and hand it to every node in reach; what each answers, by name.

        A node that has not got the job answers RefusedError.
        """
        body, now = await self.job(job), seconds(self.home.clock)
        stop = replace(body, generation=body.generation + 1, desired=Desired.STOP, issued=now, start_by=now + STOP_WITHIN, until=None)
        signed = issue(stop, self._identity)
        return await self.ask(lambda api: api.submit(signed, b""))

    async def results(self, job: bytes) -> AsyncIterator[Result | Execution]:
        """All that the nodes in reach have of a job now: verified receipts, each once, and executions. Raises NotFoundError."""
        seen: set[bytes] = set()
        known = False
        for node in self.nodes:
            try:
                async for item in self.follow(node, job, 0):
                    known = True
                    if isinstance(item, Execution):
                        yield item
                    elif item.verified.digest not in seen:
                        seen.add(item.verified.digest)
                        yield _checked(item, lambda result: check_job(job, result))
            except NotFoundError:
                continue
        if not known:
            raise _unknown_job(job)

    async def follow(self, node: FleetNode, job: bytes, wait: float) -> AsyncIterator[Result | Execution]:
        """A job's receipts, verified, and executions, as this node has and gets them.

        A receipt that comes by two ways is given once; one that cannot be believed is told as an execution in the state ``untrusted``, by
        its digest.
        """
        seen: set[bytes] = set()
        async for item in node.api.receipts(job, wait):
            if isinstance(item, Execution):
                yield item
            elif (name := digest(item.receipt)) not in seen:
                seen.add(name)
                try:
                    yield self.verify(item.receipt, item.node_document)
                except EdgenodeError as error:  # one bad receipt, or one bad node, does not cost the others theirs
                    yield Execution(name.hex(), "", UNTRUSTED, f"a receipt is not believed: {error.what}")

    def verify(self, receipt: bytes, node_document: bytes) -> Result:
        """Verify a receipt that came from anywhere. Raises TrustError or MalformedError."""
        return Result(verify_signed_receipt(receipt, node_document, self._keyring), node_document, self.home.clock.now_ns())

    def _node(self, name: str | None) -> FleetNode:
        if not self.nodes:
            raise NotFoundError("no node of this fleet is in reach", hint="check that one runs on this network, or give its address")
        for node in self.nodes:
            if name is None or node.node.name == name:
                return node
        raise NotFoundError(f"no node {name} is in reach", hint=f"in reach: {', '.join(node.node.name for node in self.nodes)}")

    async def _try(self, address: str, key: bytes | None) -> None:
        """Meet the node at this address: the handshake and a registrar's signature decide who it is."""
        try:
            api = NodeApi(Client(address, identity=self._identity, clock=self.home.clock, pin=key))
        except ConfigError as error:
            self.unmet.append((address, error))
            return
        try:
            card = await api.card()
            node = verify_node(card.document, self._keyring, seconds(self.home.clock)).node
            if api.client.server_key != node.public_key:
                raise PinError(f"{address} shows the document of {node.name}, and has another key")
        except EdgenodeError as error:
            self.unmet.append((address, error))
            await api.client.close()
            return
        if any(known.node.public_key == node.public_key for known in self.nodes):
            await api.client.close()
            return
        self.nodes.append(FleetNode(node, address, api))
        self.nodes.sort(key=lambda one: one.node.name)


def _unknown_job(job: bytes) -> NotFoundError:
    return NotFoundError(f"no node in reach knows job {job.hex()}", hint="'edgenode job list' shows those that they know")

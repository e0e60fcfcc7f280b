"""The composition root of a node: builds the rooms, runs them in one TaskGroup, and takes them down in order."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import platform
import threading
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import edgenode
from edgenode import config as configuration
from edgenode.clock import Clock, SystemClock, seconds
from edgenode.config import NodeConfig
from edgenode.dispatch import Dispatch
from edgenode.errors import ConfigError, EdgenodeError, NotFoundError, StorageError
from edgenode.files import read_document
from edgenode.formats.reading import Reading
from edgenode.formats.receipt import Measured, Notice, ReceiptKind
from edgenode.intake.server import NodeCalls, Send
from edgenode.ledger.blobs import Blobs
from edgenode.ledger.outbox import Outbox
from edgenode.ledger.store import Ledger
from edgenode.library import Library
from edgenode.peers.find import Finder
from edgenode.peers.relay import Relay
from edgenode.peers.table import PeerTable
from edgenode.pipeline import Rooms, apply_derived
from edgenode.records import Abi, Poll
from edgenode.sandbox import calibration
from edgenode.sandbox.pool import Pool
from edgenode.sensors import registry
from edgenode.sensors.runner import Health, run_source
from edgenode.sensors.samples import Samples
from edgenode.state import State
from edgenode.statement import notice_seal
from edgenode.transport.server import Guard, Server
from edgenode.transport.tls import server_context
from edgenode.transport.wire import encode_header
from edgenode.trust.issue import issue
from edgenode.trust.verify import reload_node
from edgenode.uplink.forward import Forwarder
from edgenode.uplink.http import HttpUplink

log = logging.getLogger(__name__)

MEET_SECONDS = 5.0  # before a peer that could not be met is tried again, the first time
TRIM_SECONDS = 60.0  # between looks at how much the ledger keeps


class Agent:
    """One node. ``started`` is set when it takes calls (``port`` is then the one it listens on), ``measured`` when it has read itself."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.started, self.measured = asyncio.Event(), asyncio.Event()
        self.port = 0
        self._state = State(folder)
        self._clock = clock or SystemClock()
        self._config = configuration.load(folder / "edgenode.toml", NodeConfig)
        if len(self._config.uplinks) > 1:
            raise ConfigError(f"{len(self._config.uplinks)} uplinks are configured", hint="this version forwards to one")
        self._health: dict[str, Health] = {}
        self._started_ns = self._clock.monotonic_ns()
        self._reading, self._unmeasured = b"", "not measured yet"

    async def run(self) -> None:
        """Run until cancelled. Raises ConfigError or StorageError when it cannot start."""
        async with AsyncExitStack() as stack:
            self._state.lock()
            stack.callback(self._state.unlock)
            await self._build(stack)
            async with asyncio.TaskGroup() as group:
                for name, source in self._sources.items():
                    group.create_task(run_source(source, self._sink(name), self._health[name], self._clock))
                group.create_task(self._dispatch.run())
                group.create_task(self._trim())
                for forwarder in self._forwarders:
                    group.create_task(forwarder.run())
                group.create_task(self._finder.run(self.port))
                self.started.set()
                group.create_task(self._calibrate())
                log.info("node %s, key %s, listens on port %d", self._config.name, self._identity.public.hex(), self.port)

    async def _build(self, stack: AsyncExitStack) -> None:
        """The rooms, from the ground up; ``stack`` takes them down again from the top."""
        config, state = self._config, self._state
        folder = state.folder
        self._identity = state.identity()
        self._keyring = state.keyring()
        self._document = read_document(state.node, "have a registrar sign one: 'edgenode fleet enrol'")
        node = reload_node(self._document).node
        if node.expires <= seconds(self._clock):
            log.warning("the node document of %s has expired: others refuse this node until a registrar signs a new one", node.name)
        if node.public_key != self._identity.public:
            raise ConfigError(f"{state.node} is for another key", hint="have a registrar sign one for this node's key")
        context = server_context(state.key, state.certificate)
        self._sources = {name: registry.build(name, source, self._clock) for name, source in config.sources.items()}
        self._health = {name: Health() for name in self._sources}

        ledger = await asyncio.to_thread(functools.partial(Ledger, folder / "ledger.db", forwards=bool(config.uplinks)))
        stack.push_async_callback(asyncio.to_thread, ledger.close)
        if ledger.set_aside is not None:
            await asyncio.to_thread(self._tell_of_loss, ledger)
        samples = await asyncio.to_thread(Samples, folder / "samples.db", config.samples, self._clock)
        stack.push_async_callback(asyncio.to_thread, samples.close)
        modules = Blobs(folder / "modules", config.ledger.blob_bytes, "ledger.blob_bytes", evict=False)
        pool = Pool(config.sandbox, cache=folder / "cache", mac_key=self._identity.derive("code cache"))
        starting = asyncio.ensure_future(asyncio.to_thread(pool.start))
        stack.push_async_callback(asyncio.to_thread, pool.close)
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])  # it can only be closed once it has started
            raise
        self._rooms = Rooms(
            config=config,
            clock=self._clock,
            identity=self._identity,
            node=node,
            keyring=lambda: self._keyring,
            ledger=ledger,
            library=Library(ledger, modules),
            modules=modules,
            snapshots=Blobs(folder / "snapshots", config.ledger.blob_bytes, "ledger.blob_bytes", evict=True),
            samples=samples,
            pool=pool,
            measured=lambda: {channel.name for source in self._sources.values() for channel in source.channels()},
            stopping=threading.Event(),
            started_ns=self._started_ns,
        )
        await asyncio.to_thread(apply_derived, self._rooms)

        self._outbox = Outbox(ledger.database)
        self._forwarders = [await self._forwarder(stack, uplink) for uplink in config.uplinks.values()]
        self._table = PeerTable(config.peers.peers)
        self._relay = Relay(
            config.peers,
            self._table,
            identity=self._identity,
            document=self._document,
            keyring=lambda: self._keyring,
            clock=self._clock,
        )
        stack.push_async_callback(self._relay.close)
        self._finder = Finder(
            config.peers,
            self._table,
            self._relay,
            name=config.name,
            key=self._identity.public,
            fleet=self._keyring.fleet,
            retry=MEET_SECONDS,
        )
        self._dispatch = Dispatch(self._rooms, self._document, self._table, self._relay, self._committed)
        stack.push_async_callback(self._dispatch.close)
        server = Server(config.intake, context, Guard(config.intake, lambda: self._keyring, self._clock))
        NodeCalls(server, self, config.intake)
        await server.start()
        stack.push_async_callback(server.stop)
        self.port = server.port

    async def _forwarder(self, stack: AsyncExitStack, uplink: configuration.UplinkConfig) -> Forwarder:
        way = HttpUplink(uplink, identity=self._identity, node_document=self._document, keyring=lambda: self._keyring, clock=self._clock)
        stack.push_async_callback(way.close)
        return Forwarder(self._outbox, way, uplink, self._clock)

    def _tell_of_loss(self, ledger: Ledger) -> None:
        """The first receipt of the new chain says that the old one ends in a damaged file, so that nobody takes loss for silence."""
        text = f"the ledger was damaged: it is set aside as {ledger.set_aside and ledger.set_aside.name}, and this chain begins anew"
        now = seconds(self._clock)
        measured = Measured(finished_ns=self._clock.now_ns(), clock=self._clock.state(), trust=self._keyring.state(now))
        ledger.append(notice_seal(self._identity, ReceiptKind.GAP, Notice(code="ledger-damaged", text=text), measured))

    def _committed(self) -> None:
        for forwarder in self._forwarders:
            forwarder.wake()

    def _sink(self, source: str) -> Any:
        def sink(poll: Poll) -> None:
            self._rooms.samples.append(source, poll)

        return sink

    async def _trim(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._rooms.ledger.trim, self._config.ledger.receipts, seconds(self._clock))
                await asyncio.to_thread(self._rooms.library.trim)
                await asyncio.to_thread(apply_derived, self._rooms)  # what samples.db could not take when it was derived
            except StorageError as error:  # a full disk: it is tried again
                log.warning("the databases are not tended: %s; %s", error.what, error.hint)
            await asyncio.sleep(TRIM_SECONDS)

    async def _calibrate(self) -> None:
        """Nothing waits for the reading, and without one the node does all that it does with it."""
        try:
            self._reading = await asyncio.to_thread(self._read_self)
            self._unmeasured = ""
        except (EdgenodeError, OSError) as error:
            self._unmeasured = str(error)
            log.warning("fuel per second is not measured: %s", error)
        self.measured.set()

    def _read_self(self) -> bytes:
        """What this machine has to compute with, measured and signed."""
        rooms = self._rooms
        fuel_per_second = calibration.measure(rooms.pool, rooms.stopping)
        reading = Reading(
            node=self._identity.public,
            issued=seconds(self._clock),
            engine=rooms.pool.engine.version,
            config=rooms.pool.engine.config(Abi.STEP),
            mode=self._config.sandbox.mode,
            fuel_per_second=fuel_per_second,
            workers=self._config.sandbox.workers,
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            cpus=os.cpu_count() or 1,
            architecture=platform.machine(),
        )
        return issue(reading, self._identity)

    # NodeService

    def card(self) -> dict[str, Any]:
        return {
            "api": 1,
            "kind": "node",
            "name": self._config.name,
            "key": self._identity.public.hex(),
            "fleet": self._keyring.fleet.hex(),
            "document": encode_header(self._document),
            "version": edgenode.__version__,
        }

    async def status(self) -> dict[str, Any]:
        rooms = self._rooms
        workers = rooms.pool.status()
        return {
            "name": self._config.name,
            "key": self._identity.public.hex(),
            "version": edgenode.__version__,
            "uptime_s": (self._clock.monotonic_ns() - self._started_ns) // 1_000_000_000,
            "clock": self._clock.state().value,
            "trust": {"version": self._keyring.trust.version, "state": self._keyring.state(seconds(self._clock)).value},
            "mdns": self._finder.mdns,
            "peers": [
                {"name": peer.node.name, "key": peer.key.hex(), "address": peer.address, "found_by": peer.found_by} for peer in self._table
            ],
            "engine": rooms.pool.engine.version,
            "workers": asdict(workers) | {"confinement": workers.confinement._asdict()},
            "reading": {"document": encode_header(self._reading), "missing": self._unmeasured},
            "jobs_open": await asyncio.to_thread(rooms.ledger.count_open),
            "last_error": self._dispatch.last_error,
            "sources": {name: asdict(health) for name, health in self._health.items()},
            "outbox": {
                "waiting": await asyncio.to_thread(self._outbox.waiting),
                "rejected": await asyncio.to_thread(self._outbox.rejected),
            },
            "uplinks": [asdict(await forwarder.status()) for forwarder in self._forwarders],
        }

    async def submit(self, job: bytes, manifest: bytes | None, *, hops: int | None, sender: bytes) -> dict[str, Any]:
        return await self._dispatch.submit(job, manifest, hops=hops, sender=sender)

    async def put_module(self, wasm: bytes) -> None:
        await asyncio.to_thread(self._rooms.library.put, wasm)

    async def jobs(self) -> list[dict[str, Any]]:
        return await self._dispatch.jobs()

    async def job(self, job: bytes) -> dict[str, Any]:
        return await self._dispatch.job(job)

    async def follow(self, job: bytes, wait: float, send: Send) -> None:
        await self._dispatch.follow(job, wait, send)

    async def blob(self, name: bytes, *, snapshots: bool) -> bytes:
        data = await asyncio.to_thread(self._rooms.modules.get, name)
        if data is None:
            data = await asyncio.to_thread(self._rooms.ledger.manifest, name)
        if data is None and snapshots:
            data = await asyncio.to_thread(self._rooms.snapshots.get, name)
        if data is None:
            raise NotFoundError(
                f"no blob {name.hex()[:12]} is here", hint="snapshots are kept for modules that share them, as long as there is room"
            )
        return data

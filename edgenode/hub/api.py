"""The hub: a state folder, a store and a listener, put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import Any

from aiohttp import web

from edgenode import config
from edgenode.clock import Clock, seconds
from edgenode.config import HubConfig
from edgenode.errors import ConfigError, LimitError, MalformedError, TrustError
from edgenode.formats.job import ID_BYTES
from edgenode.formats.trust import Role
from edgenode.hub.receive import receive
from edgenode.hub.store import HubStore
from edgenode.records import MAX_INT
from edgenode.state import State
from edgenode.transport import wire
from edgenode.transport.server import Caller, Guard, Server, read_body
from edgenode.transport.tls import server_context
from edgenode.transport.wire import BATCH_BODY_BYTES, BATCH_RECEIPTS
from edgenode.trust.identity import Identity
from edgenode.trust.keyring import Keyring

log = logging.getLogger(__name__)

CONFIG_NAME = "hub.toml"
DATABASE_NAME = "hub.db"
PAGE_RECEIPTS = 1024  # the most in one answer
PAGE_BYTES = 8 << 20
STATUS_CONFLICTS = 100  # the newest ones that the status names


class Hub:
    """A hub on a state folder. ``start`` and ``stop`` for those who run it beside something else, ``run`` for a process of its own."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._running = contextlib.AsyncExitStack()
        self._config: HubConfig
        self._identity: Identity
        self._keyring: Keyring
        self._store: HubStore
        self._server: Server

    @property
    def port(self) -> int:
        """The one that it listens on, also when the config says 0."""
        return self._server.port

    @property
    def public_key(self) -> bytes:
        return self._identity.public

    async def start(self) -> None:
        """Take the folder, open the database, listen. Raises ConfigError or StorageError; then nothing is left open."""
        async with contextlib.AsyncExitStack() as opened:
            state = State(self._folder)
            self._config = config.load(self._folder / CONFIG_NAME, HubConfig)
            state.lock()
            opened.callback(state.unlock)
            self._identity = state.identity()
            self._keyring = _load_keyring(state)
            self._warn_without_role()
            self._store = await asyncio.to_thread(HubStore, self._folder / DATABASE_NAME)
            opened.push_async_callback(asyncio.to_thread, self._store.close)
            self._server = self._listener(state)
            await self._server.start()
            opened.push_async_callback(self._server.stop)
            self._running = opened.pop_all()
        log.info("hub %s listens on %s:%d, key %s", self._config.name, self._config.intake.host, self.port, self.public_key.hex())

    async def stop(self) -> None:
        """No more requests; then what was accepted is committed; then the folder is free."""
        await self._running.aclose()

    def _listener(self, state: State) -> Server:
        intake = self._config.intake
        guard = Guard(intake, lambda: self._keyring, self._clock)
        server = Server(intake, server_context(state.key, state.certificate), guard)
        server.public("GET", wire.CARD, self._card)
        server.guarded("POST", wire.RECEIPTS, self._receive, nodes=True)
        server.guarded("GET", wire.RECEIPTS, self._receipts, Role.SUBMITTER, Role.REGISTRAR, Role.PUBLISHER)
        server.guarded("GET", wire.STATUS, self._status, Role.SUBMITTER, Role.REGISTRAR)
        return server

    def _warn_without_role(self) -> None:
        if Role.HUB not in self._keyring.roles(self.public_key, seconds(self._clock)):
            log.warning(
                "the key of this hub, %s, does not hold the role hub in trust document version %d: nodes will refuse its acknowledgements,"
                " and keep their receipts, until the fleet root grants it",
                self.public_key.hex(),
                self._keyring.trust.version,
            )

    async def _card(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "api": 1,
                "kind": "hub",
                "name": self._config.name,
                "key": self.public_key.hex(),
                "fleet": self._keyring.fleet.hex(),
                "trust_version": self._keyring.trust.version,
            }
        )

    async def _receive(self, request: web.Request, caller: Caller) -> web.Response:
        body = await read_body(request, limit=BATCH_BODY_BYTES, limit_name="uplink.batch_bytes")
        parts = wire.decode_parts(body, least=2, most=1 + BATCH_RECEIPTS, limit=BATCH_BODY_BYTES, limit_name="uplink.batch_bytes")
        ack = await receive(parts, keyring=self._keyring, store=self._store, identity=self._identity, clock=self._clock)
        return web.Response(body=ack, content_type=wire.CBOR)

    async def _receipts(self, request: web.Request, caller: Caller) -> web.Response:
        job = wire.parse_hex(request.query.get("job", ""), ID_BYTES, "job")
        after = _number(request, "after", 0, 0, MAX_INT)
        limit = _number(request, "limit", PAGE_RECEIPTS, 1, PAGE_RECEIPTS)
        page = await self._store.receipts(job, after, limit, PAGE_BYTES)
        body = wire.encode_parts([part for pair in page.receipts for part in pair])
        return web.Response(body=body, content_type=wire.CBOR, headers={wire.CURSOR_HEADER: str(page.cursor)})

    async def _status(self, request: web.Request, caller: Caller) -> web.Response:
        nodes = await self._store.nodes()
        conflicts = await self._store.conflicts(STATUS_CONFLICTS)
        return web.json_response(
            {
                "api": 1,
                "kind": "hub",
                "name": self._config.name,
                "receipts": sum(node.receipts for node in nodes),
                "conflicts": sum(node.conflicts for node in nodes),
                "nodes": [_plain(node) for node in nodes],
                "newest_conflicts": [_plain(conflict) for conflict in conflicts],
            }
        )


def _load_keyring(state: State) -> Keyring:
    try:
        return state.keyring()
    except (MalformedError, LimitError, TrustError) as error:
        raise ConfigError(f"cannot use {state.trust}: {error.what}", hint="put the fleet's trust document there again") from error


def _number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and low <= int(text) <= high):
        raise MalformedError(f"{name} is {text!r:.40}", hint=f"a whole number, {low} to {high}")
    return int(text)


def _plain(value: Any) -> dict[str, Any]:
    """A record as JSON has it: bytes in hex."""
    return {name: one.hex() if isinstance(one, bytes) else one for name, one in dataclasses.asdict(value).items()}

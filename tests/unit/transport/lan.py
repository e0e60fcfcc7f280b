"""Servers and callers on the loopback interface, with real keys, real TLS and a clock that tests set.

GET  /v1/node      public: a card          GET /boom    guarded: fails
POST /echo?n=1     submitters: the body    GET /stream  guarded: an item, then it breaks off
GET  /nodes        nodes only
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from edgenode.config import IntakeConfig
from edgenode.errors import EdgenodeError
from edgenode.formats.trust import Revoked, Role, Trust
from edgenode.records import ClockState
from edgenode.transport.client import Client
from edgenode.transport.node_api import ReceiptItem, encode_item
from edgenode.transport.server import Caller, Guard, Server, read_body
from edgenode.transport.tls import server_context
from edgenode.transport.wire import CARD
from edgenode.trust.identity import Identity, create
from edgenode.trust.keyring import Keyring

from ..formats.examples import NOW, SUBMITTER, TRUST

BODY_LIMIT = 256 * 1024


class StillClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now, self.monotonic, self.told = NOW, 1_000, ClockState.SYNCHRONISED

    def now_ns(self) -> int:
        return self.now * 1_000_000_000

    def monotonic_ns(self) -> int:
        return self.monotonic * 1_000_000_000

    def state(self) -> ClockState:
        return self.told

    def advance(self, seconds: int) -> None:
        self.now += seconds
        self.monotonic += seconds


class Machine:
    """A server with one key, which can be started again."""

    def __init__(self, folder: Path, clock: StillClock, **config: Any) -> None:
        folder.mkdir()
        self.folder, self.clock = folder, clock
        self.key = create(folder / "key.pem")
        self.config = IntakeConfig(host="127.0.0.1", port=0, **config)
        self.trust: Trust = TRUST
        self.callers: list[Caller] = []
        self.error: Exception | None = None
        self.guard: Guard
        self.server: Server

    async def start(self) -> None:
        self.guard = Guard(self.config, lambda: Keyring(self.trust), self.clock)
        self.server = Server(self.config, server_context(self.folder / "key.pem", self.folder / "cert.pem"), self.guard)
        self.server.public("GET", CARD, self._card)
        self.server.guarded("POST", "/echo", self._echo, Role.SUBMITTER)
        self.server.guarded("GET", "/nodes", self._nodes, nodes=True)
        self.server.guarded("GET", "/boom", self._boom, Role.SUBMITTER)
        self.server.guarded("GET", "/stream", self._stream, Role.SUBMITTER)
        await self.server.start()
        self.config = dataclasses.replace(self.config, port=self.server.port)

    async def restart(self) -> None:
        await self.server.stop()
        await self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def revoke(self, *keys: Identity) -> None:
        self.trust = dataclasses.replace(TRUST, revoked=Revoked(keys=tuple(key.public for key in keys)))

    async def _card(self, request: web.Request) -> web.Response:
        return web.json_response({"kind": "node", "name": "one", "key": self.key.public.hex()})

    async def _echo(self, request: web.Request, caller: Caller) -> web.Response:
        self.callers.append(caller)
        return web.Response(body=await read_body(request, limit=BODY_LIMIT, limit_name="intake.body_bytes"))

    async def _nodes(self, request: web.Request, caller: Caller) -> web.Response:
        self.callers.append(caller)
        return web.Response(body=b"node")

    async def _boom(self, request: web.Request, caller: Caller) -> web.Response:
        raise self.error or RuntimeError("the password is swordfish")

    async def _stream(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(encode_item(ReceiptItem(b"receipt", b"node")))
        raise self.error or EdgenodeError("no more")


class Lan:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = StillClock()
        self.machines: list[Machine] = []
        self._open: list[Callable[[], Awaitable[None]]] = []

    async def serve(self, **config: Any) -> Machine:
        machine = Machine(self.folder / f"machine-{len(self.machines)}", self.clock, **config)
        self.machines.append(machine)
        await machine.start()
        return machine

    def client(self, machine: Machine | str, identity: Identity = SUBMITTER, *, pin: bytes | None = None, **options: Any) -> Client:
        address = machine if isinstance(machine, str) else machine.address
        if pin is None and isinstance(machine, Machine):
            pin = machine.key.public
        client = Client(address, identity=identity, clock=self.clock, pin=pin, **options)
        self._open.append(client.close)
        return client

    async def impostor(self, answer: Callable[[bytes], bytes | None], key: Path | None = None) -> str:
        """A server that is not ours: what it answers to each request head (None: nothing), over TLS with a key of its own; its address."""
        if key is None:
            key = self.folder / f"impostor-{len(self._open)}.pem"
            create(key)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                while True:
                    found = answer(await reader.readuntil(b"\r\n\r\n"))
                    if found is None:
                        await reader.read()
                        break
                    writer.write(found)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(key, key.with_suffix(".cert")))

        async def close() -> None:
            server.close()
            await asyncio.sleep(0)

        self._open.append(close)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        for close in self._open:
            await close()
        for machine in self.machines:
            await machine.server.stop()


def http(body: bytes, *, status: int = 200, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def json_http(value: Any, **options: Any) -> bytes:
    return http(json.dumps(value).encode(), **options)

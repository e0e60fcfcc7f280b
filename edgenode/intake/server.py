"""A node's HTTP calls: who may make them, and how bytes become the node's own words (docs/protocol.md, "HTTP")."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

from edgenode.config import IntakeConfig
from edgenode.errors import DigestError, MalformedError
from edgenode.formats.job import ID_BYTES
from edgenode.formats.trust import Role
from edgenode.records import DIGEST_BYTES, digest
from edgenode.transport.node_api import StreamItem, encode_item
from edgenode.transport.server import Caller, Server, read_body
from edgenode.transport.wire import BLOBS, CARD, CBOR_SEQUENCE, JOBS, MODULES, STATUS, decode_parts, parse_hex

SLOW_SECONDS = 60.0  # that a stream may last beyond its wait

Send = Callable[[StreamItem], Awaitable[None]]

MOST_HOPS = 16  # that a submission may go further, whoever says so


class NodeService(Protocol):
    """What a node does for its callers. Each raises an EdgenodeError that becomes the answer."""

    def card(self) -> dict[str, Any]:
        """What anybody may know."""

    async def status(self) -> dict[str, Any]: ...

    async def submit(self, job: bytes, manifest: bytes | None, *, hops: int | None, sender: bytes) -> dict[str, Any]:
        """Take a job, and pass it on. ``hops`` is None when a laptop hands it in, else how much further it may go."""

    async def put_module(self, wasm: bytes) -> None: ...

    async def jobs(self) -> list[dict[str, Any]]: ...

    async def job(self, job: bytes) -> dict[str, Any]: ...

    async def follow(self, job: bytes, wait: float, send: Send) -> None:
        """Send the job's receipts here and at the nodes it went to, and news as it comes, until all is over or ``wait`` s have passed."""

    async def blob(self, name: bytes, *, snapshots: bool) -> bytes: ...


class NodeCalls:
    """Binds a service to a server's routes."""

    def __init__(self, server: Server, service: NodeService, config: IntakeConfig) -> None:
        self._service, self._config = service, config
        server.public("GET", CARD, self._card)
        server.guarded("GET", STATUS, self._status, Role.SUBMITTER, Role.REGISTRAR)
        server.guarded("POST", JOBS, self._submit, Role.SUBMITTER, nodes=True)
        server.guarded("GET", JOBS, self._jobs, Role.SUBMITTER)
        server.guarded("GET", JOBS + "/{job}", self._job, Role.SUBMITTER)
        server.guarded("GET", JOBS + "/{job}/receipts", self._receipts, Role.SUBMITTER, nodes=True)
        server.guarded("PUT", MODULES + "/{digest}", self._put_module, Role.SUBMITTER, Role.PUBLISHER, nodes=True)
        server.guarded("GET", BLOBS + "/{digest}", self._blob, Role.SUBMITTER, nodes=True)

    async def _card(self, request: web.Request) -> web.Response:
        return web.json_response(self._service.card())

    async def _status(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(await self._service.status())

    async def _submit(self, request: web.Request, caller: Caller) -> web.Response:
        hops = _number(request, "hops", MOST_HOPS)
        body = await read_body(request, limit=self._config.body_bytes, limit_name="intake.body_bytes")
        parts = decode_parts(body, least=1, most=2, limit=self._config.body_bytes, limit_name="intake.body_bytes")
        answer = await self._service.submit(
            parts[0], parts[1] if len(parts) == 2 else None, hops=None if hops is None else int(hops), sender=caller.key
        )
        return web.json_response(answer)

    async def _put_module(self, request: web.Request, caller: Caller) -> web.Response:
        named = parse_hex(request.match_info["digest"], DIGEST_BYTES, "the module's digest")
        wasm = await read_body(request, limit=self._config.module_bytes, limit_name="intake.module_bytes")
        if digest(wasm) != named:
            raise DigestError(f"the bytes are not those of module {named.hex()[:12]}")
        await self._service.put_module(wasm)
        return web.json_response({"module": named.hex()})

    async def _jobs(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response({"jobs": await self._service.jobs()})

    async def _job(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(await self._service.job(_job_id(request)))

    async def _receipts(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        wait = min(_number(request, "wait", math.inf) or 0.0, self._config.wait_seconds)
        stream = web.StreamResponse(headers={"Content-Type": CBOR_SEQUENCE})

        async def send(item: StreamItem) -> None:
            if not stream.prepared:
                await stream.prepare(request)
            await stream.write(encode_item(item))

        async with asyncio.timeout(wait + SLOW_SECONDS):  # also for a reader that takes its answer too slowly
            await self._service.follow(_job_id(request), wait, send)
            if not stream.prepared:
                await stream.prepare(request)
            await stream.write_eof()
        return stream

    async def _blob(self, request: web.Request, caller: Caller) -> web.Response:
        name = parse_hex(request.match_info["digest"], DIGEST_BYTES, "the digest")
        # A snapshot is raw data: peers get modules alone (what leaves a node is what manifest and role allow).
        data = await self._service.blob(name, snapshots=Role.SUBMITTER in caller.roles)
        return web.Response(body=data, content_type="application/octet-stream")


def _job_id(request: web.Request) -> bytes:
    return parse_hex(request.match_info["job"], ID_BYTES, "the job's id")


def _number(request: web.Request, name: str, most: float) -> float | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise MalformedError(f"{name} is {text!r:.40}, not a number from 0 to {most}", hint="")
    return value

"""The serving end: a TLS listener whose every call, but the public ones, is authenticated before its body is read.

connection -> its place -> signature headers -> boot nonce, time -> signature -> key, replay -> role -> body within its limit -> handler

What a caller without a key of the fleet can make this process hold is bounded: connections, their headers, and READ_BYTES of a body each.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import math
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from edgenode.clock import Clock, seconds
from edgenode.config import IntakeConfig
from edgenode.errors import (
    CallerError,
    ConfigError,
    EdgenodeError,
    LimitError,
    MalformedError,
    NotFoundError,
    RoleError,
    TrustError,
)
from edgenode.formats import httpsig
from edgenode.formats.cose import DocumentType
from edgenode.formats.trust import Node, Role
from edgenode.records import ClockState
from edgenode.transport import problem
from edgenode.transport.connections import Connections
from edgenode.transport.tls import ServerContext
from edgenode.transport.wire import NODE_HEADER, decode_header
from edgenode.trust.keyring import Keyring, short
from edgenode.trust.verify import signature_fits, verify_node

log = logging.getLogger(__name__)

IDLE_SECONDS = 75  # that a connection stays open with no request: more than a client keeps it
BODY_SECONDS = 30  # that the next bytes of a body may take
READ_BYTES = 1 << 16  # of a body that are read ahead
DROP_BYTES = 1 << 16  # the rest of a refused body that is read, to keep the connection; a longer one ends it
HEADERS = 32
FIELD_BYTES = 4 * DocumentType.NODE.limit // 3 + 4  # of one header: a node document in base64
LINE_BYTES = 2048  # of the request line

Handler = Callable[[web.Request, "Caller"], Awaitable[web.StreamResponse]]
PublicHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a request: its key, the roles that the trust document grants it, and its node document if it is a node."""

    key: bytes
    roles: frozenset[Role]
    node: Node | None

    def may(self, allowed: Iterable[Role], nodes: bool) -> bool:
        return (nodes and self.node is not None) or not self.roles.isdisjoint(allowed)


class Guard:
    """Judges callers. Holds the boot nonce and the nonces seen since, so that nothing needs a disk."""

    def __init__(self, config: IntakeConfig, keyring: Callable[[], Keyring], clock: Clock) -> None:
        self.boot = ""
        self._config = config
        self._keyring = keyring
        self._clock = clock
        self._server = b""
        self._seen: OrderedDict[str, int] = OrderedDict()  # nonce -> when it may be forgotten, monotonic s

    def bind(self, server: bytes) -> None:
        """Admit requests to the server of this public key, and no others."""
        self._server = server
        self._begin()

    def _begin(self) -> None:
        """Draw a boot nonce. All requests that were signed before are refused by it, so none of them need be remembered."""
        self.boot = httpsig.boot_value(self._server, secrets.token_urlsafe(16))
        self._seen.clear()

    def admit(self, request: web.BaseRequest) -> Caller:
        """The caller of this request. Raises CallerError, or the TrustError that says why its key is not believed."""
        claim = httpsig.parse(request.method, request.raw_path, request.headers)
        if claim.boot != self.boot:
            raise CallerError("the request is for an earlier start of this server", hint="sign it again with the boot nonce of this answer")
        now = seconds(self._clock)
        self._check_time(claim, now)
        if not signature_fits(claim.keyid, claim.signed, claim.signature):
            raise CallerError(f"the request's signature by key {short(claim.keyid)} does not fit")
        caller = self._caller(request, claim.keyid, now)
        self._remember(claim.nonce)
        return caller

    def _check_time(self, claim: httpsig.Claim, now: int) -> None:
        skew = self._config.clock_skew
        if claim.expires < claim.created or claim.expires - claim.created > 10 * skew:
            raise CallerError(f"the request is valid for {claim.expires - claim.created} s, not for 0 to {10 * skew}")
        if self._clock.state() is ClockState.UNKNOWN:
            return  # this machine does not know what time it is; the boot nonce still holds, and no nonce is forgotten
        if not claim.created - skew <= now <= claim.expires + skew:
            raise CallerError(f"the request was signed {now - claim.created} s ago by this machine's clock, and allows for {skew} s more")

    def _caller(self, request: web.BaseRequest, key: bytes, now: int) -> Caller:
        keyring = self._keyring()
        keyring.check_not_revoked(key)
        node = None
        if header := request.headers.get(NODE_HEADER):
            node = verify_node(decode_header(header), keyring, now).node
            if node.public_key != key:
                raise CallerError(f"the node document is of key {short(node.public_key)}, the request of {short(key)}")
        roles = keyring.roles(key, now)
        if not roles and node is None:  # told before its nonce is remembered: a stranger must not fill the cache
            raise RoleError(f"key {short(key)} has no role in this fleet")
        return Caller(key, roles, node)

    def _remember(self, nonce: str) -> None:
        # Monotonic: were it wall-clock time, turning the clock back would fill the cache, and forward empty it.
        now = self._clock.monotonic_ns() // 1_000_000_000
        if self._clock.state() is not ClockState.UNKNOWN:
            while self._seen and next(iter(self._seen.values())) < now:
                self._seen.popitem(last=False)
        if nonce in self._seen:
            raise CallerError("the request was sent before", hint="sign each request anew")
        if len(self._seen) >= self._config.replay_nonces:
            self._begin()
            raise CallerError("the replay cache was full, and begins anew", hint="sign it again with the boot nonce of this answer")
        # Kept for the longest that any request may be valid: in order, so that the oldest can be forgotten first.
        self._seen[nonce] = now + 12 * self._config.clock_skew


class Server:
    """A TLS listener with guarded routes. ``port`` is the one that it got, also when the config says 0."""

    def __init__(self, config: IntakeConfig, context: ServerContext, guard: Guard) -> None:
        self._config = config
        self._guard = guard
        guard.bind(context.public_key)
        self._app = web.Application(middlewares=[self._answer])
        self._app.on_response_prepare.append(self._show_boot)
        self._runner = web.AppRunner(
            self._app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=1.0,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=0,  # _drop_rest does it, in bounds
            auto_decompress=False,  # a small body must not become a large one, and Content-Digest is of what was sent (RFC 9530 §2)
            read_bufsize=READ_BYTES,
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
            max_headers=HEADERS,
        )
        self._connections = Connections(config.connections, context, self._serve)
        self.port = config.port

    def public(self, method: str, path: str, handler: PublicHandler) -> None:
        """A route that anybody may call. It must not read a body."""
        self._app.router.add_route(method, path, handler, expect_handler=_not_yet)

    def guarded(self, method: str, path: str, handler: Handler, *roles: Role, nodes: bool = False) -> None:
        """A route for callers that hold one of ``roles``, or, with ``nodes``, are nodes of the fleet."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            caller = self._guard.admit(request)
            if connection := self._connections.of(request):
                connection.admitted = True
            if not caller.may(roles, nodes):
                wanted = [role.value for role in roles] + ["node"] * nodes
                held = ", ".join(sorted(caller.roles) + ["node"] * (caller.node is not None))
                raise RoleError(f"{method} {path} is for {', '.join(wanted)}; key {short(caller.key)} is {held}")
            return await handler(request, caller)

        self._app.router.add_route(method, path, guarded, expect_handler=_not_yet)

    async def start(self) -> None:
        """Listen. Raises ConfigError when the address is taken or not this machine's."""
        await self._runner.setup()
        try:
            self.port = await self._connections.listen(self._config.host, self._config.port)
        except OSError as error:
            await self._runner.cleanup()
            reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise ConfigError(
                f"cannot listen on {self._config.host}:{self._config.port}: {reason}", hint="set intake.port (0: any), or end what uses it"
            ) from error

    async def stop(self) -> None:
        self._connections.close()
        await self._runner.cleanup()
        await self._connections.end()

    def _serve(self) -> web.RequestHandler | None:
        server = self._runner.server
        return None if server is None else server()

    async def _show_boot(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers[httpsig.BOOT_HEADER] = self._guard.boot

    @web.middleware
    async def _answer(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """Every error as a problem document."""
        connection = self._connections.of(request)
        if connection is not None:
            connection.busy = True
        try:
            return await handler(request)
        except EdgenodeError as error:
            if isinstance(error, TrustError):
                log.info("refused %s %.200a from %s: %s", request.method, request.raw_path, request.remote, error.what)
            refusal = error
        except web.HTTPException as error:
            what = f"no {request.method} {request.path:.200} here"
            refusal = NotFoundError(what, hint=f"HTTP {error.status}: see docs/protocol.md")
        except Exception:
            log.exception("%s %.200a failed", request.method, request.raw_path)
            refusal = EdgenodeError(f"{request.method} {request.path:.200} failed in this server", hint="its log says why")
        finally:
            if connection is not None:
                connection.busy = False
        response = web.Response(status=refusal.status, body=problem.to_problem(refusal), content_type=problem.MEDIA_TYPE)
        if request.writer.output_size:
            # Half an answer is out. To break it off is the only way left to say that it is not whole.
            log.warning("broke off the answer to %s %.200a: %s", request.method, request.raw_path, refusal.what)
            if request.transport is not None:
                request.transport.abort()
        elif not await _drop_rest(request):
            response.force_close()
        return response


async def read_body(request: web.Request, *, limit: int, limit_name: str) -> bytes:
    """The body, once it is known to be the signed one. Raises LimitError before reading more than ``limit`` bytes, CallerError."""
    length = request.content_length
    if length is not None and length > limit:
        raise LimitError(limit_name, limit, length)
    if _waits_for_us(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp does: the answer itself has not begun
    sha256 = hashlib.sha256()
    chunks = []
    size = 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(BODY_SECONDS) as waiting:
            async for chunk in request.content.iter_chunked(READ_BYTES):
                waiting.reschedule(loop.time() + BODY_SECONDS)
                size += len(chunk)
                if size > limit:
                    raise LimitError(limit_name, limit, f"{size} or more")
                sha256.update(chunk)
                chunks.append(chunk)
    except TimeoutError:
        raise LimitError("transport.body_seconds", BODY_SECONDS, "no byte in that time", unit="s", hint="send it again") from None
    except _BODY_ERRORS as error:
        raise MalformedError(f"the body broke off after {size} bytes: {error}", hint="send it again") from error
    httpsig.check_body(request.headers, sha256.digest())
    return b"".join(chunks)


_BODY_ERRORS = (aiohttp.ClientError, HttpProcessingError, web.RequestPayloadError, OSError)


async def _drop_rest(request: web.Request) -> bool:
    """Read what is left of a refused request's body if that is little, so that the connection can be used again; whether it can."""
    if request.content.is_eof():
        return True
    length = request.content_length
    if _waits_for_us(request) or (math.inf if length is None else length) > DROP_BYTES:
        return False
    try:
        async with asyncio.timeout(1.0):
            while not request.content.is_eof():
                await request.content.readany()
    except (TimeoutError, *_BODY_ERRORS):
        return False
    return True


def _waits_for_us(request: web.Request) -> bool:
    """Whether the caller sends its body only when told to (RFC 9110 §10.1.1)."""
    return request.headers.get("Expect", "").lower() == "100-continue"


async def _not_yet(request: web.Request) -> None:
    """Instead of aiohttp's own answer, which comes before the request is looked at: read_body tells the caller to go on."""

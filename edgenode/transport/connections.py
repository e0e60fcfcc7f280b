"""The connections of a listener: each is counted from accept on, and one without an admitted request makes room for a new one.

accept -> a place -> TLS handshake (HANDSHAKE_SECONDS) -> an admitted request (FIRST_SECONDS) -> as long as both ends want

All that a caller without a key of the fleet can hold is a place that the next caller takes from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections import Counter
from collections.abc import Callable
from typing import cast

from aiohttp import web

from edgenode.transport.tls import ServerContext

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
FIRST_SECONDS = 10.0  # from the handshake to the first admitted request
RETRY_SECONDS = 0.5  # until the next accept, when the system had nothing left for one
BACKLOG = 128
FILES = 1 << 16  # descriptors that this process may have, if the system lets it
TELL_SECONDS = 60.0  # from one line in the log to the next


class Connection(asyncio.Protocol):
    """One place: a socket in its handshake, then what speaks HTTP on it."""

    def __init__(self, sock: socket.socket, address: str, made: Callable[[Connection], web.RequestHandler | None]) -> None:
        self.address = address
        self.admitted = False  # whether a request on it was signed by a key of the fleet
        self.busy = False  # whether a request is being handled
        self.handler: web.RequestHandler | None = None
        self.lost = asyncio.get_running_loop().create_future()
        self._sock = sock
        self._made = made
        self._transport: asyncio.Transport | None = None

    def end(self) -> None:
        """Close it at once, whatever the other side does."""
        if self._transport is not None:
            self._transport.abort()
            return
        with contextlib.suppress(OSError):  # reset by the other side
            self._sock.shutdown(socket.SHUT_RDWR)  # which fails the handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.handler = self._made(self)
        if self.handler is None:
            self._transport.abort()
        else:
            self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.handler is not None:
            self.handler.data_received(data)

    def eof_received(self) -> None:
        if self.handler is not None:
            self.handler.eof_received()

    def pause_writing(self) -> None:
        if self.handler is not None:
            self.handler.pause_writing()

    def resume_writing(self) -> None:
        if self.handler is not None:
            self.handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        if self.handler is not None:
            self.handler.connection_lost(exc)


class Connections:
    """At most ``limit`` connections, and half as many of one address. ``serve`` makes what speaks HTTP on each; None refuses it."""

    def __init__(self, limit: int, context: ServerContext, serve: Callable[[], web.RequestHandler | None]) -> None:
        self._limit = limit
        self._context = context
        self._serve = serve
        self._listening: list[socket.socket] = []
        self._open: dict[Connection, None] = {}  # the oldest first
        self._by_address: Counter[str] = Counter()
        self._by_handler: dict[web.RequestHandler, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # one for each connection, for as long as its socket is open
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self._quiet_until = 0.0

    def __len__(self) -> int:
        return len(self._open)

    async def listen(self, host: str, port: int) -> int:
        """Accept connections; the port. Raises OSError."""
        _raise_descriptor_limit()
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                listening = socket.create_server(address, family=family, backlog=BACKLOG)
                listening.setblocking(False)
                self._listening.append(listening)
        except OSError:
            self._stop_listening()
            raise
        for listening in self._listening:
            loop.add_reader(listening, self._accept, listening)
        got: int = self._listening[0].getsockname()[1]
        return got

    def close(self) -> None:
        """Accept no more, and break off the handshakes; those that speak HTTP go on."""
        self._stop_listening()
        for connection in self._open:
            if connection.handler is None:
                connection.end()

    async def end(self) -> None:
        """End all that is left."""
        for connection in self._open:
            connection.end()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def of(self, request: web.Request) -> Connection | None:
        """The connection that this request came on; None when it has lost its place."""
        return self._by_handler.get(request.protocol)

    def _stop_listening(self) -> None:
        for retry in self._retries.values():
            retry.cancel()
        self._retries.clear()
        for listening in self._listening:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        self._listening.clear()

    def _accept(self, listening: socket.socket) -> None:
        """Take one connection: there is a turn of the loop between any two, so that those that are here are served."""
        loop = asyncio.get_running_loop()
        try:
            sock, (address, *_) = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            self._tell(f"cannot accept a connection: {error.strerror}")
            loop.remove_reader(listening)  # it stays readable, and would keep the loop spinning
            self._retries[listening] = loop.call_later(RETRY_SECONDS, loop.add_reader, listening, self._accept, listening)
            return
        if not self._make_room(address):
            sock.close()
            self._tell(f"closed a connection from {address}: all that intake.connections = {self._limit} allows are in use")
            return
        connection = Connection(sock, address, self._made)
        self._open[connection] = None
        self._by_address[address] += 1
        task = loop.create_task(self._live(connection, sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make_room(self, address: str) -> bool:
        """Whether there is a place for one more of this address; if need be that of the oldest connection without an admitted request."""
        crowded = self._by_address[address] >= max(1, self._limit // 2)
        if not crowded and len(self._open) < self._limit:
            return True
        for one in self._open:
            if not one.admitted and (one.address == address or not crowded):
                self._leave(one)
                one.end()
                return True
        return False

    async def _live(self, connection: Connection, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, sock, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
            patience = FIRST_SECONDS
            while not connection.admitted and not connection.lost.done():
                await asyncio.wait([connection.lost], timeout=patience)
                if not connection.admitted and not connection.busy:
                    connection.end()
                    break
                patience = 1.0
            await connection.lost
        except OSError as error:
            log.debug("no handshake with %s: %s", connection.address, error)
        finally:
            self._leave(connection)

    def _made(self, connection: Connection) -> web.RequestHandler | None:
        """What speaks HTTP on this connection, whose handshake is done; None when it lost its place meanwhile, or all is to end."""
        if connection not in self._open or not self._listening or (handler := self._serve()) is None:
            return None
        self._by_handler[handler] = connection
        return handler

    def _leave(self, connection: Connection) -> None:
        if connection not in self._open:
            return
        del self._open[connection]
        if connection.handler is not None:
            self._by_handler.pop(connection.handler, None)
        self._by_address[connection.address] -= 1
        if not self._by_address[connection.address]:
            del self._by_address[connection.address]

    def _tell(self, what: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + TELL_SECONDS
            log.warning("%s", what)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

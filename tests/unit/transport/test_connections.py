"""Who holds a server's connections: callers that nobody vouches for keep none of the others out."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import resource
import socket
from collections.abc import AsyncIterator

import psutil
import pytest

from edgenode.errors import ConfigError
from edgenode.transport import connections as connections_module
from edgenode.transport.connections import Connections
from edgenode.transport.tls import client_context
from edgenode.transport.wire import CARD

from .lan import Lan, Machine

CARD_REQUEST = f"GET {CARD} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


class Crowd:
    """Callers that stay silent, over TLS or with no handshake at all."""

    def __init__(self, server: Machine) -> None:
        self.port = server.server.port
        self.held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def come(self, count: int, *, tls: bool, host: str = "127.0.0.1") -> None:
        """One after the other, so that their order is known."""
        for _ in range(count):
            context = client_context() if tls else None
            self.held.append(await asyncio.open_connection("127.0.0.1", self.port, ssl=context, local_addr=(host, 0)))

    async def is_open(self, index: int) -> bool:
        try:
            return bool(await asyncio.wait_for(self.held[index][0].read(1), 0.1))
        except TimeoutError:
            return True
        except OSError:
            return False

    async def ask(self, index: int) -> bytes:
        reader, writer = self.held[index]
        writer.write(CARD_REQUEST)
        return await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)

    def leave(self) -> None:
        for _, writer in self.held:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def crowd(server: Machine) -> AsyncIterator[Crowd]:
    crowd = Crowd(server)
    try:
        yield crowd
    finally:
        crowd.leave()
        await asyncio.sleep(0.01)


def places(server: Machine) -> Connections:
    return server.server._connections


def descriptors(server: Machine) -> int:
    """The sockets of the server's side, the listening one too."""
    return sum(one.laddr.port == server.server.port for one in psutil.Process().net_connections("tcp") if one.fd >= 0)


@pytest.mark.parametrize("tls", [False, True])
async def test_300_silent_callers_keep_no_signed_one_out(lan: Lan, server: Machine, tls: bool) -> None:
    known = lan.client(server)
    await known.request("POST", "/echo", b"before")
    async with crowd(server) as silent:
        await silent.come(300, tls=tls)
        assert await lan.client(server).request("POST", "/echo", b"new") == b"new"
        assert await known.request("POST", "/echo", b"known") == b"known"
        await asyncio.sleep(0.05)
        assert len(places(server)) <= server.config.connections // 2
        assert descriptors(server) <= server.config.connections // 2 + 1


async def test_callers_of_several_addresses_have_all_places_between_them(lan: Lan) -> None:
    server = await lan.serve(connections=6)
    async with crowd(server) as silent:
        for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"):
            await silent.come(3, tls=True, host=host)
        await asyncio.sleep(0.05)
        assert len(places(server)) == 6
        assert [await silent.is_open(index) for index in (0, 5, 6, 11)] == [False, False, True, True]
        assert await lan.client(server).request("POST", "/echo", b"on") == b"on"


async def test_one_address_has_half_of_the_places_and_takes_none_of_another(lan: Lan) -> None:
    server = await lan.serve(connections=8)
    async with crowd(server) as silent:
        await silent.come(1, tls=True, host="127.0.0.2")
        await silent.come(6, tls=True, host="127.0.0.3")
        await asyncio.sleep(0.05)
        assert len(places(server)) == 5
        assert [await silent.is_open(index) for index in (0, 1, 2, 3, 6)] == [True, False, False, True, True]


async def test_admitted_connections_give_way_to_nobody(lan: Lan) -> None:
    server = await lan.serve(connections=4)
    admitted = [lan.client(server) for _ in range(2)]
    for client in admitted:
        await client.request("POST", "/echo", b"on")
    held = list(places(server)._open)
    async with crowd(server) as silent:
        with contextlib.suppress(OSError):  # in or after its handshake
            await silent.come(1, tls=True)
            assert not await silent.is_open(0)
        await silent.come(2, tls=True, host="127.0.0.2")
        await asyncio.sleep(0.05)
        for client in admitted:
            assert await client.request("POST", "/echo", b"still") == b"still"
        assert list(places(server)._open)[:2] == held


async def test_a_card_is_for_anybody_and_vouches_for_nobody(lan: Lan) -> None:
    server = await lan.serve(connections=4)
    async with crowd(server) as curious:
        await curious.come(2, tls=True)
        assert b"200" in await curious.ask(0)
        assert b"200" in await curious.ask(1)
        await curious.come(1, tls=True)
        assert b"200" in await curious.ask(2)
        assert len(places(server)) == 2


async def test_without_an_admitted_request_it_ends_and_with_one_it_stays(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "FIRST_SECONDS", 0.2)
    server = await lan.serve()
    client = lan.client(server)
    await client.request("POST", "/echo", b"on")
    (admitted,) = places(server)._open
    async with crowd(server) as silent:
        await silent.come(3, tls=True)
        assert b"200" in await silent.ask(0)
        silent.held[1][1].write(b"POST /echo HTTP/1.1\r\nHost: ")
        for reader, _ in silent.held:
            await asyncio.wait_for(reader.read(), 5)
        assert list(places(server)._open) == [admitted]
        assert await client.request("POST", "/echo", b"on") == b"on"


async def test_a_request_in_hand_is_answered_first(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "FIRST_SECONDS", 0.1)
    server = await lan.serve()
    async with crowd(server) as callers:
        await callers.come(1, tls=True)
        await asyncio.sleep(0.02)
        (connection,) = places(server)._open
        connection.busy = True
        await asyncio.sleep(0.2)
        assert b"200" in await callers.ask(0)  # which ends what is in hand
        await asyncio.wait_for(callers.held[0][0].read(), 5)
        assert not len(places(server))


async def test_no_descriptor_left_is_waited_out_and_told_once(
    lan: Lan, server: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections_module, "RETRY_SECONDS", 0.05)
    accept, tries = socket.socket.accept, 0

    def fail(self: socket.socket) -> tuple[socket.socket, object]:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fail)
    assert await lan.client(server).request("POST", "/echo", b"on") == b"on"
    assert tries == 4
    assert [record.getMessage() for record in caplog.records] == ["cannot accept a connection: Too many open files"]


async def test_stop_ends_connections_in_every_phase(lan: Lan) -> None:
    server = await lan.serve()
    client = lan.client(server)
    await client.request("POST", "/echo", b"on")
    before = asyncio.all_tasks()
    async with crowd(server) as callers:
        await callers.come(2, tls=False)
        callers.held[1][1].write(b"\x16\x03\x01\x02\x00")  # the beginning of a handshake
        await callers.come(3, tls=True)
        await callers.ask(3)
        callers.held[4][1].write(b"GET ")
        await asyncio.sleep(0.05)
        assert len(places(server)) == 6
        late = socket.create_connection(("127.0.0.1", server.server.port))  # accepted by the system alone
        await asyncio.wait_for(server.server.stop(), 2)
        late.close()
        assert not len(places(server)) and not places(server)._tasks
        assert descriptors(server) == 0
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() <= before
    await server.server.stop()  # again: nothing is left to do


@pytest.mark.parametrize(("host", "reason"), [("127.0.0.1", "the port is in use"), ("192.0.2.1", ""), ("no such host", "")])
async def test_an_address_that_is_taken_or_not_ours_is_a_config_error(lan: Lan, server: Machine, host: str, reason: str) -> None:
    other = Machine(lan.folder / "other", lan.clock)
    other.config = dataclasses.replace(other.config, host=host, port=server.server.port)
    with pytest.raises(ConfigError, match=f"cannot listen on {host}:{server.server.port}: {reason}"):
        await other.start()


async def test_listening_raises_the_limit_of_descriptors(lan: Lan) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        await lan.serve()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (65536 if hard == resource.RLIM_INFINITY else min(hard, 65536), hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

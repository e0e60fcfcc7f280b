"""Finding peers while strangers on the LAN say what they like, and devices and clocks change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from edgenode.config import PeersConfig
from edgenode.errors import EdgenodeError, ExpiredError, PinError, UnreachableError
from edgenode.peers import find
from edgenode.peers.find import Finder
from edgenode.peers.mdns import Hint
from edgenode.peers.table import Peer, PeerTable

from ..ledger.documents import a_node

FLEET = bytes(32)
A, B = b"a" * 32, b"b" * 32
HOME, AWAY, WRONG = "192.0.2.1:7420", "192.0.2.2:7420", "192.0.2.9:1"


class Wire:
    """Who answers at which address, as a Relay that meets them."""

    def __init__(self, table: PeerTable) -> None:
        self.table = table
        self.nodes: dict[str, bytes] = {}
        self.error: EdgenodeError | None = None
        self.tried: list[str] = []
        self.doubted: set[bytes] = set()
        self.silent: set[str] = set()  # addresses that take a connection and answer nothing

    async def meet(self, address: str, key: bytes | None, found_by: str) -> Peer:
        self.tried.append(address)
        if address in self.silent:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if (there := self.nodes.get(address)) is None:
            raise UnreachableError(f"cannot reach {address}")
        if key not in (None, there):
            raise PinError(f"{address} has another key")
        for other in self.table:
            if other.address == address:
                await self.forget(other.key)
        peer = Peer(a_node(there), b"", address, found_by, 0)
        self.table.put(peer)
        self.doubted.discard(there)
        return peer

    async def forget(self, key: bytes) -> None:
        self.table.remove(key)

    def doubts(self, key: bytes) -> bool:
        return key in self.doubted


class Air:
    """A Discovery that tells of what a test says."""

    current: Air

    def __init__(self, interfaces: Sequence[str], fleet: bytes, *, found: Callable[[Hint], None], lost: Callable[[Hint], None]) -> None:
        self.found, self.lost = found, lost
        self.proven: list[str] = []
        Air.current = self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def announce(self, **_: Any) -> None:
        pass

    async def look_again(self) -> None:
        pass

    def proved(self, service: str) -> None:
        self.proven.append(service)


class Site:
    def __init__(self, static: Sequence[str] = ()) -> None:
        self.table = PeerTable(100)
        self.wire = Wire(self.table)
        config = PeersConfig(static=tuple(static))
        relay: Any = self.wire
        self.finder = Finder(config, self.table, relay, name="self", key=bytes(32), fleet=FLEET, retry=0.01)

    @property
    def peers(self) -> dict[bytes, str]:
        return {peer.key: peer.address for peer in self.table}

    def says(self, service: str, key: bytes, address: str) -> Hint:
        hint = Hint(service, key, "00000000", address)
        Air.current.found(hint)
        return hint


@asynccontextmanager
async def running(*static: str, nodes: dict[str, bytes] | None = None) -> AsyncIterator[Site]:
    site = Site(static)
    site.wire.nodes.update(nodes or {})
    task = asyncio.create_task(site.finder.run(7420))
    try:
        await until(lambda: site.finder.mdns == "on")
        yield site
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def a_while() -> None:
    await asyncio.sleep(0.1)


@pytest.fixture(autouse=True)
def _on_the_air(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "Discovery", Air)


async def test_who_announces_itself_is_met_once() -> None:
    async with running(nodes={HOME: A}) as site:
        site.says("a", A, HOME)
        await until(lambda: site.peers == {A: HOME})
        await a_while()
        assert site.wire.tried == [HOME]
        assert Air.current.proven == ["a"]


async def test_forged_service_and_its_goodbye_leave_the_live_peer() -> None:
    async with running(nodes={HOME: A}) as site:
        site.says("a", A, HOME)
        await until(lambda: site.peers == {A: HOME})
        Air.current.lost(site.says("forged", A, WRONG))
        Air.current.lost(site.says("forged too", A, HOME))
        await a_while()
        assert site.peers == {A: HOME}


async def test_forged_goodbye_of_the_real_service_costs_one_handshake() -> None:
    async with running(nodes={HOME: A}) as site:
        hint = site.says("a", A, HOME)
        await until(lambda: site.peers == {A: HOME})
        Air.current.lost(hint)
        await a_while()
        assert site.peers == {A: HOME}
        assert site.wire.tried == [HOME, HOME]


async def test_who_says_goodbye_and_goes_is_forgotten() -> None:
    async with running(nodes={HOME: A}) as site:
        hint = site.says("a", A, HOME)
        await until(lambda: site.peers == {A: HOME})
        Air.current.lost(hint)
        site.wire.nodes.clear()
        await until(lambda: not site.peers)
        tried = len(site.wire.tried)
        await a_while()
        assert len(site.wire.tried) == tried
        site.wire.nodes[HOME] = A
        site.says("a", A, HOME)
        await until(lambda: site.peers == {A: HOME})


async def test_hint_with_another_key_replaces_no_peer() -> None:
    async with running(nodes={HOME: A}) as site:
        site.says("a", A, HOME)
        await until(lambda: site.peers == {A: HOME})
        site.says("forged", B, HOME)
        site.says("a", B, HOME)  # the real service's name as well
        await a_while()
        assert site.peers == {A: HOME}


async def test_peer_that_moves_is_met_at_its_new_address() -> None:
    async with running(nodes={HOME: A}) as site:
        site.says("a", A, HOME)
        await until(lambda: site.peers == {A: HOME})
        site.wire.nodes = {AWAY: A}
        site.says("a", A, AWAY)
        await until(lambda: site.peers == {A: AWAY})


async def test_peer_that_is_out_of_reach_is_looked_for_wherever_it_was_said_to_be() -> None:
    async with running(nodes={HOME: A, WRONG: A}) as site:
        site.says("passes calls on until it is found out", A, WRONG)
        await until(lambda: site.peers == {A: WRONG})
        site.says("a", A, HOME)
        await a_while()
        assert site.peers == {A: WRONG}
        del site.wire.nodes[WRONG]
        site.wire.doubted.add(A)
        await until(lambda: site.peers == {A: HOME})


async def test_flood_of_silent_addresses_keeps_no_new_node_waiting_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MEET_WITHIN", 0.1)
    async with running(nodes={HOME: A}) as site:
        for number in range(1000):
            address = f"198.51.100.1:{number + 1}"
            site.wire.silent.add(address)
            site.says(f"invented {number}", number.to_bytes(32, "big"), address)
        await until(lambda: len(site.wire.tried) == find.MEETING)
        site.says("a", A, HOME)
        await until(lambda: site.peers == {A: HOME})
        assert site.wire.tried.index(HOME) < 2 * find.MEETING


async def test_clock_that_is_mended_brings_the_peers_of_hints_and_of_the_config() -> None:
    async with running(AWAY) as site:
        site.wire.nodes = {HOME: A, AWAY: B}
        site.wire.error = ExpiredError("the grant is past its time")
        site.says("a", A, HOME)
        await until(lambda: len(site.wire.tried) >= 6)
        assert not site.peers
        site.wire.error = None
        await until(lambda: site.peers == {A: HOME, B: AWAY})


async def test_tries_become_rarer() -> None:
    async with running() as site:
        site.says("a", A, HOME)
        await asyncio.sleep(0.4)
        assert 3 <= len(site.wire.tried) <= 7


@pytest.mark.parametrize("noticed", ["pin", "unreachable"])
async def test_static_device_that_was_replaced_is_met(noticed: str) -> None:
    async with running(HOME, nodes={HOME: A}) as site:
        await until(lambda: site.peers == {A: HOME})
        site.wire.nodes[HOME] = B
        if noticed == "pin":
            await site.wire.forget(A)  # as Relay does
        else:
            site.wire.doubted.add(A)
        await until(lambda: site.peers == {B: HOME})


async def test_one_node_at_two_addresses_of_the_config_does_not_go_to_and_fro() -> None:
    async with running(HOME, AWAY, nodes={HOME: A, AWAY: A}) as site:
        await until(lambda: A in site.peers)
        await a_while()
        assert len(site.wire.tried) <= 3


async def test_failure_that_nobody_thought_of_ends_nothing() -> None:
    async with running(nodes={HOME: A}) as site:
        error: Any = ZeroDivisionError()
        site.wire.error = error
        site.says("a", A, HOME)
        await until(lambda: len(site.wire.tried) >= 2)
        site.wire.error = None
        await until(lambda: site.peers == {A: HOME})

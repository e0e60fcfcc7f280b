"""What the HTTP uplink believes, against a hub that answers what the test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from edgenode.config import IntakeConfig, UplinkConfig
from edgenode.errors import ConfigError, MalformedError, PinError, RoleError, SignatureError, TrustError, UnknownKeyError, UnreachableError
from edgenode.formats.receipt import Stored
from edgenode.formats.trust import Grant, Role, Roots, Trust
from edgenode.records import Batch, Pending, digest
from edgenode.state import State
from edgenode.transport import wire
from edgenode.transport.server import Caller, Guard, Server, read_body
from edgenode.transport.tls import server_context
from edgenode.trust.identity import Identity
from edgenode.trust.keyring import Keyring
from edgenode.uplink.http import HttpUplink

from .doubles import CHAIN, YEAR, Keys

BATCH = Batch(CHAIN, (Pending(0, digest(b"receipt"), b"receipt"),))
STORED = (Stored(seq=0, digest=digest(b"receipt")),)


class LyingHub:
    """A hub as far as TLS and HTTP go. ``answer`` is what it says to every batch."""

    def __init__(self, keys: Keys, folder: Path) -> None:
        self.keys = keys
        state = State.create(folder)
        keys.hub = state.identity()
        self.answer = b""
        self.bodies: list[bytes] = []
        config = IntakeConfig(host="127.0.0.1", port=0)
        self.server = Server(config, server_context(state.key, state.certificate), Guard(config, self.callers, keys.clock))
        self.server.public("GET", wire.CARD, self.card)
        self.server.guarded("POST", wire.RECEIPTS, self.receive, Role.SUBMITTER)

    def callers(self) -> Keyring:
        # The node is let in by a role, so that this test needs no node documents.
        grant = Grant(role=Role.SUBMITTER, public_key=self.keys.node.public, name="node", expires=self.keys.now + YEAR)
        roots = Roots(threshold=1, keys=(self.keys.hub.public,))
        return Keyring(Trust(fleet=CHAIN, version=1, issued=1, expires=self.keys.now + YEAR, roots=roots, grants=(grant,)))

    async def card(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def receive(self, request: web.Request, caller: Caller) -> web.Response:
        self.bodies.append(await read_body(request, limit=1 << 20, limit_name="test"))
        return web.Response(body=self.answer)


@pytest.fixture
async def hub(keys: Keys, tmp_path: Path) -> AsyncIterator[LyingHub]:
    hub = LyingHub(keys, tmp_path / "hub")
    await hub.server.start()
    yield hub
    await hub.server.stop()


class Dial:
    """Makes uplinks to the hub, and closes them at the end."""

    def __init__(self, hub: LyingHub, keys: Keys) -> None:
        self.hub, self.keys = hub, keys
        self.made: list[HttpUplink] = []

    def __call__(
        self, *, key: bytes | None = None, identity: Identity | None = None, keyring: Callable[[], Keyring] | None = None
    ) -> HttpUplink:
        config = UplinkConfig(url=f"https://127.0.0.1:{self.hub.server.port}/", key=(key or self.keys.hub.public).hex())
        uplink = HttpUplink(
            config,
            identity=identity or self.keys.node,
            node_document=b"",
            keyring=keyring or self.keys.keyring,
            clock=self.keys.clock,
        )
        self.made.append(uplink)
        return uplink


@pytest.fixture
async def dial(hub: LyingHub, keys: Keys) -> AsyncIterator[Dial]:
    dial = Dial(hub, keys)
    yield dial
    for uplink in dial.made:
        await uplink.close()


@pytest.fixture
async def uplink(dial: Dial) -> HttpUplink:
    return dial()


async def test_a_good_acknowledgement_is_believed(hub: LyingHub, uplink: HttpUplink, keys: Keys) -> None:
    hub.answer = keys.ack(STORED)
    verified = await uplink.deliver(BATCH)
    assert (verified.ack.stored, verified.hub) == (STORED, keys.hub.public)
    assert hub.bodies == [wire.encode_parts([b"", b"receipt"])]


async def test_one_of_another_hub_of_the_fleet_is_refused(hub: LyingHub, uplink: HttpUplink, keys: Keys) -> None:
    hub.answer = keys.ack(STORED, by=keys.other_hub)
    with pytest.raises(UnknownKeyError):
        await uplink.deliver(BATCH)


async def test_one_for_another_node_is_refused(hub: LyingHub, uplink: HttpUplink, keys: Keys) -> None:
    hub.answer = keys.ack(STORED, node=keys.other_hub.public)
    with pytest.raises(TrustError, match="of node"):
        await uplink.deliver(BATCH)


async def test_one_for_another_chain_is_refused(hub: LyingHub, uplink: HttpUplink, keys: Keys) -> None:
    hub.answer = keys.ack(STORED, chain=bytes(16))
    with pytest.raises(TrustError, match="chain"):
        await uplink.deliver(BATCH)


async def test_a_changed_one_is_refused(hub: LyingHub, uplink: HttpUplink, keys: Keys) -> None:
    signed = keys.ack(STORED)
    hub.answer = signed[:-1] + bytes([signed[-1] ^ 1])
    with pytest.raises(SignatureError):
        await uplink.deliver(BATCH)


async def test_an_answer_that_is_none_is_refused(hub: LyingHub, uplink: HttpUplink) -> None:
    hub.answer = b"<html>"
    with pytest.raises(MalformedError):
        await uplink.deliver(BATCH)


async def test_a_hub_that_lost_its_role_is_refused(hub: LyingHub, dial: Dial, keys: Keys) -> None:
    hub.answer = keys.ack(STORED)
    with pytest.raises(UnknownKeyError):
        await dial(keyring=Keys().keyring).deliver(BATCH)  # in which this hub's key holds no role


async def test_another_machine_at_the_address_gets_nothing(hub: LyingHub, dial: Dial, keys: Keys) -> None:
    with pytest.raises(PinError):
        await dial(key=keys.other_hub.public).deliver(BATCH)
    assert hub.bodies == []


async def test_what_the_hub_refuses_with_is_raised_here(dial: Dial, keys: Keys) -> None:
    with pytest.raises(RoleError):
        await dial(identity=keys.other_hub).deliver(BATCH)


async def test_a_hub_that_is_away_is_unreachable(hub: LyingHub, uplink: HttpUplink) -> None:
    await hub.server.stop()
    with pytest.raises(UnreachableError):
        await uplink.deliver(BATCH)


@pytest.mark.parametrize(
    "url", ["", "hub:7430", "http://hub:7430", "https://hub", "https://hub:port", "https://hub:1/path", "https://u@hub:1"]
)
def test_a_url_that_cannot_be_used_is_named(url: str, keys: Keys) -> None:
    with pytest.raises(ConfigError, match="url"):
        unused(keys, UplinkConfig(url=url, key=keys.hub.public.hex()))


@pytest.mark.parametrize("key", ["", "00", "G" * 64, "A" * 64])
def test_a_key_that_is_none_is_named(key: str, keys: Keys) -> None:
    with pytest.raises(ConfigError, match="key"):
        unused(keys, UplinkConfig(url="https://hub:1", key=key))


def unused(keys: Keys, config: UplinkConfig) -> HttpUplink:
    return HttpUplink(config, identity=keys.node, node_document=b"", keyring=keys.keyring, clock=keys.clock)

"""A hub on a loopback port: who may call what, what it answers, how it starts and stops."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from edgenode.errors import CallerError, ConfigError, ExpiredError, LimitError, MalformedError, RoleError, StorageError, UnknownKeyError
from edgenode.formats import httpsig
from edgenode.hub.api import Hub
from edgenode.records import digest
from edgenode.transport import wire
from edgenode.transport.client import Client
from edgenode.transport.tls import client_context
from edgenode.transport.wire import BATCH_BODY_BYTES, BATCH_RECEIPTS
from edgenode.trust.verify import verify_ack

from .conftest import Connect
from .fleet import Fleet, Member, write_config

JOB = bytes(range(16))


@pytest.fixture
async def submitter(connect: Connect, fleet: Fleet) -> AsyncIterator[Client]:
    yield connect(fleet.submitter)


@pytest.fixture
async def sender(connect: Connect, node: Member) -> AsyncIterator[Client]:
    yield connect(node.identity, node.document)


async def post(client: Client, node: Member, receipts: list[bytes]) -> bytes:
    return await client.request("POST", wire.RECEIPTS, wire.encode_parts([node.document, *receipts]))


def pairs(body: bytes) -> list[tuple[bytes, bytes]]:
    parts = wire.decode_parts(body, least=0, most=2048, limit=1 << 24, limit_name="test")
    return list(zip(parts[::2], parts[1::2], strict=True))


async def test_anybody_may_read_the_card(hub: Hub, connect: Connect, fleet: Fleet) -> None:
    card = json.loads(await connect(fleet.root).card())
    assert card == {
        "api": 1,
        "kind": "hub",
        "name": "hub-1",
        "key": fleet.hub.public.hex(),
        "fleet": fleet.id.hex(),
        "trust_version": 1,
    }
    assert hub.public_key == fleet.hub.public


async def test_receipts_go_in_signed_and_come_out_as_they_were(sender: Client, submitter: Client, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(3, job=JOB)
    ack = verify_ack(await post(sender, node, receipts), fleet.keyring(), fleet.now, hub=fleet.hub.public).ack
    assert [one.digest for one in ack.stored] == [digest(data) for data in receipts]
    body = await submitter.request("GET", f"{wire.RECEIPTS}?job={JOB.hex()}")
    assert pairs(body) == [(data, node.document) for data in receipts]


async def test_a_peer_may_bring_the_receipts_of_another_node(connect: Connect, fleet: Fleet, node: Member) -> None:
    relay = fleet.node("relay")
    data = await post(connect(relay.identity, relay.document), node, node.receipts(2))
    assert verify_ack(data, fleet.keyring(), fleet.now, hub=fleet.hub.public).ack.node == node.identity.public


async def test_pages_are_followed_by_the_cursor(hub: Hub, sender: Client, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(5, job=JOB)
    await post(sender, node, receipts)
    found: list[bytes] = []
    cursor = "0"
    for expected in (2, 2, 1, 0):
        cursor, body = await signed_get(hub, fleet, f"{wire.RECEIPTS}?job={JOB.hex()}&after={cursor}&limit=2")
        assert len(pairs(body)) == expected
        found += [receipt for receipt, _ in pairs(body)]
    assert found == receipts


async def signed_get(hub: Hub, fleet: Fleet, target: str) -> tuple[str, bytes]:
    """A call that also shows the cursor, which stands in a header."""
    identity = fleet.submitter
    async with aiohttp.ClientSession(f"https://127.0.0.1:{hub.port}", connector=aiohttp.TCPConnector(ssl=client_context())) as session:
        async with session.get(wire.CARD) as response:
            boot = response.headers[httpsig.BOOT_HEADER]
        headers = httpsig.sign(
            "GET",
            target,
            httpsig.content_digest(b""),
            boot=boot,
            nonce=os.urandom(16).hex(),
            created=fleet.now,
            expires=fleet.now + 60,
            keyid=identity.public,
            signer=identity.sign,
        )
        async with session.get(target, headers=headers) as response:
            assert response.status == 200
            return response.headers[wire.CURSOR_HEADER], await response.read()


@pytest.mark.parametrize(
    "query", ["limit=5", "job=00", "job={job}&limit=0", "job={job}&limit=2000", "job={job}&after=-1", "job={job}&after=x"]
)
async def test_a_query_that_makes_no_sense_is_refused(query: str, submitter: Client) -> None:
    with pytest.raises(MalformedError):
        await submitter.request("GET", f"{wire.RECEIPTS}?{query.format(job=JOB.hex())}")


async def test_the_status_counts_receipts_and_names_conflicts(sender: Client, submitter: Client, node: Member) -> None:
    clone = node.receipt(1, job=JOB, summary=b"another")
    await post(sender, node, node.receipts(2, job=JOB))
    await post(sender, node, [clone])
    status = json.loads(await submitter.request("GET", wire.STATUS))
    (counted,) = status["nodes"]
    assert (status["receipts"], status["conflicts"]) == (2, 1)
    assert (counted["name"], counted["public_key"], counted["receipts"]) == ("node-1", node.identity.public.hex(), 2)
    assert counted["last_received_ns"] > 0
    (conflict,) = status["newest_conflicts"]
    assert (conflict["kind"], conflict["seq"], conflict["second"]) == ("seq", 1, digest(clone).hex())


async def test_each_call_is_for_its_roles(connect: Connect, sender: Client, submitter: Client, fleet: Fleet, node: Member) -> None:
    by_job = f"{wire.RECEIPTS}?job={JOB.hex()}"
    for client, method, target in [
        (submitter, "POST", wire.RECEIPTS),
        (sender, "GET", by_job),
        (sender, "GET", wire.STATUS),
        (connect(fleet.publisher), "GET", wire.STATUS),
        (connect(fleet.root), "GET", wire.STATUS),
        (connect(node.identity), "POST", wire.RECEIPTS),  # a node that does not show its document
    ]:
        with pytest.raises(RoleError):
            await client.request(method, target)
    for client, target in [(connect(fleet.publisher), by_job), (connect(fleet.registrar), by_job), (connect(fleet.registrar), wire.STATUS)]:
        await client.request("GET", target)


async def test_a_caller_of_another_fleet_is_refused(connect: Connect) -> None:
    stranger = Fleet().node()
    with pytest.raises(UnknownKeyError):
        await post(connect(stranger.identity, stranger.document), stranger, stranger.receipts(1))


async def test_a_node_whose_document_has_expired_is_refused(connect: Connect, fleet: Fleet) -> None:
    late = fleet.node(expires=fleet.now - 1)
    with pytest.raises(ExpiredError):
        await post(connect(late.identity, late.document), late, late.receipts(1))


async def test_an_unsigned_request_is_refused(hub: Hub) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context())) as session,
        session.get(f"https://127.0.0.1:{hub.port}{wire.STATUS}") as response,
    ):
        assert response.status == CallerError.status


async def test_a_body_past_the_limit_is_refused(sender: Client) -> None:
    with pytest.raises(LimitError, match=r"uplink\.batch_bytes"):
        await sender.request("POST", wire.RECEIPTS, bytes(BATCH_BODY_BYTES + 1))


@pytest.mark.parametrize("body", [b"", b"\xff", wire.encode_parts([b"alone"]), wire.encode_parts([b"x"] * (BATCH_RECEIPTS + 2))])
async def test_a_body_that_is_no_batch_is_refused(body: bytes, sender: Client) -> None:
    with pytest.raises(MalformedError):
        await sender.request("POST", wire.RECEIPTS, body)


async def test_the_largest_batch_goes_through(sender: Client, fleet: Fleet, node: Member) -> None:
    data = await post(sender, node, node.receipts(BATCH_RECEIPTS))
    assert len(verify_ack(data, fleet.keyring(), fleet.now, hub=fleet.hub.public).ack.stored) == BATCH_RECEIPTS


async def test_a_restarted_hub_has_all_and_is_found_again(
    hub: Hub, sender: Client, submitter: Client, node: Member, tmp_path: Path
) -> None:
    write_config(tmp_path / "hub", hub.port)
    await post(sender, node, node.receipts(2, job=JOB))
    await hub.stop()
    await hub.start()
    body = await submitter.request("GET", f"{wire.RECEIPTS}?job={JOB.hex()}")
    assert len(pairs(body)) == 2


async def test_a_stopped_hub_frees_the_folder_the_database_and_the_port(fleet: Fleet, tmp_path: Path) -> None:
    hub = Hub(fleet.write_hub(tmp_path / "hub"), fleet.clock)
    await hub.start()
    await hub.stop()
    await hub.start()
    await hub.stop()


async def test_a_taken_port_is_named_and_leaves_the_folder_free(fleet: Fleet, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        folder = fleet.write_hub(tmp_path / "hub", port=taken.getsockname()[1])
        hub = Hub(folder, fleet.clock)
        with pytest.raises(ConfigError, match="port is in use"):
            await hub.start()
    await hub.start()
    await hub.stop()


async def test_a_second_hub_on_the_folder_is_refused(hub: Hub, fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="another process"):
        await Hub(tmp_path / "hub", fleet.clock).start()


@pytest.mark.parametrize("missing", ["hub.toml", "key.pem", "trust.cbor"])
async def test_a_missing_file_is_named(missing: str, fleet: Fleet, tmp_path: Path) -> None:
    folder = fleet.write_hub(tmp_path / "hub")
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=missing):
        await Hub(folder, fleet.clock).start()


@pytest.mark.parametrize("at", [0, 100, -1])
async def test_a_damaged_trust_document_is_named(at: int, fleet: Fleet, tmp_path: Path) -> None:
    trust = bytearray(fleet.trust())
    trust[at] ^= 1
    folder = fleet.write_hub(tmp_path / "hub")
    (folder / "trust.cbor").write_bytes(trust)
    with pytest.raises(ConfigError, match=r"trust\.cbor"):
        await Hub(folder, fleet.clock).start()


async def test_a_key_without_the_role_is_warned_of(fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = fleet.write_hub(tmp_path / "hub")
    (folder / "trust.cbor").write_bytes(fleet.trust(hub=False))
    hub = Hub(folder, fleet.clock)
    await hub.start()
    await hub.stop()
    assert "does not hold the role hub" in caplog.text


async def test_a_key_with_the_role_is_not(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    assert "role" not in caplog.text

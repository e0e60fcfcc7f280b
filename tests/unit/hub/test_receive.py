"""The stages of a batch: what is refused whole, what is rejected alone, what is acknowledged."""

from __future__ import annotations

import pytest

from edgenode.errors import ExpiredError, MalformedError, RevokedError, SignatureError, StorageFullError, UnknownKeyError
from edgenode.formats.receipt import Ack, Rejected, Stored
from edgenode.hub.receive import receive
from edgenode.hub.store import HubStore
from edgenode.records import digest
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import reload_trust, verify_ack

from .fleet import Fleet, Member


async def send(store: HubStore, fleet: Fleet, *parts: bytes, keyring: Keyring | None = None) -> Ack:
    keyring = keyring or fleet.keyring()
    data = await receive(parts, keyring=keyring, store=store, identity=fleet.hub, clock=fleet.clock)
    return verify_ack(data, keyring, fleet.now, hub=fleet.hub.public).ack


def flipped(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


async def test_the_acknowledgement_names_node_chain_and_receipts(store: HubStore, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(3)
    ack = await send(store, fleet, node.document, *receipts)
    assert (ack.node, ack.chain) == (node.identity.public, node.chain)
    assert ack.stored == tuple(Stored(seq=seq, digest=digest(data)) for seq, data in enumerate(receipts))
    assert ack.rejected == ()


async def test_bad_receipts_are_rejected_by_code_while_the_others_are_stored(store: HubStore, fleet: Fleet, node: Member) -> None:
    good = node.receipts(6)
    foreign = fleet.node("other").receipt(5)
    bad = [flipped(good[1]), b"\xff no cbor", foreign]
    ack = await send(store, fleet, node.document, good[0], bad[0], good[2], bad[1], good[4], bad[2])
    assert [one.seq for one in ack.stored] == [0, 2, 4]
    assert ack.rejected == (
        Rejected(seq=1, digest=digest(bad[0]), code="signature"),
        Rejected(seq=0, digest=digest(bad[1]), code="malformed"),
        Rejected(seq=5, digest=digest(foreign), code="unknown-key"),
    )


async def test_a_batch_of_bad_receipts_alone_is_answered(store: HubStore, fleet: Fleet, node: Member) -> None:
    bad = flipped(node.receipt(3))
    ack = await send(store, fleet, node.document, bad)
    assert (ack.chain, ack.stored, ack.rejected) == (node.chain, (), (Rejected(seq=3, digest=digest(bad), code="signature"),))
    assert (await store.nodes())[0].receipts == 0


async def test_a_batch_that_nobody_can_read_is_refused(store: HubStore, fleet: Fleet, node: Member) -> None:
    with pytest.raises(MalformedError, match="0 chains"):
        await send(store, fleet, node.document, b"\x00", b"\x01")


async def test_a_batch_of_two_chains_is_refused_whole(store: HubStore, fleet: Fleet, node: Member) -> None:
    with pytest.raises(MalformedError, match="2 chains"):
        await send(store, fleet, node.document, node.receipt(0), node.receipt(1, chain=b"another chain 16"))
    assert await store.nodes() == ()


async def test_a_node_that_no_registrar_signed_is_refused(store: HubStore, fleet: Fleet) -> None:
    stranger = fleet.node(registrar=fleet.root)
    with pytest.raises(UnknownKeyError):
        await send(store, fleet, stranger.document, stranger.receipt(0))


async def test_a_changed_node_document_is_refused(store: HubStore, fleet: Fleet, node: Member) -> None:
    with pytest.raises(SignatureError):
        await send(store, fleet, flipped(node.document), node.receipt(0))


async def test_an_expired_node_document_is_refused(store: HubStore, fleet: Fleet) -> None:
    late = fleet.node(expires=fleet.now - 1)
    with pytest.raises(ExpiredError):
        await send(store, fleet, late.document, late.receipt(0))


async def test_a_revoked_node_is_refused(store: HubStore, fleet: Fleet, node: Member) -> None:
    keyring = Keyring(reload_trust(fleet.trust(revoked=(node.identity.public,))).trust)
    with pytest.raises(RevokedError):
        await send(store, fleet, node.document, node.receipt(0), keyring=keyring)


async def test_a_conflict_is_rejected_and_the_rest_stored(store: HubStore, fleet: Fleet, node: Member) -> None:
    await send(store, fleet, node.document, node.receipt(0))
    clone = node.receipt(0, summary=b"another")
    ack = await send(store, fleet, node.document, clone, node.receipt(1))
    assert ack.rejected == (Rejected(seq=0, digest=digest(clone), code="conflict"),)
    assert [one.seq for one in ack.stored] == [1]


async def test_nothing_is_acknowledged_on_a_full_disk(store: HubStore, fleet: Fleet, node: Member) -> None:
    writing = store._database._writer
    (pages,) = writing.execute("PRAGMA page_count").fetchone()
    writing.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFullError):
        await send(store, fleet, node.document, *node.receipts(50))
    writing.execute("PRAGMA max_page_count = 1000000")
    assert len((await send(store, fleet, node.document, *node.receipts(50))).stored) == 50

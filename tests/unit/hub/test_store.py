"""The hub's store: every receipt once, conflicts kept, nothing half done."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from edgenode.errors import StorageError, StorageFullError
from edgenode.formats.receipt import Measured, Notice, Receipt, ReceiptKind, Rejected, Stored, TrustState
from edgenode.hub.store import HubStore, Page
from edgenode.records import ClockState, digest
from edgenode.trust.issue import issue

from .fleet import Fleet, Member

JOB = bytes(range(16))
MIB = 1 << 20


async def put(store: HubStore, fleet: Fleet, node: Member, receipts: list[bytes], at: int = 1) -> tuple[Stored | Rejected, ...]:
    return await store.store(*fleet.verified(node, receipts), at)


async def everything(store: HubStore, job: bytes = JOB) -> list[bytes]:
    return [receipt for receipt, _ in (await store.receipts(job, 0, 100_000, 1 << 30)).receipts]


async def test_receipts_are_named_stored_in_order(store: HubStore, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(3, job=JOB)
    assert await put(store, fleet, node, receipts) == tuple(Stored(seq=seq, digest=digest(data)) for seq, data in enumerate(receipts))
    assert await everything(store) == receipts


async def test_a_receipt_sent_again_is_stored_once_and_named_again(store: HubStore, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(3, job=JOB)
    first = await put(store, fleet, node, receipts)
    assert await put(store, fleet, node, [*receipts, receipts[0]]) == (*first, first[0])
    assert await everything(store) == receipts
    assert [count.receipts for count in await store.nodes()] == [3]


async def test_nodes_do_not_stand_in_each_others_way(store: HubStore, fleet: Fleet) -> None:
    one, two = fleet.node("one"), fleet.node("two")
    two.chain = one.chain
    await put(store, fleet, one, one.receipts(2, job=JOB), at=5)
    await put(store, fleet, two, two.receipts(3, job=JOB), at=7)
    counts = await store.nodes()
    assert [(count.name, count.receipts, count.conflicts, count.last_received_ns) for count in counts] == [
        ("one", 2, 0, 5),
        ("two", 3, 0, 7),
    ]


async def test_a_second_core_for_a_step_is_stored_and_flagged(store: HubStore, fleet: Fleet, node: Member) -> None:
    first = node.receipt(0, job=JOB, step=7, summary=b"1")
    other = node.receipt(1, job=JOB, step=7, summary=b"2")
    for _ in range(2):  # sent twice, flagged once
        verdicts = await put(store, fleet, node, [first, other])
        assert all(isinstance(one, Stored) for one in verdicts)
    (conflict,) = await store.conflicts(10)
    assert (conflict.kind, conflict.public_key, conflict.seq) == ("core", node.identity.public, 0)
    assert (conflict.first, conflict.second) == (digest(first), digest(other))
    assert await everything(store) == [first, other]
    assert (await store.nodes())[0].conflicts == 1


async def test_the_same_core_twice_is_no_conflict(store: HubStore, fleet: Fleet, node: Member) -> None:
    await put(store, fleet, node, [node.receipt(seq, job=JOB, step=0, summary=b"1") for seq in (0, 1)])
    assert await store.conflicts(10) == ()


async def test_two_nodes_may_differ_in_a_step(store: HubStore, fleet: Fleet) -> None:
    for name in ("one", "two"):
        node = fleet.node(name)
        await put(store, fleet, node, [node.receipt(0, job=JOB, step=0, summary=name.encode())])
    assert await store.conflicts(10) == ()


async def test_another_receipt_in_the_same_place_is_rejected_and_its_bytes_kept(store: HubStore, fleet: Fleet, node: Member) -> None:
    mine, clone = node.receipt(0, job=JOB, summary=b"1"), node.receipt(0, job=JOB, step=9, summary=b"2")
    await put(store, fleet, node, [mine])
    for _ in range(2):
        assert await put(store, fleet, node, [clone]) == (Rejected(seq=0, digest=digest(clone), code="conflict"),)
    (conflict,) = await store.conflicts(10)
    assert (conflict.kind, conflict.chain, conflict.second) == ("seq", node.chain, digest(clone))
    assert await everything(store) == [mine]
    assert (await store.nodes())[0].conflicts == 1
    kept = store._database.read(lambda db: db.execute("SELECT data FROM conflicts").fetchall())
    assert kept == [(clone,)]


async def test_receipts_of_no_step_are_found_by_the_job_of_their_notice(store: HubStore, fleet: Fleet, node: Member) -> None:
    fault = issue(
        Receipt(
            kind=ReceiptKind.FAULT,
            chain=node.chain,
            seq=0,
            prev=bytes(32),
            measured=Measured(finished_ns=1, clock=ClockState.UNKNOWN, trust=TrustState.VALID),
            notice=Notice(code="worker-died", text="the worker died", job=JOB),
        ),
        node.identity,
    )
    await put(store, fleet, node, [fault])
    assert await everything(store) == [fault]


async def test_pages_follow_each_other_without_hole_or_overlap(store: HubStore, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(10, job=JOB)
    await put(store, fleet, node, receipts)
    found: list[bytes] = []
    page = Page((), 0)
    while (page := await store.receipts(JOB, page.cursor, 3, MIB)).receipts:
        assert len(page.receipts) <= 3
        assert all(document == node.document for _, document in page.receipts)
        found += [receipt for receipt, _ in page.receipts]
    assert found == receipts
    assert (await store.receipts(JOB, page.cursor, 3, MIB)).cursor == page.cursor


async def test_a_page_is_bounded_in_bytes_and_never_stuck(store: HubStore, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(3, job=JOB)
    await put(store, fleet, node, receipts)
    assert len((await store.receipts(JOB, 0, 10, 1)).receipts) == 1
    two = len(receipts[0]) + len(receipts[1]) + 2 * len(node.document)
    assert len((await store.receipts(JOB, 0, 10, two)).receipts) == 2


async def test_batches_that_come_together_are_all_stored(store: HubStore, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(60, job=JOB)
    # Each is sent by two callers at once, as a node and a peer that relays for it would.
    await asyncio.gather(*(put(store, fleet, node, [data]) for data in receipts for _ in range(2)))
    assert sorted(await everything(store)) == sorted(receipts)


async def test_a_caller_that_goes_away_harms_nobody(store: HubStore, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(2, job=JOB)
    given_up = asyncio.ensure_future(put(store, fleet, node, receipts[:1]))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await put(store, fleet, node, receipts)
    assert sorted(await everything(store)) == sorted(receipts)


async def test_a_full_disk_stores_nothing_of_the_batch_and_passes(store: HubStore, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(200, job=JOB)
    await put(store, fleet, node, receipts[:10])

    # Only a connection can limit itself; the writer is idle meanwhile.
    writing = store._database._writer
    (pages,) = writing.execute("PRAGMA page_count").fetchone()
    writing.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(StorageFullError):
        await put(store, fleet, node, receipts)
    assert await everything(store) == receipts[:10]
    assert [count.receipts for count in await store.nodes()] == [10]

    writing.execute("PRAGMA max_page_count = 1000000")
    await put(store, fleet, node, receipts)
    assert await everything(store) == receipts


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path, fleet: Fleet, node: Member) -> None:
    receipts = node.receipts(5, job=JOB)
    store = HubStore(tmp_path / "hub.db")
    await put(store, fleet, node, receipts)
    store.close()
    store = HubStore(tmp_path / "hub.db")
    assert await everything(store) == receipts
    store.close()


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.mark.parametrize("damage", ["header", "middle"])
async def test_a_damaged_file_is_set_aside_and_named(
    damage: str, tmp_path: Path, fleet: Fleet, node: Member, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "hub.db"
    store = HubStore(path)
    await put(store, fleet, node, node.receipts(100, job=JOB))
    store.close()
    data = bytearray(path.read_bytes())
    start = 0 if damage == "header" else 3 * 4096
    data[start : start + 8192] = b"\xff" * 8192
    path.write_bytes(data)

    with caplog.at_level(logging.ERROR):
        store = HubStore(path)
    aside = only(tmp_path, "hub.db.damaged-*")
    assert aside.read_bytes() == data
    assert aside.name in caplog.text and "damaged" in caplog.text
    await put(store, fleet, node, node.receipts(1, job=JOB))
    assert len(await everything(store)) == 1
    store.close()


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    store = HubStore(path)
    store._database.write(lambda db: db.execute("PRAGMA user_version = 99"))
    store.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="99"):
        HubStore(path)
    assert path.read_bytes() == before


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing/hub\.db"):
        HubStore(tmp_path / "missing" / "hub.db")

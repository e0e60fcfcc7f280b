"""The outbox: in order, within its bounds, and only the right acknowledgement takes something out."""

from __future__ import annotations

import sqlite3

import pytest

from edgenode.formats.receipt import Ack, Rejected, Stored
from edgenode.ledger.outbox import Outbox
from edgenode.ledger.store import Ledger, ReceiptRow

from .documents import Documents, a_commit, accept

COUNT = 6


@pytest.fixture
def rows(ledger: Ledger, documents: Documents) -> list[ReceiptRow]:
    job = documents.job()
    accept(ledger, documents, job, steps=COUNT)
    return [ledger.commit_step(a_commit(job.job, step), documents.seal(str(step) * 50)) for step in range(COUNT)]


def ack(
    ledger: Ledger, *, stored: list[ReceiptRow] | None = None, rejected: list[Rejected] | None = None, chain: bytes | None = None
) -> Ack:
    known = tuple(Stored(seq=row.seq, digest=row.digest) for row in stored or [])
    return Ack(node=bytes(32), chain=chain or ledger.chain, issued=0, stored=known, rejected=tuple(rejected or []))


def seqs(outbox: Outbox, limit: int = 100, limit_bytes: int = 1 << 20) -> list[int]:
    batch = outbox.pending(limit, limit_bytes)
    return [] if batch is None else [one.seq for one in batch.receipts]


def test_an_empty_outbox_has_no_batch(outbox: Outbox) -> None:
    assert outbox.pending(10, 1000) is None
    assert (outbox.waiting(), outbox.rejected()) == (0, 0)


def test_a_batch_is_the_oldest_in_order_and_whole(ledger: Ledger, outbox: Outbox, rows: list[ReceiptRow]) -> None:
    batch = outbox.pending(4, 1 << 20)
    assert batch is not None
    assert batch.chain == ledger.chain
    assert [(one.seq, one.digest, one.data) for one in batch.receipts] == [(row.seq, row.digest, row.data) for row in rows[:4]]


def test_a_batch_keeps_to_its_bytes_but_for_a_first_receipt_that_has_more(outbox: Outbox, rows: list[ReceiptRow]) -> None:
    sizes = [len(row.data) for row in rows]
    assert seqs(outbox, limit_bytes=sum(sizes[:3])) == [0, 1, 2]
    assert seqs(outbox, limit_bytes=sum(sizes[:3]) - 1) == [0, 1]
    assert seqs(outbox, limit_bytes=1) == [0]


def test_what_the_hub_stored_goes(ledger: Ledger, outbox: Outbox, rows: list[ReceiptRow]) -> None:
    assert outbox.settle(ack(ledger, stored=[rows[0], rows[3]])) == 2
    assert seqs(outbox) == [1, 2, 4, 5]
    assert outbox.settle(ack(ledger, stored=[rows[0]])) == 0
    assert outbox.waiting() == 4


def test_a_digest_seq_or_chain_that_is_not_ours_settles_nothing(ledger: Ledger, outbox: Outbox, rows: list[ReceiptRow]) -> None:
    assert outbox.settle(ack(ledger, stored=[rows[0]._replace(digest=bytes(32))])) == 0
    assert outbox.settle(ack(ledger, stored=[rows[0]._replace(seq=1)])) == 0
    assert outbox.settle(ack(ledger, stored=rows, chain=bytes(16))) == 0
    assert outbox.settle(ack(ledger, rejected=[Rejected(seq=0, digest=bytes(32), code="malformed")])) == 0
    assert (outbox.waiting(), outbox.rejected()) == (COUNT, 0)


def test_a_rejected_receipt_goes_is_counted_and_stays_in_the_ledger(
    ledger: Ledger, outbox: Outbox, rows: list[ReceiptRow], documents: Documents
) -> None:
    """By its digest: the hub may not have been able to read the seq."""
    assert outbox.settle(ack(ledger, stored=[rows[0]], rejected=[Rejected(seq=0, digest=rows[2].digest, code="malformed")])) == 2
    assert seqs(outbox) == [1, 3, 4, 5]
    assert outbox.rejected() == 1
    assert len(ledger.receipts(documents.job().job.id)) == COUNT


def test_a_receipt_that_the_disk_has_changed_holds_nothing_up(
    ledger: Ledger, outbox: Outbox, rows: list[ReceiptRow], caplog: pytest.LogCaptureFixture
) -> None:
    def damage(db: sqlite3.Connection) -> None:
        db.execute("UPDATE receipts SET data = ? WHERE seq IN (0, 4)", (b"changed",))

    ledger.database.write(damage)
    assert seqs(outbox) == [1, 2, 3, 5]
    assert outbox.rejected() == 2
    assert "changed on the disk" in caplog.text


def test_a_batch_is_of_one_chain(ledger: Ledger, outbox: Outbox, rows: list[ReceiptRow], documents: Documents) -> None:
    def begin_another(db: sqlite3.Connection) -> None:
        db.execute("UPDATE chain SET chain = ?, next_seq = 0", (b"\xff" * 16,))  # as a restore does

    ledger.database.write(begin_another)
    job = documents.job(id=b"\1" * 16)
    accept(ledger, documents, job)
    ledger.commit_step(a_commit(job.job), documents.seal())
    assert outbox.waiting() == COUNT + 1
    batch = outbox.pending(100, 1 << 20)
    assert batch is not None
    assert outbox.settle(ack(ledger, stored=rows if batch.chain == rows[0].chain else [])) == COUNT
    rest = outbox.pending(100, 1 << 20)
    assert rest is not None
    assert (rest.chain, [one.seq for one in rest.receipts]) == (b"\xff" * 16, [0])

"""The receipts that upstream has not acknowledged. Only a signed acknowledgement removes one; an upload that fails changes nothing."""

from __future__ import annotations

import functools
import logging
import sqlite3

from edgenode.database import Database
from edgenode.formats.receipt import Ack
from edgenode.records import Batch, Pending, digest

log = logging.getLogger(__name__)

_SETTLE = (
    "DELETE FROM outbox WHERE chain = ? AND seq = ?"
    " AND (SELECT digest FROM receipts AS r WHERE r.chain = outbox.chain AND r.seq = outbox.seq) = ?"
)


class Outbox:
    """A view of the ledger for the forwarder. All calls block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self, limit: int, limit_bytes: int) -> Batch | None:
        """The oldest waiting receipts of one chain: at most ``limit``, and no more bytes than ``limit_bytes`` unless the first has them.

        A receipt whose bytes the disk has changed can never be acknowledged: it is taken out, counted as rejected and told in the log.
        """
        while (found := self._database.read(lambda db: _oldest(db, limit, limit_bytes))) is not None:
            damaged = [one.seq for one in found.receipts if digest(one.data) != one.digest]
            if not damaged:
                return found
            log.error("receipts %s of chain %s were changed on the disk, and cannot be forwarded", damaged, found.chain.hex())
            self._database.write(functools.partial(_reject_damaged, chain=found.chain, seqs=damaged))
        return None

    def settle(self, ack: Ack) -> int:
        """Take out what the hub says it stored, and what it says it never will; how many.

        A stored receipt is known by seq and digest, a rejected one by its digest alone: the hub may not have been able to read a seq.
        What is not in this outbox settles nothing.
        """

        def change(db: sqlite3.Connection) -> int:
            settled = 0
            for stored in ack.stored:
                settled += db.execute(_SETTLE, (ack.chain, stored.seq, stored.digest)).rowcount
            for rejected in ack.rejected:
                waiting = "SELECT seq FROM outbox JOIN receipts USING (chain, seq) WHERE chain = ? AND digest = ?"
                for (seq,) in db.execute(waiting, (ack.chain, rejected.digest)).fetchall():
                    settled += _reject(db, ack.chain, seq, rejected.code)
            return settled

        return self._database.write(change)

    def waiting(self) -> int:
        return int(self._database.read(lambda db: db.execute("SELECT count(*) FROM outbox").fetchone()[0]))

    def rejected(self) -> int:
        return int(self._database.read(lambda db: db.execute("SELECT count(*) FROM rejected").fetchone()[0]))


def _oldest(db: sqlite3.Connection, limit: int, limit_bytes: int) -> Batch | None:
    rows = db.execute(
        "SELECT o.chain, o.seq, r.digest, r.data FROM outbox AS o JOIN receipts AS r ON r.chain = o.chain AND r.seq = o.seq"
        " WHERE o.chain = (SELECT chain FROM outbox LIMIT 1) ORDER BY o.seq LIMIT ?",
        (limit,),
    )
    chain = b""
    taken: list[Pending] = []
    size = 0
    for chain, seq, name, data in rows:  # noqa: B007 - the same in each row
        size += len(data)
        if taken and size > limit_bytes:
            break
        taken.append(Pending(seq, name, data))
    rows.close()  # ends the read transaction, which would hold the WAL back
    return Batch(chain, tuple(taken)) if taken else None


def _reject(db: sqlite3.Connection, chain: bytes, seq: int, code: str) -> int:
    db.execute("INSERT OR REPLACE INTO rejected VALUES (?, ?, ?)", (chain, seq, code))
    return db.execute("DELETE FROM outbox WHERE chain = ? AND seq = ?", (chain, seq)).rowcount


def _reject_damaged(db: sqlite3.Connection, *, chain: bytes, seqs: list[int]) -> None:
    for seq in seqs:
        _reject(db, chain, seq, "damaged")

"""What the hub holds: every receipt once, who sent it, and what contradicts what."""

from __future__ import annotations

import asyncio
import functools
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgenode.database import Database
from edgenode.errors import ConflictError
from edgenode.formats.receipt import Rejected, Stored
from edgenode.records import digest
from edgenode.trust.verify import VerifiedNode, VerifiedReceipt

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Page:
    """Receipts with the node document that each came with, oldest first, and the cursor that the next page starts after."""

    receipts: tuple[tuple[bytes, bytes], ...]
    cursor: int


@dataclass(frozen=True, slots=True)
class NodeCount:
    public_key: bytes
    name: str
    receipts: int
    conflicts: int
    last_received_ns: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two receipts of one node that contradict each other. ``kind``: "core" or "seq" (schema.sql says what they are)."""

    kind: str
    public_key: bytes
    chain: bytes  # where the first one stands
    seq: int
    first: bytes  # digests
    second: bytes
    received_ns: int


class HubStore:
    """Receipts in one SQLite file. Requests that arrive together share a commit."""

    def __init__(self, path: Path) -> None:
        """Open or begin the file; it blocks while that is checked. Raises StorageError."""
        schema = resources.files("edgenode.hub").joinpath("schema.sql").read_text(encoding="utf-8")
        self._database = Database(path, schema, SCHEMA_VERSION)
        if aside := self._database.set_aside:
            log.error("receipts that were acknowledged are in %s now: 'sqlite3 %s .recover' may salvage them", aside, aside)

    def close(self) -> None:
        """Commit what was begun, and close."""
        self._database.close()

    async def store(self, node: VerifiedNode, receipts: Sequence[VerifiedReceipt], received_ns: int) -> tuple[Stored | Rejected, ...]:
        """Store receipts of one node; for each, in order, whether it is there. Returns when they are on the disk.

        One that is there already is named as stored again. Raises StorageError (StorageFullError): then none of them may be believed
        stored. A cancelled call may still store them.
        """
        change = functools.partial(_store, node=node, receipts=receipts, received_ns=received_ns)
        # Shielded: the database finishes what it was given, whether or not the caller still waits.
        return await asyncio.shield(asyncio.wrap_future(self._database.submit(change)))

    async def receipts(self, job: bytes, after: int, limit: int, limit_bytes: int) -> Page:
        """The receipts of a job that came after the cursor: at most ``limit`` and ``limit_bytes``, but one at least."""
        query = functools.partial(_page, job=job, after=after, limit=limit, limit_bytes=limit_bytes)
        return await asyncio.to_thread(self._database.read, query)

    async def nodes(self) -> tuple[NodeCount, ...]:
        return await asyncio.to_thread(self._database.read, _nodes)

    async def conflicts(self, limit: int) -> tuple[Conflict, ...]:
        """The newest conflicts, newest first."""
        return await asyncio.to_thread(self._database.read, functools.partial(_conflicts, limit=limit))


def _store(
    db: sqlite3.Connection, node: VerifiedNode, receipts: Sequence[VerifiedReceipt], received_ns: int
) -> tuple[Stored | Rejected, ...]:
    (node_id,) = db.execute(
        "INSERT INTO nodes (public_key, name, last_received_ns) VALUES (?, ?, ?)"
        " ON CONFLICT (public_key) DO UPDATE SET name = excluded.name, last_received_ns = excluded.last_received_ns RETURNING id",
        (node.node.public_key, node.node.name, received_ns),
    ).fetchone()
    name = digest(node.data)
    db.execute("INSERT INTO node_documents (digest, data) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, node.data))
    (document_id,) = db.execute("SELECT id FROM node_documents WHERE digest = ?", (name,)).fetchone()
    return tuple(_store_one(db, node_id, document_id, one, received_ns) for one in receipts)


def _store_one(db: sqlite3.Connection, node: int, document: int, one: VerifiedReceipt, received_ns: int) -> Stored | Rejected:
    receipt, core, notice = one.receipt, one.core, one.receipt.notice
    about = core or notice
    core_digest = digest(receipt.core) if core else None
    revision = core.revision if core else None
    inserted = db.execute(
        "INSERT INTO receipts (node, chain, seq, digest, job, generation, step, revision, core, received_ns, node_document, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
        (
            node,
            receipt.chain,
            receipt.seq,
            one.digest,
            about.job if about else None,
            about.generation if about else None,
            about.step if about else None,
            revision,
            core_digest,
            received_ns,
            document,
            one.data,
        ),
    ).fetchone()
    if inserted is None:
        first, there = db.execute(
            "SELECT id, digest FROM receipts WHERE node = ? AND chain = ? AND seq = ?", (node, receipt.chain, receipt.seq)
        ).fetchone()
        if there == one.digest:
            return Stored(seq=receipt.seq, digest=one.digest)
        _flag(db, "seq", node, first, None, one, received_ns, document)
        return Rejected(seq=receipt.seq, digest=one.digest, code=ConflictError.code)
    (second,) = inserted
    db.execute("UPDATE nodes SET receipts = receipts + 1 WHERE id = ?", (node,))
    if core:
        other = db.execute(
            "SELECT id FROM receipts WHERE job = ? AND node = ? AND generation = ? AND step = ? AND revision = ? AND core <> ?"
            " ORDER BY id LIMIT 1",
            (core.job, node, core.generation, core.step, core.revision, core_digest),
        ).fetchone()
        if other:
            _flag(db, "core", node, other[0], second, one, received_ns, document)
    return Stored(seq=receipt.seq, digest=one.digest)


def _flag(
    db: sqlite3.Connection,
    kind: str,
    node: int,
    first: int,
    second: int | None,
    one: VerifiedReceipt,
    received_ns: int,
    document: int,
) -> None:
    """Record a conflict, once however often it is sent. What ``receipts`` does not hold is kept here."""
    recorded = db.execute(
        "INSERT INTO conflicts (kind, first, second, digest, received_ns, node_document, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (kind, first, second, one.digest, received_ns, document, None if second else one.data),
    ).rowcount
    db.execute("UPDATE nodes SET conflicts = conflicts + ? WHERE id = ?", (recorded, node))


def _page(db: sqlite3.Connection, job: bytes, after: int, limit: int, limit_bytes: int) -> Page:
    rows = db.execute(
        "SELECT receipts.id, receipts.data, node_documents.data FROM receipts"
        " JOIN node_documents ON node_documents.id = receipts.node_document"
        " WHERE job = ? AND receipts.id > ? ORDER BY receipts.id LIMIT ?",
        (job, after, limit),
    )
    found: list[tuple[bytes, bytes]] = []
    size, cursor = 0, after
    for row, data, document in rows:
        size += len(data) + len(document)
        if found and size > limit_bytes:
            break
        found.append((data, document))
        cursor = row
    rows.close()  # ends the read transaction, which would hold the WAL back
    return Page(tuple(found), cursor)


def _nodes(db: sqlite3.Connection) -> tuple[NodeCount, ...]:
    rows = db.execute("SELECT public_key, name, receipts, conflicts, last_received_ns FROM nodes ORDER BY name, public_key")
    return tuple(NodeCount(*row) for row in rows.fetchall())


def _conflicts(db: sqlite3.Connection, limit: int) -> tuple[Conflict, ...]:
    rows = db.execute(
        "SELECT kind, public_key, chain, seq, receipts.digest, conflicts.digest, conflicts.received_ns FROM conflicts"
        " JOIN receipts ON receipts.id = first JOIN nodes ON nodes.id = receipts.node ORDER BY conflicts.id DESC LIMIT ?",
        (limit,),
    )
    return tuple(Conflict(*row) for row in rows.fetchall())

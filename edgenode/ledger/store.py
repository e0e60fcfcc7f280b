"""The durable record of a node: which jobs it took, how far they are, and every receipt it signed.

    accept      manifest + job -> a row, open
    commit_step cursor, state, derived samples, receipt and outbox row, in one transaction
    end         a job that is over before its last step, with its receipt

Everything that must not be torn apart by a power cut is one ``Change``; callers share its commit.
"""

from __future__ import annotations

import importlib.resources
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from edgenode.database import Database
from edgenode.errors import ConflictError
from edgenode.formats.receipt import NO_RECEIPT, Seal
from edgenode.records import digest
from edgenode.trust.verify import VerifiedJob, VerifiedManifest

SCHEMA_VERSION = 1


class JobState(StrEnum):
    OPEN = "open"
    DONE = "done"
    STOPPED = "stopped"  # by its submitter, its validity, a revocation, or too many guest failures in a row
    FAILED = "failed"  # by a fault of this node
    QUARANTINED = "quarantined"  # its module ended two workers in a row: it is not run for this job again


class JobRow(NamedTuple):
    """A job as the ledger has it; the columns of ``jobs`` in their order."""

    id: bytes
    generation: int
    digest: bytes
    data: bytes
    manifest: bytes
    accepted_ns: int
    steps: int
    next_step: int
    state: JobState
    reason: str
    failures: int
    guest_state: bytes
    start_by: int


class ReceiptRow(NamedTuple):
    chain: bytes
    seq: int
    digest: bytes
    data: bytes


class RelayRow(NamedTuple):
    """What became of a job at another node (or, when it was not for this one, here)."""

    node: bytes
    state: str  # asked, refused, unreachable
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCommit:
    """What one step changes. ``step`` is the index it ran as: the commit fails if the cursor stands elsewhere by now."""

    job: bytes
    generation: int
    step: int
    revision: int
    guest_state: bytes
    failures: int
    derived: bytes
    state: JobState
    reason: str


class Ledger:
    """One node's ledger.db."""

    def __init__(self, path: Path, *, forwards: bool = True) -> None:
        """``forwards``: whether there is an uplink; without one, receipts wait for nobody, and the oldest go with time."""
        schema = importlib.resources.files("edgenode.ledger").joinpath("schema.sql").read_text(encoding="utf-8")
        self.database = Database(path, schema, SCHEMA_VERSION)
        self._forwards = forwards
        self.chain: bytes = self.database.write(_begin_chain)

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged ledger went, if one was found at the start."""
        return self.database.set_aside

    def close(self) -> None:
        self.database.close()

    # manifests

    def take_manifest(self, manifest: VerifiedManifest) -> None:
        self.database.write(lambda db: _take_manifest(db, manifest))

    def manifest(self, name: bytes) -> bytes | None:
        """The signed bytes of the manifest with this digest."""
        return self._one("SELECT data FROM manifests WHERE digest = ?", name)

    def manifests_of(self, name: str) -> list[bytes]:
        """The digests of the manifests of the module ``name``, the highest sequence first."""
        sql = "SELECT digest FROM manifests WHERE name = ? ORDER BY sequence DESC, digest"
        return [bytes(digest) for (digest,) in self.database.read(lambda db: db.execute(sql, (name,)).fetchall())]

    def names_module(self, module: bytes) -> bool:
        """Whether a manifest that was taken here names this binary."""
        return self._one("SELECT digest FROM manifests WHERE module = ?", module) is not None

    def _one(self, sql: str, parameter: bytes | str) -> bytes | None:
        row = self.database.read(lambda db: db.execute(sql, (parameter,)).fetchone())
        return None if row is None else bytes(row[0])

    # jobs

    def accept(
        self, job: VerifiedJob, manifest: VerifiedManifest, *, accepted_ns: int, steps: int, superseded: Callable[[JobRow], Seal]
    ) -> Future[tuple[JobRow, bool]]:
        """Take a job and its manifest: its row, and whether it is new here; the same job again changes nothing.

        A higher generation takes the place of a lower one; if that was open, the receipt of ``superseded`` ends it. The future raises
        ConflictError for a lower generation, or for other bytes of the same one.
        """
        body = job.job
        row = JobRow(
            body.id, body.generation, job.digest, job.data, manifest.digest, accepted_ns, steps, 0, JobState.OPEN, "", 0, b"", body.start_by
        )

        def change(db: sqlite3.Connection) -> tuple[JobRow, bool]:
            _take_manifest(db, manifest)
            found = _job(db, row.id)
            if found is not None and found.generation < row.generation and found.state is JobState.OPEN:
                self._append(db, superseded(found), found.id, found.generation, None)
            return _put(db, job, row)

        return self.database.submit(change)

    def forbid(self, job: VerifiedJob, reason: str, *, accepted_ns: int) -> tuple[JobRow, bool]:
        """Remember a stop that came before the job itself, so that no lower generation is taken any more; as ``accept`` otherwise."""
        body = job.job
        row = JobRow(
            body.id, body.generation, job.digest, job.data, b"", accepted_ns, 0, 0, JobState.STOPPED, reason, 0, b"", body.start_by
        )
        return self.database.write(lambda db: _put(db, job, row))

    def job(self, job: bytes) -> JobRow | None:
        return self.database.read(lambda db: _job(db, job))

    def jobs(self, limit: int) -> list[JobRow]:
        """The newest jobs, newest first."""
        rows = self.database.read(lambda db: db.execute("SELECT * FROM jobs ORDER BY accepted_ns DESC LIMIT ?", (limit,)).fetchall())
        return [_job_row(row) for row in rows]

    def open_jobs(self) -> list[JobRow]:
        """All that is accepted and not over, oldest first."""
        rows = self.database.read(
            lambda db: db.execute("SELECT * FROM jobs WHERE state = ? ORDER BY accepted_ns", (JobState.OPEN,)).fetchall()
        )
        return [_job_row(row) for row in rows]

    def count_open(self) -> int:
        return int(self.database.read(lambda db: db.execute("SELECT count(*) FROM jobs WHERE state = 'open'").fetchone()[0]))

    # receipts

    def commit_step(self, step: StepCommit, seal: Seal) -> ReceiptRow:
        """Cursor, state, derived samples, receipt and outbox row, all or nothing. Raises ConflictError when the job has moved on."""

        def change(db: sqlite3.Connection) -> ReceiptRow:
            moved = db.execute(
                "UPDATE jobs SET next_step = ?, state = ?, reason = ?, failures = ?, guest_state = ?"
                " WHERE id = ? AND generation = ? AND next_step = ? AND state = 'open'",
                (step.step + 1, step.state, step.reason, step.failures, step.guest_state, step.job, step.generation, step.step),
            )
            if moved.rowcount != 1:
                raise ConflictError(f"job {step.job.hex()} has moved on from step {step.step} of generation {step.generation}")
            if step.derived:
                key = (step.job, step.generation, step.step, step.revision)
                db.execute("INSERT INTO derived VALUES (?, ?, ?, ?, ?)", (*key, step.derived))
            return self._append(db, seal, step.job, step.generation, step.step)

        return self.database.write(change)

    def end(self, job: bytes, generation: int, state: JobState, reason: str, seal: Seal) -> ReceiptRow | None:
        """End an open job before its last step, with the receipt that says so; None when it was over already."""

        def change(db: sqlite3.Connection) -> ReceiptRow | None:
            ended = db.execute(
                "UPDATE jobs SET state = ?, reason = ? WHERE id = ? AND generation <= ? AND state = 'open'",
                (state, reason, job, generation),
            )
            return self._append(db, seal, job, generation, None) if ended.rowcount else None

        return self.database.write(change)

    def stop(self, job: VerifiedJob, reason: str, seal: Seal, *, step: int | None = None) -> tuple[JobRow, bool] | None:
        """Put a higher generation, which wants the job stopped, in the place of the one that is here; with a receipt if that was open.

        The row, and whether this changed it; None when there is no such job, or it is open and past ``step`` (if given), the one that the
        receipt names. Raises ConflictError as ``accept`` does.
        """

        def change(db: sqlite3.Connection) -> tuple[JobRow, bool] | None:
            found = _job(db, job.job.id)
            if found is None:
                return None
            if found.generation >= job.job.generation:
                check_same(found, job)
                return found, False
            if found.state is JobState.OPEN:
                if step not in (None, found.next_step):
                    return None
                self._append(db, seal, found.id, found.generation, None)
                found = found._replace(state=JobState.STOPPED, reason=reason)
            body = job.job
            stopped = found._replace(generation=body.generation, digest=job.digest, data=job.data, start_by=body.start_by)
            db.execute(
                "UPDATE jobs SET generation = ?, digest = ?, data = ?, state = ?, reason = ?, start_by = ? WHERE id = ?",
                (stopped.generation, stopped.digest, stopped.data, stopped.state, stopped.reason, stopped.start_by, stopped.id),
            )
            return stopped, True

        return self.database.write(change)

    def append(self, seal: Seal) -> ReceiptRow:
        """A receipt that is of no job."""
        return self.database.write(lambda db: self._append(db, seal, None, None, None))

    def _append(self, db: sqlite3.Connection, seal: Seal, job: bytes | None, generation: int | None, step: int | None) -> ReceiptRow:
        """Give a receipt the next place in the chain, and put it into the outbox."""
        chain, seq, prev = db.execute("SELECT chain, next_seq, prev FROM chain").fetchone()
        data = seal(chain, seq, prev)
        name = digest(data)
        db.execute("INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?)", (chain, seq, name, job, generation, step, data))
        if self._forwards:
            db.execute("INSERT INTO outbox VALUES (?, ?)", (chain, seq))
        db.execute("UPDATE chain SET next_seq = ?, prev = ?", (seq + 1, name))
        return ReceiptRow(chain, seq, name, data)

    def receipts(self, job: bytes, *, after: int = -1, limit: int = -1) -> list[ReceiptRow]:
        """The receipts of this job past the seq ``after``, in the order of the chain, at most ``limit`` unless that is below 0."""
        sql = "SELECT chain, seq, digest, data FROM receipts WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [ReceiptRow(*row) for row in self.database.read(lambda db: db.execute(sql, (job, after, limit)).fetchall())]

    def trim(self, keep: int, now: int) -> int:
        """Drop the oldest acknowledged receipts beyond ``keep``, and then jobs that are over; how many receipts went.

        Unacknowledged receipts always stay, and so does a job as long as its document could still be handed in (``start_by``; now in s).
        """
        sql = (
            "DELETE FROM receipts WHERE (chain, seq) IN (SELECT chain, seq FROM receipts AS r WHERE NOT EXISTS"
            " (SELECT 1 FROM outbox AS o WHERE o.chain = r.chain AND o.seq = r.seq)"
            " ORDER BY seq LIMIT max(0, (SELECT count(*) FROM receipts) - ?))"
        )

        def change(db: sqlite3.Connection) -> int:
            gone = db.execute(sql, (keep,)).rowcount
            db.execute(
                "DELETE FROM jobs WHERE state <> 'open' AND start_by < ?"
                " AND NOT EXISTS (SELECT 1 FROM receipts WHERE receipts.job = jobs.id)",
                (now,),
            )
            # A job that only others run has no row here: what became of it there is kept as long as there are so many rows.
            db.execute("DELETE FROM relays WHERE rowid IN (SELECT rowid FROM relays ORDER BY rowid DESC LIMIT -1 OFFSET ?)", (keep,))
            return gone

        return self.database.write(change)

    def trim_manifests(self) -> tuple[set[bytes], set[bytes]]:
        """Drop manifests that no open job needs and that are not the newest of their name: those, and the modules that the others name."""

        def change(db: sqlite3.Connection) -> tuple[set[bytes], set[bytes]]:
            gone = db.execute(
                "DELETE FROM manifests WHERE digest NOT IN (SELECT manifest FROM jobs WHERE state = 'open')"
                " AND sequence < (SELECT max(sequence) FROM manifests AS same WHERE same.name = manifests.name) RETURNING digest"
            ).fetchall()
            named = db.execute("SELECT module FROM manifests").fetchall()
            return {bytes(name) for (name,) in gone}, {bytes(module) for (module,) in named}

        return self.database.write(change)

    # derived samples, until the sample store has them

    def derived(self) -> list[tuple[bytes, int, int, int, bytes]]:
        """(job, generation, step, revision, series sections) of each step whose derived samples are not in samples.db for sure."""
        return self.database.read(lambda db: db.execute("SELECT * FROM derived").fetchall())

    def derived_applied(self, job: bytes, generation: int, step: int, revision: int) -> Future[None]:
        sql = "DELETE FROM derived WHERE job = ? AND generation = ? AND step = ? AND revision = ?"
        return self.database.submit(lambda db: (db.execute(sql, (job, generation, step, revision)), None)[1])

    # relays

    def relayed(self, job: bytes, generation: int, row: RelayRow) -> Future[None]:
        """Remember what became of a job at another node, so that its receipts can be asked for there, also after a restart."""
        sql = "INSERT OR REPLACE INTO relays VALUES (?, ?, ?, ?, ?)"
        return self.database.submit(lambda db: (db.execute(sql, (job, generation, *row)), None)[1])

    def relays(self, job: bytes) -> list[RelayRow]:
        """What became of the newest generation that this node knows. Each goes its own way through the fleet: followed together, two of
        them can lead in a circle."""
        sql = (
            "SELECT node, state, reason FROM relays WHERE job = :job AND generation = max("
            "(SELECT max(generation) FROM relays WHERE job = :job), coalesce((SELECT generation FROM jobs WHERE id = :job), 0))"
        )
        return [RelayRow(*row) for row in self.database.read(lambda db: db.execute(sql, {"job": job}).fetchall())]


def _put(db: sqlite3.Connection, job: VerifiedJob, row: JobRow) -> tuple[JobRow, bool]:
    found = _job(db, row.id)
    if found is not None and found.generation >= row.generation:
        check_same(found, job)
        return found, False
    db.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    return row, True


def _take_manifest(db: sqlite3.Connection, manifest: VerifiedManifest) -> None:
    body = manifest.manifest
    row = (manifest.digest, body.name, body.sequence, body.module, manifest.data)
    db.execute("INSERT OR IGNORE INTO manifests VALUES (?, ?, ?, ?, ?)", row)


def check_same(found: JobRow, job: VerifiedJob) -> None:
    """Raise ConflictError unless ``job`` is the very document that the row was made from."""
    if found.generation > job.job.generation:
        raise ConflictError(f"job {job.job.id.hex()} is at generation {found.generation} here, past {job.job.generation}")
    if found.digest != job.digest:
        raise ConflictError(f"another document of job {job.job.id.hex()}, generation {found.generation}, is here")


def _begin_chain(db: sqlite3.Connection) -> bytes:
    db.execute("INSERT OR IGNORE INTO chain VALUES (1, ?, 0, ?)", (secrets.token_bytes(16), NO_RECEIPT))
    return bytes(db.execute("SELECT chain FROM chain").fetchone()[0])


def _job(db: sqlite3.Connection, job: bytes) -> JobRow | None:
    row = db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
    return None if row is None else _job_row(row)


def _job_row(row: tuple[object, ...]) -> JobRow:
    found = JobRow(*row)  # type: ignore[arg-type]  # a STRICT table has these types
    return found._replace(state=JobState(found.state))

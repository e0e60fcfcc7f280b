"""The way of a job through a node. Read this file first.

    bytes -> verify -> find module -> prepare -> admit -> accept -> [ window -> snapshot -> step -> core -> receipt -> commit ]*

``take_job`` is the way in and ``run_step`` one turn of the bracket. Both are plain blocking functions that run on threads; nothing in
them waits for the network. What they raise is the node's own failure; a guest's failure is an outcome, and comes out signed.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edgenode.clock import Clock, seconds
from edgenode.config import NodeConfig
from edgenode.errors import (
    ConflictError,
    EdgenodeError,
    FaultError,
    LimitError,
    MalformedError,
    NoSuchChannelError,
    NoWorkerError,
    RefusedError,
    StorageError,
    TrustError,
    WorkerDiedError,
    WorkerHungError,
)
from edgenode.formats.frame import decode_derived
from edgenode.formats.job import Desired, Job
from edgenode.formats.receipt import Measured, Notice, ReceiptKind, Seal
from edgenode.formats.trust import Node
from edgenode.intake.admission import Facts, admit, check_readable
from edgenode.ledger.blobs import Blobs
from edgenode.ledger.store import JobRow, JobState, Ledger, StepCommit, check_same
from edgenode.library import Library
from edgenode.records import StepResult, digest
from edgenode.sandbox.pool import Pool
from edgenode.sensors.chunks import StepKey
from edgenode.sensors.samples import Samples
from edgenode.sensors.snapshot import freeze
from edgenode.sensors.window import windowing
from edgenode.statement import StepInputs, core_of, notice_of, notice_seal, step_context, step_limits, step_seal
from edgenode.trust.identity import Identity
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedJob, VerifiedManifest, recheck_manifest, verify_job, verify_manifest

log = logging.getLogger(__name__)

DERIVED_SOURCE = "derived"
SOURCES_SECONDS = 60.0  # after the start in which a channel that was there when a job was accepted may come back


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What the stages work with."""

    config: NodeConfig
    clock: Clock
    identity: Identity
    node: Node
    keyring: Callable[[], Keyring]
    ledger: Ledger
    library: Library
    modules: Blobs
    snapshots: Blobs
    samples: Samples
    pool: Pool
    measured: Callable[[], set[str]]  # the channels that the sources deliver
    stopping: threading.Event
    started_ns: int = 0  # by the clock that never goes back


def verify(rooms: Rooms, job: bytes, manifest: bytes | None) -> tuple[VerifiedJob, VerifiedManifest | None]:
    """The first stage: who signed these bytes, and may they? Raises TrustError, MalformedError or LimitError."""
    keyring, now = rooms.keyring(), seconds(rooms.clock)
    keyring.check_fresh(now)
    verified = verify_job(job, keyring, now)
    if manifest is None:
        return verified, None
    known = rooms.library.known(digest(manifest))
    return verified, recheck_manifest(known, keyring, now) if known else verify_manifest(manifest, keyring, now)


def take_job(rooms: Rooms, job: VerifiedJob, manifest: VerifiedManifest | None) -> tuple[JobRow, bool]:
    """Accept a verified job, or say why not (RefusedError, LimitError): its row, and whether it is new here."""
    known = rooms.ledger.job(job.job.id)
    if known is not None and known.generation >= job.job.generation:
        check_same(known, job)
        return known, False
    if known is not None and rooms.library.job(known).submitter != job.submitter:
        raise ConflictError(f"job {job.job.id.hex()} is another submitter's", hint="use a new id")
    if job.job.desired is Desired.STOP:
        return stop_job(rooms, job, known)
    if manifest is not None:
        rooms.library.take(manifest)
    found = find_manifest(rooms, job.job)
    _check_quarantine(rooms, known, found)
    accepted_ns = rooms.clock.now_ns()
    steps = _count_steps(rooms, job.job, accepted_ns)
    admit(job.job, found.manifest, step_limits(job.job, found.manifest), _facts(rooms), seconds(rooms.clock))
    module = rooms.library.module(found.digest)
    rooms.pool.prepare(module)
    accepted = rooms.ledger.accept(
        job, found, accepted_ns=accepted_ns, steps=steps, superseded=lambda row: _superseded(rooms, row)
    ).result()
    rooms.library.accepted(job, module)
    return accepted


def find_manifest(rooms: Rooms, job: Job) -> VerifiedManifest:
    """The manifest that the job means, if its publisher may publish now. Raises ModuleMissingError, TrustError or RefusedError."""
    found = rooms.library.find(job.module, rooms.keyring(), seconds(rooms.clock))
    if found.manifest.name != job.module.name:
        raise RefusedError(f"the job names module {job.module.name}, and pins a manifest of {found.manifest.name}")
    return found


def _check_quarantine(rooms: Rooms, known: JobRow | None, found: VerifiedManifest) -> None:
    """A higher generation of a job may bring another module, not the one that ended two workers in a row."""
    if known is None or known.state is not JobState.QUARANTINED:
        return
    if rooms.library.manifest(known.manifest).manifest.module == found.manifest.module:
        raise RefusedError(f"module {found.manifest.name} is quarantined for job {known.id.hex()}", hint="mend the module, or use a new id")


def stop_job(rooms: Rooms, job: VerifiedJob, known: JobRow | None) -> tuple[JobRow, bool]:
    """Take a higher generation of a job that wants it stopped: its receipt says how far it came."""
    while known is not None:
        text = f"stopped by its submitter after step {known.next_step} of {known.steps}"
        notice = Notice(code="stopped", text=text, job=known.id, generation=known.generation, step=known.next_step)
        seal = notice_seal(rooms.identity, ReceiptKind.STOP, notice, _measure(rooms))
        if stopped := rooms.ledger.stop(job, text, seal, step=known.next_step):
            return stopped
        known = rooms.ledger.job(job.job.id)  # a step was committed in between, and what the receipt says must be true
    return rooms.ledger.forbid(job, "stopped before it came here", accepted_ns=rooms.clock.now_ns())


def advance(rooms: Rooms, job: bytes) -> bool:
    """Run the next step of a job; whether there is another.

    A failure of the node's own that waiting cannot mend ends the job with a fault receipt. Raises StorageError and, while sources start,
    NoSuchChannelError, for the caller to try again later: nothing was committed.
    """
    row = rooms.ledger.job(job)
    if row is None or row.state is not JobState.OPEN:
        return False
    state = JobState.FAILED
    try:
        return run_step(rooms, row, rooms.library.job(row).job)
    except (StorageError, NoWorkerError):
        raise
    except OSError as error:
        raise StorageError(f"step {row.next_step} of job {job.hex()}: {error}", hint="check this machine's disk and open files") from error
    except NoSuchChannelError as error:
        if rooms.clock.monotonic_ns() - rooms.started_ns < SOURCES_SECONDS * 1e9:
            raise  # a power cut took the youngest samples, and with them a young channel, until its source delivers again
        notice = notice_of(error, job=row.id, generation=row.generation, step=row.next_step)
    except ConflictError:
        return False  # a higher generation took the job's place while the step ran
    except EdgenodeError as error:
        if rooms.stopping.is_set():
            return False  # the worker was ended on purpose: the step runs again after the next start
        notice = notice_of(error, job=row.id, generation=row.generation, step=row.next_step)
        if isinstance(error, WorkerDiedError | WorkerHungError):
            state = JobState.QUARANTINED
    except Exception as error:
        log.exception("step %d of job %s failed in this node", row.next_step, job.hex())
        text = f"{type(error).__name__}: {error}".encode()[:200].decode(errors="ignore")
        notice = Notice(code="defect", text=text, job=row.id, generation=row.generation, step=row.next_step)
    _end(rooms, row, state, ReceiptKind.FAULT, notice)
    return False


def run_step(rooms: Rooms, row: JobRow, job: Job) -> bool:
    """One step: a pure function of module, params, state and snapshot, and the signed receipt that says so. Whether there is another."""
    if notice := _reason_to_stop(rooms, row, job):
        _end(rooms, row, JobState.STOPPED, ReceiptKind.STOP, notice)
        return False
    module = rooms.library.module(row.manifest)
    window = windowing(job.window, row.accepted_ns)[row.next_step]
    snapshot = freeze(rooms.samples, job.inputs.channels, window, rooms.config.samples)
    check_readable(module.manifest, snapshot.channels)
    limits = step_limits(job, module.manifest)
    context = step_context(job, row.next_step, 0, window, snapshot)
    result = _run_twice(
        rooms.pool,
        lambda pool: pool.run(module, context=context, params=job.params, state=row.guest_state, frame=snapshot.frame, limits=limits),
    )
    core = core_of(
        StepInputs(
            job=job,
            manifest=module.manifest_digest,
            module=module.digest,
            abi=module.manifest.abi,
            context=context,
            limits=limits,
            snapshot=snapshot.digest,
            state=row.guest_state,
            engine=rooms.pool.engine,
        ),
        result,
    )
    if result.log:
        _tell_log(row, result.log)
    if module.manifest.capabilities.share_snapshot:
        _keep_for_replay(rooms, snapshot.frame, row.guest_state)
    commit = _commit(row, result)
    rooms.ledger.commit_step(commit, step_seal(rooms.identity, core, result, _measure(rooms, result)))
    if result.derived:
        apply_derived(rooms)
    return commit.state is JobState.OPEN


def _tell_log(row: JobRow, written: bytes) -> None:
    """What a command wrote to stderr, for the people who read this node's log: a line for each line, and nothing that is not text."""
    for line in written.decode(errors="replace").splitlines():
        log.info("job %s step %d says: %s", row.id.hex()[:8], row.next_step, "".join(c if c.isprintable() else "?" for c in line))


def apply_derived(rooms: Rooms) -> None:
    """Give samples.db what steps derived. Idempotent by (job, step, revision), so a power cut between the two databases is harmless."""
    for job, generation, step, revision, frame in rooms.ledger.derived():
        key = StepKey(job + struct.pack(">Q", generation), step, revision)
        try:
            rooms.samples.append_series(DERIVED_SOURCE, decode_derived(frame), key)
        except MalformedError as error:  # the disk changed it, or the sandbox let it through: it must not hold up the others
            log.error("samples that step %d of job %s derived are lost: %s", step, job.hex(), error.what)
        rooms.ledger.derived_applied(job, generation, step, revision)


def _facts(rooms: Rooms) -> Facts:
    return Facts(
        node=rooms.node,
        sandbox=rooms.config.sandbox,
        channels=[channel.name for channel in rooms.samples.known()],
        measured=rooms.measured(),
        open_jobs=rooms.ledger.count_open(),
        queue_jobs=rooms.config.intake.queue_jobs,
    )


def _count_steps(rooms: Rooms, job: Job, accepted_ns: int) -> int:
    """How many windows the job has. Raises RefusedError for none, or one that is not over yet, and LimitError for too many."""
    windows, most = windowing(job.window, accepted_ns), rooms.config.intake.steps
    if not len(windows):
        raise RefusedError("the job's span holds no whole window", hint="make the span longer, or the windows smaller")
    if job.window.end_ns is not None and job.window.end_ns > accepted_ns:
        raise RefusedError(
            "the job's span ends in the future", hint="this version runs over what is stored: submit it when the span is over"
        )
    if len(windows) > most:
        raise LimitError("intake.steps", most, len(windows), unit="steps", hint="make the span shorter, or the windows larger")
    return len(windows)


def _superseded(rooms: Rooms, row: JobRow) -> Seal:
    """The receipt that ends a generation whose place a higher one takes."""
    text = f"superseded by a higher generation after step {row.next_step} of {row.steps}"
    notice = Notice(code="superseded", text=text, job=row.id, generation=row.generation, step=row.next_step)
    return notice_seal(rooms.identity, ReceiptKind.STOP, notice, _measure(rooms))


def _keep_for_replay(rooms: Rooms, *inputs: bytes) -> None:
    """Keep what a replay needs, if there is room: a step does not wait for it, and the answer does not depend on it."""
    try:
        for data in inputs:
            rooms.snapshots.put(data)
    except EdgenodeError as error:
        log.warning("a step cannot be replayed later: %s; %s", error.what, error.hint)


def _reason_to_stop(rooms: Rooms, row: JobRow, job: Job) -> Notice | None:
    """Why an open job goes no further, if it does not."""
    manifest, keyring = rooms.library.manifest(row.manifest), rooms.keyring()
    try:
        keyring.check_module(manifest.manifest.module)
        keyring.check_not_revoked(manifest.publisher)
    except TrustError as error:
        return notice_of(error, job=row.id, generation=row.generation, step=row.next_step)
    code, text = "", ""
    if row.failures >= job.max_failures:
        code, text = "max-failures", f"{row.failures} guest failures in a row"
    elif job.until is not None and seconds(rooms.clock) > job.until:
        code, text = "validity", f"the job was to end by {job.until}"
    return Notice(code=code, text=text, job=row.id, generation=row.generation, step=row.next_step) if code else None


def _run_twice(pool: Pool, run: Callable[[Pool], StepResult]) -> StepResult:
    """A fault uses up no step: once more in a fresh worker, and then the module is quarantined for this job, which ends."""
    try:
        return run(pool)
    except NoWorkerError:
        raise  # nothing was run
    except FaultError as first:
        log.warning("a step runs again in a fresh worker: %s", first.what)
    try:
        return run(pool)
    except NoWorkerError:
        raise
    except FaultError as error:
        raise type(error)(
            f"twice in a row: {error.what}", hint="the module is quarantined for this job: mend it, or use a new id"
        ) from error


def _commit(row: JobRow, result: StepResult) -> StepCommit:
    failures = 0 if result.outcome.ok else row.failures + 1
    last = row.next_step + 1 >= row.steps
    return StepCommit(
        job=row.id,
        generation=row.generation,
        step=row.next_step,
        revision=0,
        guest_state=result.state,
        failures=failures,
        derived=result.derived,
        state=JobState.DONE if last else JobState.OPEN,
        reason="",
    )


def _end(rooms: Rooms, row: JobRow, state: JobState, kind: ReceiptKind, notice: Notice) -> None:
    rooms.ledger.end(row.id, row.generation, state, notice.text, notice_seal(rooms.identity, kind, notice, _measure(rooms)))


def _measure(rooms: Rooms, result: StepResult | None = None) -> Measured:
    return Measured(
        finished_ns=rooms.clock.now_ns(),
        clock=rooms.clock.state(),
        trust=rooms.keyring().state(seconds(rooms.clock)),
        wall_ns=result.wall_ns if result else 0,
        load=int(os.getloadavg()[0] * 1000),
        library=rooms.pool.engine.library_digest if result else None,
    )

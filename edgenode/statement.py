"""The node's statement of what happened: the core of a step, what was measured beside it, and the receipt around both. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgenode.errors import EdgenodeError
from edgenode.formats import document
from edgenode.formats.job import Job
from edgenode.formats.manifest import Manifest
from edgenode.formats.receipt import Core, Measured, Notice, Receipt, ReceiptKind, Seal
from edgenode.records import Abi, Engine, Limits, Snapshot, StepContext, StepResult, Window, digest
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue


def seed(job: bytes, generation: int, step: int, revision: int) -> bytes:
    """The step's only randomness: SHA-256 of what names it, so that every replica draws the same."""
    return digest(b"edgenode/seed/1" + job + struct.pack("<QQI", generation, step, revision))


def step_limits(job: Job, manifest: Manifest) -> Limits:
    """The limits in force: the submitter's where set, else the publisher's. Admission has seen to it that none is above the manifest's."""
    wanted, most = job.limits, manifest.limits
    return Limits(
        fuel=wanted.fuel if wanted.fuel is not None else most.fuel,
        memory=wanted.memory if wanted.memory is not None else most.memory,
        files=wanted.files if wanted.files is not None else most.files,
        state=wanted.state if wanted.state is not None else most.state,
        wall_ms=wanted.wall_ms if wanted.wall_ms is not None else most.wall_ms,
    )


def step_context(job: Job, step: int, revision: int, window: Window, snapshot: Snapshot) -> StepContext:
    drawn = seed(job.id, job.generation, step, revision)
    return StepContext(window=window, step=step, revision=revision, seed=drawn, completeness=snapshot.completeness)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInputs:
    """All that a step is a function of, and the engine that ran it."""

    job: Job
    manifest: bytes  # digest of the signed manifest
    module: bytes  # digest of the wasm
    abi: Abi
    context: StepContext
    limits: Limits
    snapshot: bytes  # digest
    state: bytes
    engine: Engine


def core_of(inputs: StepInputs, result: StepResult) -> bytes:
    """The core: the replayable part of a receipt, as the bytes that are signed and vouched for."""
    context = inputs.context
    return document.encode(
        Core(
            job=inputs.job.id,
            generation=inputs.job.generation,
            module=inputs.module,
            manifest=inputs.manifest,
            params=digest(inputs.job.params),
            step=context.step,
            revision=context.revision,
            window=context.window,
            seed=context.seed,
            limits=inputs.limits,
            snapshot=inputs.snapshot,
            completeness=context.completeness,
            state_before=digest(inputs.state),
            state_after=digest(result.state),
            summary=digest(result.summary),
            derived=digest(result.derived),
            alerts=digest(result.alerts),
            outcome=result.outcome,
            engine=inputs.engine.version,
            config=inputs.engine.config(inputs.abi),
            fuel=result.fuel,
        )
    )


def step_seal(by: Identity, core: bytes, result: StepResult, measured: Measured) -> Seal:
    """Signs the receipt of a step once the ledger knows its place in the chain."""

    def seal(chain: bytes, seq: int, prev: bytes) -> bytes:
        receipt = Receipt(
            kind=ReceiptKind.STEP,
            chain=chain,
            seq=seq,
            prev=prev,
            measured=measured,
            core=core,
            summary=result.summary,
            alerts=result.alerts,
        )
        return issue(receipt, by)

    return seal


def notice_seal(by: Identity, kind: ReceiptKind, notice: Notice, measured: Measured) -> Seal:
    """Signs a receipt that is no step once the ledger knows its place in the chain."""

    def seal(chain: bytes, seq: int, prev: bytes) -> bytes:
        return issue(Receipt(kind=kind, chain=chain, seq=seq, prev=prev, measured=measured, notice=notice), by)

    return seal


def notice_of(error: EdgenodeError, *, job: bytes, generation: int, step: int) -> Notice:
    """What a receipt tells about an error of the node's own."""
    text = f"{error.what}; {error.hint}" if error.hint else error.what
    return Notice(code=error.code, text=text.encode()[:512].decode(errors="ignore"), job=job, generation=generation, step=step)

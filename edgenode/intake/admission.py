"""Whether this node takes a trusted job. Pure: the job, its manifest and facts about the node in, an answer or the reason why not out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgenode.config import SandboxConfig
from edgenode.errors import CapabilityError, LimitError, ModuleError, NoSuchChannelError, NotSelectedError, QueueFullError, ValidityError
from edgenode.formats.job import Job, JobType, Selector
from edgenode.formats.manifest import FRAME, Manifest
from edgenode.formats.stdin import MEDIA_TYPES, fits
from edgenode.formats.trust import Node
from edgenode.records import Abi, Limits, matches_any

WAITING = (JobType.SERVICE, JobType.DAEMON)


@dataclass(frozen=True, slots=True)
class Facts:
    """What admission must know of a node."""

    node: Node
    sandbox: SandboxConfig
    channels: Sequence[str]
    measured: Collection[str]  # the channels that this node's sources deliver
    open_jobs: int
    queue_jobs: int  # the limit


def selects(selector: Selector, node: Node) -> bool:
    """Whether a job's selector means this node."""
    labels = {(label.name, label.value) for label in node.labels}
    named = not selector.nodes or node.public_key in selector.nodes
    return named and all((label.name, label.value) in labels for label in selector.labels)


def admit(job: Job, manifest: Manifest, limits: Limits, facts: Facts, now: int) -> None:
    """Return when the node can run the job now; ``limits`` are those that would be in force. Raises the RefusedError that says why not."""
    _check_validity(job, now)
    if not selects(job.selector, facts.node):
        raise NotSelectedError(f"the job's selector does not mean node {facts.node.name}")
    _check_kind(job, manifest)
    _check_limits(job, manifest, limits, facts.sandbox)
    _check_channels(job, manifest, facts.channels)
    _check_derives(manifest, facts.measured)
    if facts.open_jobs >= facts.queue_jobs:
        raise QueueFullError(f"{facts.open_jobs} jobs are waiting, the limit intake.queue_jobs is {facts.queue_jobs}")


def _check_validity(job: Job, now: int) -> None:
    if now > job.start_by:
        raise ValidityError(f"the job was to start by {job.start_by}, and it is {now} ({now - job.start_by} s later) by this node's clock")
    if job.until is not None and now > job.until:
        raise ValidityError(f"the job was to end by {job.until}, and it is {now} by this node's clock")


def _check_kind(job: Job, manifest: Manifest) -> None:
    if job.type in WAITING:
        raise CapabilityError(f"jobs of type {job.type} are not run by this version", hint="use batch or ops")
    if not fits(manifest.abi, manifest.input):
        raise ModuleError(
            f"module {manifest.name} wants abi {manifest.abi} with samples as {manifest.input}",
            hint=f"{Abi.STEP} takes {FRAME}, {Abi.WASI_COMMAND} any of {', '.join(MEDIA_TYPES)}",
        )


def _check_limits(job: Job, manifest: Manifest, limits: Limits, sandbox: SandboxConfig) -> None:
    for name in ("fuel", "memory", "files", "state", "wall_ms"):
        if getattr(limits, name) > getattr(manifest.limits, name):
            met, most = getattr(limits, name), getattr(manifest.limits, name)
            raise CapabilityError(f"the job asks for {name} {met}, the manifest of {manifest.name} allows {most}")
    for name, unit in (("fuel", "units"), ("memory", "bytes"), ("files", "bytes"), ("wall_ms", "ms")):
        if getattr(limits, name) > getattr(sandbox, name):
            hint = f"set limits.{name} in the job to what this node allows"
            raise LimitError(f"sandbox.{name}", getattr(sandbox, name), getattr(limits, name), unit=unit, hint=hint)


def _check_channels(job: Job, manifest: Manifest, channels: Sequence[str]) -> None:
    for pattern in job.inputs.channels:
        found = [name for name in channels if matches_any((pattern,), name)]
        if not found:
            raise NoSuchChannelError(f"no channel here fits {pattern!r}")
        check_readable(manifest, found)


def _check_derives(manifest: Manifest, measured: Collection[str]) -> None:
    """A module never writes over what a source measures."""
    for name in measured:
        if matches_any(manifest.capabilities.derives, name):
            raise CapabilityError(
                f"the manifest of {manifest.name} lets it write channel {name}, which a source measures here",
                hint="have the publisher narrow capabilities.derives",
            )


def check_readable(manifest: Manifest, channels: Sequence[str]) -> None:
    """Raise CapabilityError unless the manifest lets the module read all of these channels."""
    for name in channels:
        if not matches_any(manifest.capabilities.channels, name):
            raise CapabilityError(f"the manifest of {manifest.name} does not let it read channel {name}")

"""A job that is not submitted: judged as a node would, and some of its steps run on this machine. Nodes are asked for their status alone.

spec --prepare--> Prepared --check--> as admission says --run_steps, over snapshots--> StepCost*
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenode.clock import seconds
from edgenode.config import SandboxConfig
from edgenode.errors import EdgenodeError
from edgenode.formats.job import Inputs, Job
from edgenode.formats.reading import Reading
from edgenode.formats.trust import Node, Role
from edgenode.intake.admission import Facts, admit, selects
from edgenode.records import KEY_BYTES, Engine, Limits, Snapshot, digest
from edgenode.statement import step_context, step_limits
from edgenode.trust.verify import VerifiedModule, verify_manifest, verify_module
from edgenode_sdk import local
from edgenode_sdk import spec as specs
from edgenode_sdk.estimate import StepCost
from edgenode_sdk.fleet import AsyncFleet
from edgenode_sdk.home import Home
from edgenode_sdk.reading import readings
from edgenode_sdk.spec import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A job as it would be signed, its module, and the limits that would be in force."""

    job: Job
    module: VerifiedModule
    limits: Limits


def prepare(spec: JobSpec, home: Home) -> Prepared:
    """Raises ConfigError when the job does not fit or its module was not signed here, and TrustError as a node would."""
    keyring, now = home.keyring(), seconds(home.clock)
    keyring.check(home.identity(Role.SUBMITTER.value).public, Role.SUBMITTER, now)
    wasm, signed = home.module(Path(spec.module).stem)
    module = verify_module(wasm, verify_manifest(signed, keyring, now))
    job = specs.to_job(spec, fleet=keyring.fleet, manifest=digest(signed), now=now)
    return Prepared(job=job, module=module, limits=step_limits(job, module.manifest))


def check(prepared: Prepared, channels: Sequence[str] | None, now: int) -> None:
    """Judge the job as a node would that its selector means, with these channels (None: all that it needs) and no limit below the job's.

    Raises the RefusedError that the node would.
    """
    job, limits = prepared.job, prepared.limits
    selector = job.selector
    node = Node(
        fleet=job.fleet,
        public_key=selector.nodes[0] if selector.nodes else bytes(KEY_BYTES),
        name="any",
        issued=now,
        expires=now,
        labels=selector.labels,
    )
    sandbox = SandboxConfig(fuel=limits.fuel, memory=limits.memory, files=limits.files, wall_ms=limits.wall_ms)
    facts = Facts(node=node, sandbox=sandbox, channels=channels or (), measured=(), open_jobs=0, queue_jobs=1)
    judged = job if channels is not None else dataclasses.replace(job, inputs=Inputs(channels=()))
    admit(judged, prepared.module.manifest, limits, facts, now)


def run_steps(prepared: Prepared, snapshots: Iterable[tuple[int, Snapshot]]) -> tuple[list[StepCost], Engine]:
    """Run the steps of these numbers, each with the state that the one before left, and say which engine ran them. Blocks.

    Raises what ``Pool.run`` raises; a guest that fails is a step like any other.
    """
    costs, state = [], b""
    with local.sandbox(prepared.limits) as pool:
        for step, snapshot in snapshots:
            result = pool.run(
                prepared.module,
                context=step_context(prepared.job, step, 0, snapshot.window, snapshot),
                params=prepared.job.params,
                state=state,
                frame=snapshot.frame,
                limits=prepared.limits,
            )
            state = result.state
            costs.append(StepCost.of(snapshot.window, snapshot.completeness.received, result))
        return costs, pool.engine


async def ask_nodes(prepared: Prepared, fleet: AsyncFleet) -> dict[str, Reading | EdgenodeError]:
    """The reading of each node in reach that the job's selector means, or why there is none to believe, by the node's name."""
    told = readings(fleet, await fleet.ask(lambda api: api.status()))
    return {node.node.name: told[node.node.name] for node in fleet.nodes if selects(prepared.job.selector, node.node)}

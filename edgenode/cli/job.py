"""``edgenode job``: hand jobs to a fleet, and get what came of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import click

from edgenode.cli import exits
from edgenode.cli.options import FOLDER, PATH, job_id, json_option
from edgenode.cli.output import brief, time_text, window_text, write_facts, write_json, write_table
from edgenode.cli.reach import Reach, reach_options
from edgenode.errors import EdgenodeError, StorageError
from edgenode.formats import document
from edgenode.formats.job import Label
from edgenode.transport.node_api import Execution
from edgenode_sdk import saved
from edgenode_sdk import spec as specs
from edgenode_sdk.fleet import AsyncFleet, Submission
from edgenode_sdk.result import Result, plain, read_answer
from edgenode_sdk.spec import JobSpec

LEFT = (
    "open",
    "failed",
    "quarantined",
    "unreachable",
    "untrusted",
)  # states of a node that a result is missing from; refused and stopped are answers


@click.group()
def command() -> None:
    """Submit jobs to a fleet, and get what came of them.

    \b
    Example:
      edgenode job submit load.yaml
    """


@command.command("submit")
@click.argument("file", metavar="JOB.yaml", type=PATH)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Follow the job until it is over at every node.")
@click.option("--wait-for", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds to follow it at most.")
@click.option("--through", metavar="NAME", help="Hand it to the node of this name, which passes it on.  [default: the first]")
@click.option("--dry-run", is_flag=True, help="Hand it to nobody: say what it would cost, and how much of each node it would take.")
@click.option("--input", "recording", metavar="CSV", type=PATH, help="The recording that a dry run runs over, as 'edgenode exec' reads it.")
@reach_options
@json_option
def submit(
    file: Path, wait: bool, wait_for: float, through: str | None, dry_run: bool, recording: Path | None, reach: Reach, as_json: bool
) -> int:
    """Sign a job and hand it to one node, which passes it on to the others; print each result as it is verified here.

    \b
    Example:
      edgenode job submit load.yaml --node 192.168.1.20:7420
      edgenode job submit load.yaml --dry-run --input monday.csv

    \b
    JOB.yaml:
      module: statistics            # signed here ('edgenode module sign'), or known to the node
      type: ops                     # ops: every node that matches; batch: nodes.count of them
      nodes:
        labels: {line: "3"}         # all of these; without: any node
      channels: ["host/*"]
      window: {last: 60s}           # or {start: 2026-11-23T08:00:00Z, end: …}; with {size: 10s}: one step each 10 s
      params: {quantiles: [0.5, 0.99]}
      limits: {fuel: 50000000}      # below the manifest's; without: the manifest's
      start_within: 1h

    A dry run judges the job as a node would and runs some of its steps here, over windows of the recording. Its seconds are of the
    worst step, at the fuel per second that each node measured when it started ('edgenode node status').

    Exits with 1 when a step ended in another outcome than ok, a node has not finished or not answered, or no node ran the job; of a dry
    run, when a step did or a node cannot keep up.
    """
    if dry_run:
        from edgenode.cli import dry_run as trial  # loads the sample store

        return trial.run(specs.load(file), recording, reach, as_json)
    if recording is not None:
        raise click.UsageError("--input is for --dry-run")
    return asyncio.run(_submit(specs.load(file), wait_for if wait else None, through, reach, as_json))


async def _submit(spec: JobSpec, wait: float | None, through: str | None, reach: Reach, as_json: bool) -> int:
    async with reach.fleet() as fleet:
        submission = await fleet.submit(spec, through=through)
        if wait is None:
            _tell_submitted(submission, as_json)
            return exits.OK
        results = [result async for result in _with_progress(submission, wait, quiet=as_json)]
        executions = list(submission.executions.values())
        passed_over = _passed_over(spec, fleet, submission, results)
    if as_json:
        write_json(
            {
                "job": submission.id,
                "through": submission.through.node.name,
                "receipts": [_result_json(result, submission.submitted_ns) for result in results],
                "executions": [execution.to_json() for execution in executions],
                "passed_over": passed_over,
            }
        )
    else:
        click.echo(f"job {submission.id} through {submission.through.node.name}")
        _write_results(results, submission.submitted_ns)
        _write_reasons(executions, passed_over)
    left = any(execution.state in LEFT for execution in executions)
    return exits.OK if results and not left and all(result.ok for result in results) else exits.FAILED


def _tell_submitted(submission: Submission, as_json: bool) -> None:
    if as_json:
        write_json({"job": submission.id, "through": submission.through.node.name, **submission.answer})
    else:
        click.echo(submission.id)


async def _with_progress(submission: Submission, wait: float, *, quiet: bool) -> AsyncIterator[Result]:
    """The submission's results, with a line on stderr that says how far it is where somebody watches."""
    from rich.console import Console

    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    with console.status(f"job {submission.id[:12]} handed to {submission.through.node.name} …") as status:
        count = 0
        async for result in submission.receipts(wait):
            count += 1
            over = sum(execution.state != "open" for execution in submission.executions.values())
            status.update(f"{count} receipts, the last from {result.node.name}; over at {over} nodes …")
            yield result


def _passed_over(spec: JobSpec, fleet: AsyncFleet, submission: Submission, results: Iterable[Result]) -> dict[str, str]:
    """Why nodes in reach of this laptop have nothing to do with the job, by name."""
    asked = {result.node.public_key for result in results} | {bytes.fromhex(key) for key in submission.executions}
    wanted = {Label(name=name, value=value) for name, value in spec.nodes.labels.items()}
    reasons = {}
    for node in fleet.nodes:
        if node.node.public_key in asked:
            continue
        missing = sorted(f"{label.name}={label.value}" for label in wanted - set(node.node.labels))
        if missing:
            reasons[node.node.name] = f"has no label {', '.join(missing)}"
        elif spec.nodes.keys and node.node.public_key.hex() not in spec.nodes.keys:
            reasons[node.node.name] = "is not among the nodes that the job names"
        elif spec.type == "batch":
            reasons[node.node.name] = f"was not needed: the job wants {spec.nodes.count}"
        else:
            reasons[node.node.name] = f"is not known to {submission.through.node.name}, or has not answered yet"
    return reasons


@command.command("list")
@reach_options
@json_option
def list_jobs(reach: Reach, as_json: bool) -> None:
    """The jobs that the nodes in reach know, newest first, and how far each is at each node.

    \b
    Example:
      edgenode job list
    """
    asyncio.run(_list(reach, as_json))


async def _list(reach: Reach, as_json: bool) -> None:
    async with reach.fleet() as fleet:
        told = await fleet.ask(lambda api: api.jobs())
    jobs = [{"node": node, **job} for node, answer in told.items() if not isinstance(answer, EdgenodeError) for job in answer]
    jobs.sort(key=lambda job: -job["accepted_ns"])
    errors = {node: answer.what for node, answer in told.items() if isinstance(answer, EdgenodeError)}
    if as_json:
        write_json({"jobs": jobs, "errors": errors})
        return
    write_table(
        ["job", "name", "module", "node", "state", "steps", "accepted", "reason"],
        [
            [
                job["job"],
                job["name"],
                job["module"],
                job["node"],
                job["state"],
                f"{job['done_steps']}/{job['steps']}",
                time_text(job["accepted_ns"]),
                job["reason"],
            ]
            for job in jobs
        ],
    )
    for node, reason in errors.items():
        click.echo(f"{node}: {reason}", err=True)


@command.command("describe")
@click.argument("job", metavar="ID", type=job_id)
@reach_options
@json_option
def describe(job: bytes, reach: Reach, as_json: bool) -> None:
    """The job as it was signed, and what the nodes in reach say of it.

    \b
    Example:
      edgenode job describe 3f5ac0d2718be944a0de1c5b6f7a8c01 --json
    """
    asyncio.run(_describe(job, reach, as_json))


async def _describe(job: bytes, reach: Reach, as_json: bool) -> None:
    async with reach.fleet() as fleet:
        signed = await fleet.job(job)
        body = document.to_json(signed) | {"params": plain(read_answer(signed.params))}
        told = await fleet.ask(lambda api: api.job(job))
    nodes = {node: answer for node, answer in told.items() if not isinstance(answer, EdgenodeError)}
    for answer in nodes.values():
        answer.pop("document", None)
    if as_json:
        write_json({"job": body, "nodes": nodes})
        return
    write_facts({name: value if isinstance(value, str | int) else brief(value, 200) for name, value in body.items() if value is not None})
    click.echo()
    write_table(
        ["node", "state", "steps", "failures", "accepted", "passed on", "reason"],
        [
            [
                name,
                one["state"],
                f"{one['done_steps']}/{one['steps']}",
                one["failures"],
                time_text(one["accepted_ns"]),
                f"to {len(one['relays'])}",
                one["reason"],
            ]
            for name, one in nodes.items()
        ],
    )


@command.command("results")
@click.argument("job", metavar="ID", type=job_id)
@click.option("-o", "--output", type=FOLDER, help="Save each receipt as a file in this folder, for 'edgenode receipt'.")
@reach_options
@json_option
def results(job: bytes, output: Path | None, reach: Reach, as_json: bool) -> int:
    """Every receipt of a job that the nodes in reach have, verified here. Exits with 1 when one is of another outcome than ok.

    \b
    Example:
      edgenode job results 3f5ac0d2718be944a0de1c5b6f7a8c01 -o receipts
    """
    return asyncio.run(_results(job, output, reach, as_json))


async def _results(job: bytes, output: Path | None, reach: Reach, as_json: bool) -> int:
    async with reach.fleet() as fleet:
        items = [item async for item in fleet.results(job)]
    found = sorted((item for item in items if isinstance(item, Result)), key=lambda one: (one.node.name, one.receipt.seq))
    executions = list({item.node: item for item in items if isinstance(item, Execution)}.values())
    files = [] if output is None else _save(found, output)
    if as_json:
        write_json(
            {
                "job": job.hex(),
                "receipts": [_result_json(result, None) for result in found],
                "executions": [execution.to_json() for execution in executions],
                "files": [str(path) for path in files],
            }
        )
    else:
        _write_results(found, None)
        _write_reasons(executions, {})
        for path in files:
            click.echo(f"wrote {path}", err=True)
    return exits.OK if all(result.ok for result in found) else exits.FAILED


def _save(found: Iterable[Result], folder: Path) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}") from error
    return [saved.save(result, folder) for result in found]


@command.command("stop")
@click.argument("job", metavar="ID", type=job_id)
@reach_options
@json_option
def stop(job: bytes, reach: Reach, as_json: bool) -> int:
    """End a job: its next generation, signed here, wants it stopped. Each node where it was open signs a receipt that says so.

    \b
    Example:
      edgenode job stop 3f5ac0d2718be944a0de1c5b6f7a8c01
    """
    return asyncio.run(_stop(job, reach, as_json))


async def _stop(job: bytes, reach: Reach, as_json: bool) -> int:
    async with reach.fleet() as fleet:
        told = await fleet.stop(job)
    states = {
        node: (answer.code, answer.what)
        if isinstance(answer, EdgenodeError)
        else (answer["execution"]["state"], answer["execution"]["reason"])
        for node, answer in told.items()
    }
    if as_json:
        write_json({"job": job.hex(), "nodes": {node: {"state": state, "reason": reason} for node, (state, reason) in states.items()}})
    else:
        write_table(["node", "state", "reason"], [[node, *state] for node, state in states.items()])
    taken = any(not isinstance(answer, EdgenodeError) for answer in told.values())
    return exits.OK if taken else exits.FAILED


def _result_json(result: Result, submitted_ns: int | None) -> dict[str, Any]:
    took = {} if submitted_ns is None else {"submit_to_receipt_ms": (result.received_ns - submitted_ns) / 1e6}
    return {**result.to_json(), "ok": result.ok, **took}


def _write_results(found: Iterable[Result], submitted_ns: int | None) -> None:
    rows: list[list[object]] = []
    for result in found:
        core, notice, measured = result.core, result.receipt.notice, result.receipt.measured
        took = "" if submitted_ns is None else f"{(result.received_ns - submitted_ns) / 1e6:.1f}"
        if core is None:
            rows.append([result.node.name, "", "", result.receipt.kind.value, "", "", took, "" if notice is None else notice.text])
            continue
        outcome = f"{core.outcome.kind} {core.outcome.detail}".strip()
        window = window_text(core.window.start_ns, core.window.end_ns)
        step_ms = f"{measured.wall_ns / 1e6:.2f}"
        rows.append([result.node.name, window, core.completeness.received, outcome, core.fuel, step_ms, took, brief(result.summary)])
    if rows:
        write_table(["node", "window", "samples", "outcome", "fuel", "step ms", "total ms", "summary"], rows)
    else:
        click.echo("no receipts")


def _write_reasons(executions: Iterable[Execution], passed_over: dict[str, str]) -> None:
    for execution in executions:
        if execution.state != "done":
            click.echo(
                f"{execution.name or execution.node[:12]}: {execution.state}" + (f", {execution.reason}" if execution.reason else "")
            )
    for name, reason in passed_over.items():
        click.echo(f"{name}: {reason}")

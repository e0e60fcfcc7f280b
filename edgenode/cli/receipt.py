"""``edgenode receipt``: receipts in files, as 'edgenode job results ID -o DIR' writes them, and bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgenode.cli import exits
from edgenode.cli.options import PATH, home_option, json_option
from edgenode.cli.output import brief, time_text, window_text, write_facts, write_json
from edgenode.cli.proof import Judge, prove, trust_option, warn
from edgenode.cli.replay import replay_steps, write_bundle
from edgenode.errors import EdgenodeError
from edgenode_sdk.home import Home
from edgenode_sdk.result import Result


@click.group()
def command() -> None:
    """Show, verify, replay and bundle receipts.

    \b
    Example:
      edgenode receipt verify receipts/*.receipt
    """


@command.command("show")
@click.argument("file", type=PATH)
@trust_option
@home_option
@json_option
def show(file: Path, trust: Path | None, home: Path | None, as_json: bool) -> None:
    """Verify a receipt, and print all that it says.

    \b
    Example:
      edgenode receipt show receipts/press-7-2b1f00aa-0.receipt
    """
    result = _verified(file, Judge.of(trust, Home(home)))
    if as_json:
        write_json(result.to_json())
    else:
        write_facts(_facts(result))


@command.command("verify")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@trust_option
@home_option
@json_option
def verify(files: tuple[Path, ...], trust: Path | None, home: Path | None, as_json: bool) -> int:
    """Say of each receipt whether a node of this fleet signed exactly these bytes. Exits with 4 when one is not trusted.

    \b
    Example:
      edgenode receipt verify receipts/*.receipt
    """
    judge = Judge.of(trust, Home(home))
    verdicts: list[tuple[Path, Result | EdgenodeError]] = []
    for file in files:
        try:
            verdicts.append((file, _verified(file, judge)))
        except EdgenodeError as error:
            verdicts.append((file, error))
    if as_json:
        write_json([{"file": str(file), **_verdict_json(verdict)} for file, verdict in verdicts])
    else:
        for file, verdict in verdicts:
            click.echo(f"{file}: {_verdict_text(verdict)}")
    return max((exits.code_of(verdict) for _, verdict in verdicts if isinstance(verdict, EdgenodeError)), default=exits.OK)


command.add_command(replay_steps)
command.add_command(write_bundle)


def _verified(file: Path, judge: Judge) -> Result:
    proof = prove(file, judge)
    warn(file, proof)
    return proof.result


def _verdict_json(verdict: Result | EdgenodeError) -> dict[str, Any]:
    if isinstance(verdict, EdgenodeError):
        return {"verified": False, "code": verdict.code, "reason": verdict.what}
    return {"verified": True, "node": verdict.node.name, "digest": verdict.verified.digest.hex(), "ok": verdict.ok}


def _verdict_text(verdict: Result | EdgenodeError) -> str:
    if isinstance(verdict, EdgenodeError):
        return f"NOT TRUSTED: {verdict.what}"
    ended = verdict.receipt.kind if verdict.core is None else verdict.core.outcome.kind
    return f"signed by {verdict.node.name}, {ended}"


def _facts(result: Result) -> dict[str, object]:
    receipt, core = result.receipt, result.core
    facts: dict[str, object] = {
        "node": f"{result.node.name}, key {result.node.public_key.hex()}",
        "receipt": f"{receipt.kind}, {receipt.seq} in chain {receipt.chain.hex()}",
        "digest": result.verified.digest.hex(),
        "finished": f"{time_text(receipt.measured.finished_ns)}, clock {receipt.measured.clock}, trust {receipt.measured.trust}",
    }
    if receipt.notice is not None:
        facts |= {"code": receipt.notice.code, "text": receipt.notice.text}
    if core is None:
        return facts
    complete, outcome = core.completeness, core.outcome
    return facts | {
        "job": f"{core.job.hex()}, generation {core.generation}, step {core.step}, revision {core.revision}",
        "module": core.module.hex(),
        "window": window_text(core.window.start_ns, core.window.end_ns),
        "samples": f"{complete.received} of {'an unknown number' if complete.expected is None else complete.expected}, "
        f"{complete.late} late, {complete.dropped} dropped",
        "snapshot": core.snapshot.hex(),
        "outcome": " ".join(filter(None, (outcome.kind.value, outcome.detail, outcome.location))),
        "fuel": f"{'not exact' if core.fuel is None else core.fuel} of {core.limits.fuel}, {core.engine}",
        "step": f"{receipt.measured.wall_ns / 1e6:.3f} ms",
        "summary": brief(result.summary, 1000),
    }

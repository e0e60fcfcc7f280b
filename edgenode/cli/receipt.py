"""``edgenode receipt``: receipts in files, as 'edgenode job results ID -o DIR' writes them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from edgenode.cli import exits
from edgenode.cli.options import PATH, home_option, json_option
from edgenode.cli.output import brief, time_text, window_text, write_facts, write_json, write_table
from edgenode.cli.reach import Reach, reach_options
from edgenode.clock import SystemClock, seconds
from edgenode.errors import EdgenodeError, NotFoundError
from edgenode.files import read_document
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import verify_manifest, verify_signed_receipt, verify_trust
from edgenode_sdk import replay, saved
from edgenode_sdk.fleet import AsyncFleet, FleetNode
from edgenode_sdk.home import Home
from edgenode_sdk.result import Result

trust_option = click.option("--trust", type=PATH, help="A trust document, instead of the one in the laptop's folder.")


@click.group()
def command() -> None:
    """Show, verify and replay receipts.

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
    result = _verified(file, _keyring(trust, home))
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
    keyring = _keyring(trust, home)
    verdicts: list[tuple[Path, Result | EdgenodeError]] = []
    for file in files:
        try:
            verdicts.append((file, _verified(file, keyring)))
        except EdgenodeError as error:
            verdicts.append((file, error))
    if as_json:
        write_json([{"file": str(file), **_verdict_json(verdict)} for file, verdict in verdicts])
    else:
        for file, verdict in verdicts:
            click.echo(f"{file}: {_verdict_text(verdict)}")
    return max((exits.code_of(verdict) for _, verdict in verdicts if isinstance(verdict, EdgenodeError)), default=exits.OK)


@command.command("replay")
@click.argument("file", type=PATH)
@reach_options
@json_option
def replay_step(file: Path, reach: Reach, as_json: bool) -> int:
    """Run the receipt's step again on this machine, and compare every digest of its core.

    Module, snapshot, state and params come from the node that signed it, or from those named with --node. Exits with 0 for a match,
    with 1 for a mismatch and for what cannot be replayed; the verdict says which, and why.

    \b
    Example:
      edgenode receipt replay receipts/press-7-2b1f00aa-0.receipt
    """
    result = _verified(file, reach.home.keyring())
    verdict = asyncio.run(_replay(result, reach))
    if as_json:
        differences = [{"field": one.field, "receipt": one.receipt, "here": one.here} for one in verdict.differences]
        write_json({"verdict": verdict.verdict.value, "reason": verdict.reason, "differences": differences})
    else:
        click.echo(verdict.verdict.value + (f": {verdict.reason}" if verdict.reason else ""))
        if verdict.differences:
            write_table(["field", "receipt", "here"], [[one.field, one.receipt, one.here] for one in verdict.differences])
    return exits.OK if verdict.verdict is replay.Verdict.MATCH else exits.FAILED


async def _replay(result: Result, reach: Reach) -> replay.Replay:
    if result.core is None:
        return replay.Replay(replay.Verdict.NOT_REPLAYABLE, f"a {result.receipt.kind} receipt: no step was run")
    signed = reach.home.manifest(result.core.manifest)
    manifest = None if signed is None else verify_manifest(signed, reach.home.keyring(), seconds(reach.home.clock)).manifest
    async with reach.fleet() as fleet:
        try:
            params = (await fleet.job(result.core.job)).params
        except NotFoundError:
            params = None
        return await replay.replay(result, _holder(fleet, result).api, params=params, manifest=manifest)


def _holder(fleet: AsyncFleet, result: Result) -> FleetNode:
    """The node that signed, if it is in reach: it kept what a replay needs."""
    return next((node for node in fleet.nodes if node.node.public_key == result.node.public_key), fleet.nodes[0])


def _keyring(trust: Path | None, home: Path | None) -> Keyring:
    if trust is None:
        return Home(home).keyring()
    return Keyring(verify_trust(read_document(trust, "a trust.cbor"), None, seconds(SystemClock())).trust)


def _verified(file: Path, keyring: Keyring) -> Result:
    item, clock = saved.load(file), SystemClock()
    return Result(verify_signed_receipt(item.receipt, item.node_document, keyring), item.node_document, clock.now_ns())


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

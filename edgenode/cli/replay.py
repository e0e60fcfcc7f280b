"""``edgenode receipt replay`` and ``bundle``: a step run again, and all that it takes in one file."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click

from edgenode.cli import exits
from edgenode.cli.options import PATH, json_option
from edgenode.cli.output import write_json, write_table
from edgenode.cli.proof import Judge, Proof, prove, trust_option, warn
from edgenode.cli.reach import Reach, reach_options
from edgenode.errors import ConfigError, EdgenodeError
from edgenode.files import read_document
from edgenode_sdk import bundle as bundles
from edgenode_sdk.replay import Part, Replay, Stock, Verdict, replay, replay_with

_FILES = {
    Part.MODULE: "The WebAssembly binary.",
    Part.SNAPSHOT: "The frame that the guest read.",
    Part.STATE: "The state before the step.",
    Part.PARAMS: "The job's params as they were.",
    Part.MANIFEST: "The signed manifest.",
    Part.JOB: "The signed job, for its params.",
}


def material_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--module, --snapshot, --state, --params, --manifest and --job, handed to the command as one ``given``."""

    @functools.wraps(command)
    def giving(**rest: Any) -> Any:
        given = {part: [read_document(path, f"a {part}") for path in rest.pop(part.value)] for part in _FILES}
        return command(given=given, **rest)

    for part, what in reversed(_FILES.items()):
        text = f"{what} From a file, not from a node."
        giving = click.option(f"--{part}", part.value, multiple=True, type=PATH, metavar="FILE", help=text)(giving)
    return giving


@click.command("replay")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@material_options
@trust_option
@reach_options
@json_option
def replay_steps(files: tuple[Path, ...], given: dict[Part, list[bytes]], trust: Path | None, reach: Reach, as_json: bool) -> int:
    """Run the steps of receipts and bundles again on this machine, and compare every digest of their cores.

    What a receipt's step takes comes from the files given, else from the node that signed it or those named with --node, which are
    asked only for what is missing. Files are told apart by their digests, so several may be given of a kind. A bundle brings its own.

    A bundle is judged by the trust document here or given with --trust; without any by the one inside, and a warning says so.

    Exits with 0 when all match; with 1 for a mismatch and for what cannot be replayed: the verdict says which, and why.

    \b
    Example:
      edgenode receipt replay receipts/*.receipt
      edgenode receipt replay press-7.receipt --module mean.wasm --snapshot window.frame --params params.json
      edgenode receipt replay press-7.bundle --trust trust.cbor
    """
    judge = Judge.of(trust, reach.home)
    codes: list[int] = []

    async def each() -> None:
        async with AsyncExitStack() as opened:
            stock = Stock(given, home=reach.home, fleet=lambda: opened.enter_async_context(reach.fleet()))
            for file in files:
                try:
                    proof = prove(file, judge)
                    warn(file, proof)
                    verdict = await _replay(proof, stock)
                except EdgenodeError as error:
                    _tell_error(file, error, as_json)
                    codes.append(exits.code_of(error))
                    continue
                _tell(file, proof, verdict, as_json)
                codes.append(exits.OK if verdict.verdict is Verdict.MATCH else exits.FAILED)

    asyncio.run(each())
    return max(codes)


@click.command("bundle")
@click.argument("file", metavar="RECEIPT", type=PATH)
@click.option("-o", "--output", "target", type=PATH, required=True, metavar="FILE", help="The bundle to write.")
@material_options
@trust_option
@reach_options
@json_option
def write_bundle(file: Path, target: Path, given: dict[Part, list[bytes]], trust: Path | None, reach: Reach, as_json: bool) -> None:
    """Write one file with all that replays a receipt's step: on any machine, with no network and no keys, also years later.

    It holds the receipt, the documents of its node, job and module, the trust document, and module, snapshot and state. The snapshot is
    raw sensor data, so the module's manifest must share it (share_snapshot).

    \b
    Example:
      edgenode receipt bundle receipts/press-7-2b1f00aa-0.receipt -o press-7.bundle
      edgenode receipt replay press-7.bundle
    """
    judge = Judge.of(trust, reach.home)
    proof = prove(file, judge)
    if proof.materials is not None:
        raise ConfigError(f"{file} is a bundle already", hint="copy it")

    async def collect() -> None:
        async with AsyncExitStack() as opened:
            stock = Stock(given, home=reach.home, fleet=lambda: opened.enter_async_context(reach.fleet()))
            bundles.write(target, proof.result, await bundles.collect(proof.result, stock), judge.trust_data())

    asyncio.run(collect())
    size = target.stat().st_size
    if as_json:
        write_json({"file": str(target), "bytes": size, "receipt": proof.result.verified.digest.hex()})
    else:
        click.echo(f"{target}: {size:,} bytes; 'edgenode receipt replay {target}' runs it")


async def _replay(proof: Proof, stock: Stock) -> Replay:
    if proof.materials is not None:
        return await asyncio.to_thread(replay_with, proof.result, proof.materials)
    return await replay(proof.result, stock)


def _tell(file: Path, proof: Proof, verdict: Replay, as_json: bool) -> None:
    if as_json:
        told = {"file": str(file), "verdict": verdict.verdict.value, "reason": verdict.reason}
        differences = [one.to_json() for one in verdict.differences]
        write_json(told | {"differences": differences, "own_word": [root.hex() for root in proof.roots]})
        return
    click.echo(f"{file}: {verdict.verdict.value}" + (f": {verdict.reason}" if verdict.reason else ""))
    if verdict.differences:
        rows = []
        for one in verdict.differences:
            rows.append([one.field, one.receipt, one.here])
            rows += [[f"{one.field}: {inner.field}", inner.receipt, inner.here] for inner in one.inside]
        write_table(["field", "receipt", "here"], rows)


def _tell_error(file: Path, error: EdgenodeError, as_json: bool) -> None:
    if as_json:
        write_json({"file": str(file), "verdict": None, "code": error.code, "reason": error.what, "hint": error.hint})
        return
    click.echo(f"{file}: not replayed: {error.what}")
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)

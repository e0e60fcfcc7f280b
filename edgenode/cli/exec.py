"""``edgenode exec``: an unsigned module, run here on purpose, in the sandbox that a node has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgenode.cli import exits
from edgenode.cli.options import PATH, json_option
from edgenode.cli.output import write_facts, write_json
from edgenode.errors import ConfigError
from edgenode.files import read_document


@click.command("exec")
@click.argument("module", metavar="MODULE.wasm", type=PATH)
@click.option("--fuel", type=click.IntRange(1, 2**62), default=1_000_000_000, show_default=True, help="The step's budget.")
@click.option("--memory", type=click.IntRange(65536, 2**32), default=64 << 20, show_default=True, help="Bytes of linear memory.")
@click.option("--wall-ms", type=click.IntRange(1, 3_600_000), default=60_000, show_default=True, help="When the worker counts as hung.")
@click.option("--input", "file", type=PATH, help="A CSV file of samples.  [default: no channels]")
@click.option("--params", default="", metavar="JSON", help="The job's params.")
@json_option
def command(module: Path, fuel: int, memory: int, wall_ms: int, file: Path | None, params: str, as_json: bool) -> int:
    """Run a module of the 'step' ABI here, unsigned, in the same sandbox as a node's: for development.

    \b
    Example:
      edgenode exec build/mean.wasm --input press.csv --params '{"quantiles": [0.5]}'

    \b
    The CSV file has a header, and either of two forms:
      time,channel,value               one sample a row; a fourth column 'unit' is optional
      time,press.temp [Cel],press.rpm  one column a channel; its unit in brackets; an empty cell is no sample
    Times are ISO 8601 (UTC where no zone is given) or seconds since 1970.

    Exits with 1 when the outcome is another than ok.
    """
    from edgenode.cli import recording
    from edgenode.formats.frame import encode_frame
    from edgenode.records import Completeness, Limits, StepContext, Window
    from edgenode_sdk import local

    series = [] if file is None else recording.read(file)
    limits = Limits(fuel=fuel, memory=memory, wall_ms=wall_ms)
    wasm = read_document(module, "a WebAssembly binary")
    times = [time for one in series for time in one.times]
    context = StepContext(
        window=Window(start_ns=min(times), end_ns=max(times) + 1) if times else Window(start_ns=0, end_ns=0),
        step=0,
        revision=0,
        seed=bytes(32),
        completeness=Completeness(received=len(times)),
    )
    result, engine = local.run_step(
        wasm,
        local.widest_manifest(wasm, limits),
        context=context,
        params=_params(params),
        state=b"",
        frame=encode_frame(series),
        limits=limits,
    )
    _tell(result, engine.version, as_json)
    return exits.OK if result.outcome.ok else exits.FAILED


def _params(text: str) -> bytes:
    if not text:
        return b""
    try:
        return json.dumps(json.loads(text), separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise ConfigError(f"--params is not JSON: {error}", hint="""such as '{"quantiles": [0.5]}'""") from error


def _tell(result: Any, engine: str, as_json: bool) -> None:
    from edgenode.formats import document
    from edgenode.formats.frame import decode_derived
    from edgenode_sdk.result import plain, read_answer

    summary, alerts = plain(read_answer(result.summary)), plain(read_answer(result.alerts))
    derived = {one.channel.name: len(one) for one in decode_derived(result.derived)}
    if as_json:
        write_json(
            {
                "outcome": document.to_json(result.outcome),
                "fuel": result.fuel,
                "wall_ms": result.wall_ns / 1e6,
                "engine": engine,
                "summary": summary,
                "alerts": alerts,
                "derived": derived,
                "state_bytes": len(result.state),
            }
        )
        return
    outcome = result.outcome
    facts = {
        "outcome": " ".join(filter(None, (outcome.kind.value, outcome.detail, outcome.location))),
        "fuel": result.fuel,
        "step": f"{result.wall_ns / 1e6:.3f} ms, engine {engine}",
        "state": f"{len(result.state)} bytes",
        "derived": ", ".join(f"{name}: {count} samples" for name, count in derived.items()),
        "alerts": "" if alerts is None else json.dumps(alerts, ensure_ascii=False),
        "summary": "" if summary is None else json.dumps(summary, ensure_ascii=False),
    }
    write_facts({name: value for name, value in facts.items() if value not in ("", None)})

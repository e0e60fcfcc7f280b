"""``edgenode exec``: an unsigned program or ``step`` module, run here on purpose, in the sandbox that a node has."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from edgenode.cli import exits
from edgenode.cli.options import PATH, json_option
from edgenode.cli.output import write_facts, write_json
from edgenode.errors import ConfigError
from edgenode.files import read_document

T = TypeVar("T")


@click.command("exec")
@click.argument("module", metavar="PROGRAM.wasm", type=PATH)
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--dir", "folders", multiple=True, metavar="HOST::GUEST", help="A folder that the program sees, copied into its memory.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable of its environment; nothing is inherited.")
@click.option("--stdin", type=PATH, help="A file for its stdin, or '-' for this one's.  [default: empty]")
@click.option("--input", "file", type=PATH, help="Of a 'step' module: a CSV file of samples.  [default: no channels]")
@click.option("--params", default="", metavar="JSON", help="Of a 'step' module: the job's params.")
@click.option("--fuel", type=click.IntRange(1, 2**62), default=20_000_000_000, show_default=True, help="The budget.")
@click.option("--memory", type=click.IntRange(65536, 2**32), default=128 << 20, show_default=True, help="Bytes of linear memory.")
@click.option("--wall-ms", type=click.IntRange(1, 3_600_000), default=60_000, show_default=True, help="When the worker counts as hung.")
@json_option
def command(module: Path, arguments: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Run an unsigned program here, in the same sandbox as a node's: for development.

    \b
    Example:
      edgenode exec report.wasm --dir data::/data --env LANG=C --stdin press.csv -- --verbose
      edgenode exec mean.wasm --input press.csv --params '{"quantiles": [0.5]}'

    A program is wasm32-wasip1 with _start. Its stdout, stderr and exit code pass through. It sees no host: folders are copied into its
    memory and nothing comes back, fifos and devices left out; its clock starts at 2000-01-01 and its random numbers are the same in each
    run. Exits with 134 when it traps or goes over a limit, and with 255 for a code of its own above that; --json tells them apart.

    \b
    A module of the 'step' ABI runs one step, and exits with 1 when the outcome is another than ok. Its CSV file has a header, and either
    of two forms:
      time,channel,value               one sample a row; a fourth column 'unit' is optional
      time,press.temp [Cel],press.rpm  one column a channel; its unit in brackets; an empty cell is no sample
    Times are ISO 8601 (UTC where no zone is given) or seconds since 1970.
    """
    from edgenode.formats import wasm

    binary = read_document(module, "a WebAssembly binary")
    is_step = any(export.startswith("func edgenode_step(") for export in wasm.read(binary).exports)
    unfit = _PROGRAM_ONLY if is_step else _STEP_ONLY
    given = [name for name in unfit if options[name]] + ["ARGS"] * bool(is_step and arguments)
    if given:
        kind = "a 'step' module" if is_step else "a program with _start"
        raise click.UsageError(f"{module} is {kind}, which has no use for {', '.join(unfit.get(name, name) for name in given)}")
    budget = {name: options[name] for name in ("fuel", "memory", "wall_ms")}
    if is_step:
        return _run_step(binary, options["file"], options["params"], budget, as_json)
    return _run_program(binary, module.name, arguments, options, budget, as_json)


_PROGRAM_ONLY = {"folders": "--dir", "variables": "--env", "stdin": "--stdin"}
_STEP_ONLY = {"file": "--input", "params": "--params"}
_TRAPPED = 134  # 128 + SIGABRT, as a shell tells of a process that aborted


def _run_program(
    binary: bytes, name: str, arguments: tuple[str, ...], options: dict[str, Any], budget: dict[str, int], as_json: bool
) -> int:
    from edgenode_sdk import program

    pairs = [_pair(one, "::", "--dir", "HOST::GUEST") for one in options["folders"]]
    result, engine = program.run(
        program.Program(
            wasm=binary,
            name=name,
            arguments=arguments,
            environment=_once("--env", [_pair(one, "=", "--env", "NAME=VALUE") for one in options["variables"]]),
            folders=_once("--dir", [(guest, Path(host)) for host, guest in pairs]),
            stdin=_stdin(options["stdin"]),
        ),
        **budget,
    )
    outcome = result.outcome
    ended = " ".join(filter(None, (outcome.kind.value, outcome.detail, outcome.location)))
    if as_json:
        from edgenode.formats import document

        streams = {stream: data.decode(errors="replace") for stream, data in (("stdout", result.stdout), ("stderr", result.stderr))}
        write_json(
            {"outcome": document.to_json(outcome), "fuel": result.fuel, "wall_ms": result.wall_ns / 1e6, "engine": engine, **streams}
        )
    else:
        for stream, data in ((sys.stdout, result.stdout), (sys.stderr, result.stderr)):
            if stream is not None:  # a shell may have closed it
                stream.buffer.write(data)
                stream.flush()
        if not outcome.ok and outcome.exit_code is None:
            click.echo(f"error: {name} ended with outcome {ended}", err=True)
    if outcome.exit_code is not None:
        return min(outcome.exit_code, 255)
    return exits.OK if outcome.ok else _TRAPPED


def _pair(text: str, separator: str, option: str, form: str) -> tuple[str, str]:
    first, found, second = text.partition(separator)
    if not first or not found or (separator == "::" and not second):
        raise click.BadParameter(f"{text!r:.80} is not {form}", param_hint=option)
    return first, second


def _once(option: str, pairs: Sequence[tuple[str, T]]) -> dict[str, T]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise click.BadParameter("the same name is given twice", param_hint=option)
    return found


def _stdin(path: Path | None) -> bytes:
    if path is None:
        return b""
    from edgenode_sdk.program import MOST_BYTES

    if str(path) == "-":
        return b"" if sys.stdin is None else sys.stdin.buffer.read(MOST_BYTES)
    return read_document(path, "--stdin names the file that the program reads", MOST_BYTES)


def _run_step(wasm: bytes, file: Path | None, params: str, budget: dict[str, int], as_json: bool) -> int:
    from edgenode.cli import recording
    from edgenode.formats.frame import encode_frame
    from edgenode.records import MAX_INT, Completeness, Limits, StepContext, Window
    from edgenode_sdk import local

    series = [] if file is None else recording.read(file)
    limits = Limits(**budget)
    times = [time for one in series for time in one.times]
    context = StepContext(
        window=Window(start_ns=min(times), end_ns=min(max(times) + 1, MAX_INT)) if times else Window(start_ns=0, end_ns=0),
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
    except (ValueError, RecursionError) as error:
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

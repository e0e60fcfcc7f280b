"""The core specification's own test suite (WebAssembly 2.0) on the oracles, against what it expects and against each other.

``python -m tests.determinism.spec [--all] [FILE...]`` fetches the suite, as wast2json leaves it, into the module cache of Go. A Go module,
which is pinned here, has it among its tests; nothing else of that module is used.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from edgenode.records import OutcomeKind

from .oracles import ADDRESSES, INTERPRETER, NATIVE, ROOT, Oracle, aarch64
from .spec_runner import Answer

SUITE, SUM = "github.com/tetratelabs/wazero@v1.9.0", "h1:IcZ56OuxrtaEz8UYNRHBrUa9bYeX9oVY93KspZZBf/I="
FOLDER = "internal/integration_test/spectest"
WIDER = hex(128 << 30)  # bytes of addresses for the emulator: a script that links its modules has up to 18 memories at once

# What the suite says of a trap, or how that starts -> its class.
TRAPS = {
    "indirect call type mismatch": "bad-signature",
    "integer divide by zero": "integer-division-by-zero",
    "integer overflow": "integer-overflow",
    "invalid conversion to integer": "bad-conversion-to-integer",
    "out of bounds memory access": "memory-out-of-bounds",
    "out of bounds table access": "table-out-of-bounds",
    "undefined element": "table-out-of-bounds",
    "uninitialized element": "indirect-call-to-null",
    "unreachable": "unreachable",
}

# The answer to a command that cannot be run: its kind and how its detail starts -> why.
LEFT_OUT = {
    ("text", ""): "the module is text, and a node reads binaries alone",
    ("refused", "gc types are disallowed"): "the module has externref, which the Config turns off",
}

# Width of a float in bits -> its canonical NaN; whatever has all of its bits is an arithmetic one (§2.2.3).
_NAN = {32: 0x7FC0_0000, 64: 0x7FF8_0000_0000_0000}


class Script(NamedTuple):
    path: Path
    commands: list[dict[str, Any]]


def fetched() -> Path:
    """Raises CalledProcessError when the module cannot be fetched."""
    go = shutil.which("go", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if go is None:
        sys.exit("needs Go, which comes with edgenode[test]")
    said = json.loads(subprocess.run([go, "mod", "download", "-json", SUITE], cwd="/", stdout=subprocess.PIPE, check=True).stdout)
    if said["Sum"] != SUM:
        sys.exit(f"{SUITE} is {said['Sum']}, not {SUM}")
    return Path(said["Dir"]) / FOLDER


def scripts(suite: Path, names: Sequence[str]) -> list[Script]:
    """Those of these names, such as ``i32`` (all: none named), the largest first."""
    paths = sorted((suite / "v2/testdata").glob("*.json"), key=lambda path: path.stat().st_size, reverse=True)
    unknown = set(names) - {path.stem for path in paths}
    if unknown:
        sys.exit(f"not in the suite: {', '.join(sorted(unknown))}")
    return [Script(path, json.loads(path.read_bytes())["commands"]) for path in paths if not names or path.stem in names]


# asking them


def emulated() -> Oracle:
    """Raises as oracles.aarch64 does."""
    oracle = aarch64()
    return oracle._replace(python=tuple(WIDER if argument == ADDRESSES else argument for argument in oracle.python))


def ask(oracle: Oracle, suite: Path, asked: Sequence[Script]) -> list[list[Answer]]:
    """Of each script the answers to its commands. Raises RuntimeError naming the script at which a process died."""
    count = os.cpu_count() or 1
    with ThreadPoolExecutor(count) as pool:
        shares = list(pool.map(functools.partial(_share, oracle, suite), [asked[first::count] for first in range(count)]))
    return [shares[number % count][number // count] for number in range(len(asked))]


def _share(oracle: Oracle, suite: Path, asked: Sequence[Script]) -> list[list[Answer]]:
    command = [*oracle.python, "-m", f"{__package__}.spec_runner", str(suite / "testdata/spectest.wasm"), *filter(None, [oracle.target])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [oracle.path, str(ROOT)]))}
    paths = "".join(f"{script.path}\n" for script in asked)
    ended = subprocess.run(command, input=paths, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    answers = [[Answer(*answer) for answer in json.loads(line)] for line in ended.stdout.splitlines()]
    if ended.returncode != 0:
        raise RuntimeError(f"{oracle.name} ended with status {ended.returncode} at {asked[len(answers)].path.name}")
    return answers


# judging


def left_out(answer: Answer) -> str | None:
    return next((why for (kind, start), why in LEFT_OUT.items() if answer.kind == kind and answer.detail.startswith(start)), None)


def as_expected(command: dict[str, Any], answer: Answer) -> bool:
    match command["type"]:
        case "assert_return":
            expected = command["expected"]
            return answer.kind == OutcomeKind.OK and all(map(_is, expected, answer.values)) and len(expected) == len(answer.values)
        case "assert_trap" | "assert_uninstantiable":
            return answer.kind == OutcomeKind.TRAP and any(
                answer.detail == detail for text, detail in TRAPS.items() if command["text"].startswith(text)
            )
        case "assert_exhaustion":
            return answer.kind == OutcomeKind.STACK
        case "assert_invalid" | "assert_malformed":
            return answer.kind == "refused"
        case "assert_unlinkable":
            return answer.kind == "unlinkable"
        case _:
            return answer.kind == OutcomeKind.OK


def _is(expected: dict[str, Any], bits: int) -> bool:
    if expected["type"] != "v128":
        return "value" not in expected or _lane_is(expected["value"], bits, 64 if expected["type"] == "f64" else 32)
    width = 128 // len(expected["value"])
    lanes = [bits >> width * at & (1 << width) - 1 for at in range(len(expected["value"]))]
    return all(_lane_is(value, lane, width) for value, lane in zip(expected["value"], lanes, strict=True))


def _lane_is(expected: str, bits: int, width: int) -> bool:
    match expected:
        case "nan:canonical":
            return bits & ~(1 << width - 1) == _NAN[width]
        case "nan:arithmetic":
            return bits & _NAN[width] == _NAN[width]
        case "null":
            return bits == 0
        case _:
            return bits == int(expected)


def compared(asked: Sequence[Script], native: Sequence[list[Answer]], other: Sequence[list[Answer]]) -> Iterator[str]:
    """Where two disagree. A stack overflow on either side is no disagreement: its depth depends on the CPU."""
    for script, left, right in zip(asked, native, other, strict=True):
        for command, one, another in zip(script.commands, left, right, strict=True):
            if one != another and OutcomeKind.STACK not in (one.kind, another.kind):
                yield f"{script.path.stem}:{command['line']}: {one} against {another}"


def unexpected(asked: Sequence[Script], answers: Sequence[list[Answer]]) -> Iterator[str]:
    for script, given in zip(asked, answers, strict=True):
        for command, answer in zip(script.commands, given, strict=True):
            if left_out(answer) is None and not as_expected(command, answer):
                told = " ".join(str(command[key]) for key in ("type", "text", "action", "expected") if key in command)
                yield f"{script.path.stem}:{command['line']}: {answer} to {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the test suite of the WebAssembly core specification 2.0 on the oracles.")
    parser.add_argument("--all", action="store_true", help="ask aarch64 too")
    parser.add_argument("file", nargs="*", help="a script of the suite, such as i32; all of them when none is named")
    options = parser.parse_args()
    suite = fetched()
    asked = scripts(suite, options.file)
    native: list[list[Answer]] = []
    found = 0
    for oracle in (NATIVE, INTERPRETER, emulated()) if options.all else (NATIVE, INTERPRETER):
        start = time.monotonic()
        answers = ask(oracle, suite, asked)
        native = native or answers
        differences = [*unexpected(asked, answers), *compared(asked, native, answers)]
        found += len(differences)
        every = [answer for given in answers for answer in given]
        out = Counter(filter(None, map(left_out, every)))
        for difference in differences:
            print(f"{oracle.name}: {difference}")
        ran = f"{len(every)} commands of {len(asked)} scripts, {len(every) - out.total()} run, {out.total()} left out"
        print(f"{oracle.name}: {ran}, {len(differences)} differences, {time.monotonic() - start:.0f} s")
    for why, count in out.most_common():
        print(f"left out, {count}: {why}")
    sys.exit(found > 0)


if __name__ == "__main__":
    main()

"""Three that must agree on what a step gives: this machine's code, the engine's portable interpreter, and the code of another CPU.

``python -m tests.determinism.oracles FIRST LAST [--all]`` looks for programs on which the first two (``--all``: all three) do not.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from edgenode.records import OutcomeKind
from edgenode.sandbox.abi import SERIES, request_head

from ..programs import build
from ..unit.sandbox.guests import CONTEXT, section, series
from ..unit.sandbox.test_commands import ECHO
from ..unit.sandbox.test_commands import program as small_program
from ..unit.wasm_modules.golden import cases
from ..unit.wasm_modules.guest import MODULES, request
from .programs import program
from .runner import Result

ROOT = Path(__file__).parents[2]

EMULATOR, UNPACKER = "qemu-aarch64-static", "mmdebstrap"
SUITE = "bookworm"  # of Debian; its Python is the oldest that a node runs on
PACKAGES = ("python3-minimal", "libpython3-stdlib")
ADDRESSES = hex(32 << 30)  # bytes; the emulator's own memory grows with every address used, and each step reserves 4 GiB at a new one


class Task(NamedTuple):
    """One step to run; ``fuel``, ``memory`` and, of a command, ``files`` (bytes) are its budget."""

    name: str
    wasm: bytes
    request: bytes
    fuel: int
    memory: int
    files: int = 0


class Oracle(NamedTuple):
    """``python`` starts an interpreter of the oracle's CPU, with wasmtime in ``path``, or its own when that is empty."""

    name: str
    python: tuple[str, ...]
    path: str = ""
    target: str = ""


class MissingError(Exception):
    """What this machine lacks for an oracle."""


def generated(numbers: Sequence[int]) -> list[Task]:
    return [Task(f"program {one.number}", one.wasm, one.request, one.fuel, one.memory) for one in map(program, numbers)]


def golden_inputs() -> list[Task]:
    """Those of the modules that come with edgenode."""
    tasks = []
    for case in cases():
        wasm = (MODULES / case.module / f"{case.module}.wasm").read_bytes()
        asked = request(case.series, json.dumps(case.params).encode() if case.params else b"", case.state)
        tasks.append(Task(case.id, wasm, asked, fuel=10**10, memory=16 << 20))
    return tasks


def small_commands() -> list[Task]:
    """Programs that end in every way."""
    starts = ("unreachable", "(loop br 0)", "(call $proc_exit (i32.const 3))", "(call $write (i32.const 1) (i32.const 0) (i32.const 5000))")
    return [_command(start, small_program(start)) for start in starts] + [_command("echo", ECHO)]


def real_commands() -> list[Task]:
    """Programs as their compilers leave them; their bytes change with the compilers, so they have no golden results."""
    return [_command(language, build(language).read_bytes()) for language in ("c", "zig")]


def _command(name: str, wasm: bytes) -> Task:
    times, values = list(range(0, 600_000_000, 10_000_000)), [row % 7 / 3 for row in range(60)]
    frame = b"".join(section(SERIES, series(f"press/{name}", "N", times, values)) for name in ("angle", "force"))
    asked = request_head(CONTEXT, b'{"above": 1.5}', b"4\n", b"") + frame
    return Task(name, wasm, asked, fuel=1_000_000_000, memory=64 << 20, files=4 << 20)


# the three


NATIVE = Oracle("native", (sys.executable,))
INTERPRETER = Oracle("interpreter", (sys.executable,), target="pulley64")


@functools.cache
def aarch64() -> Oracle:
    """An arm64 Debian, unpacked once under build/ and never installed or entered: the emulator runs its Python.

    Raises MissingError, and CalledProcessError when a package cannot be fetched.
    """
    if shutil.which(EMULATOR) is None:
        raise MissingError(EMULATOR)
    engine = f"wasmtime=={version('wasmtime')}"
    key = hashlib.sha256(" ".join((SUITE, *PACKAGES, engine)).encode()).hexdigest()[:12]
    made = ROOT / "build" / f"aarch64-{key}"
    if not made.exists():
        if shutil.which(UNPACKER) is None:
            raise MissingError(UNPACKER)
        if os.geteuid() != 0:
            raise MissingError(f"root once, to unpack {made.relative_to(ROOT)}")
        made.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            _unpack(Path(folder), engine)
            Path(folder, "made").rename(made)
    tree = made / "tree"
    return Oracle("aarch64", (EMULATOR, "-R", ADDRESSES, "-L", str(tree), str(tree / "usr/bin/python3")), str(made / "site"))


def _unpack(folder: Path, engine: str) -> None:
    made = folder / "made"
    made.mkdir()
    packages = ",".join(PACKAGES)
    _run(UNPACKER, "--quiet", "--variant=extract", "--architectures=arm64", f"--include={packages}", SUITE, str(made / "tree"))
    wheel = ("--no-deps", "--only-binary=:all:", "--platform=manylinux2014_aarch64", "--python-version=3.11")
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"--target={made / 'site'}", *wheel, engine)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


# asking them


def ask(oracle: Oracle, tasks: Sequence[Task]) -> list[Result]:
    """Their results, from as many processes as there are processors. Raises RuntimeError naming the task at which one died."""
    count = os.cpu_count() or 1
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(_Running(oracle, tasks[first::count])) for first in range(count)]
        shares = [one.results() for one in running]
    return [shares[number % count][number // count] for number in range(len(tasks))]


class _Running:
    """One process of an oracle. Files on both sides, so that neither waits for the other to read."""

    def __init__(self, oracle: Oracle, tasks: Sequence[Task]) -> None:
        self._oracle, self._tasks = oracle, tasks

    def __enter__(self) -> _Running:
        self._answers = tempfile.TemporaryFile("w+")
        with tempfile.TemporaryFile("w+") as questions:
            for task in self._tasks:
                asked = {
                    "wasm": task.wasm.hex(),
                    "request": task.request.hex(),
                    "fuel": task.fuel,
                    "memory": task.memory,
                    "files": task.files,
                }
                questions.write(json.dumps(asked) + "\n")
            questions.seek(0)
            command = [*self._oracle.python, "-m", f"{__package__}.runner", *filter(None, [self._oracle.target])]
            path = os.pathsep.join(filter(None, [self._oracle.path, str(ROOT)]))
            environment = os.environ | {"PYTHONPATH": path}
            self._process = subprocess.Popen(command, stdin=questions, stdout=self._answers, cwd=ROOT, env=environment)
        return self

    def results(self) -> list[Result]:
        status = self._process.wait()
        self._answers.seek(0)
        results = [Result(*json.loads(line)) for line in self._answers]
        if status != 0:
            raise RuntimeError(f"{self._oracle.name} ended with status {status} at {self._tasks[len(results)].name}")
        return results

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()


def differences(tasks: Sequence[Task], one: Sequence[Result], other: Sequence[Result]) -> Iterator[str]:
    """Where two disagree. A stack overflow on either side is no disagreement: its depth depends on the CPU."""
    for task, left, right in zip(tasks, one, other, strict=True):
        if left != right and OutcomeKind.STACK not in (left.kind, right.kind):
            yield f"{task.name}: {left} against {right}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Look for generated programs on which the oracles differ.")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--all", action="store_true", help="ask aarch64 too, which takes twenty times as long")
    options = parser.parse_args()
    found = 0
    for first in range(options.first, options.last, 1000):
        tasks = generated(range(first, min(first + 1000, options.last)))
        native = ask(NATIVE, tasks)
        for other in (INTERPRETER, aarch64()) if options.all else (INTERPRETER,):
            for difference in differences(tasks, native, ask(other, tasks)):
                print(f"{other.name}: {difference}")
                found += 1
    print(f"{found} differences in programs {options.first} to {options.last}")
    sys.exit(found > 0)


if __name__ == "__main__":
    main()

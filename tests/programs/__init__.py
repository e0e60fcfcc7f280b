"""One program in three languages, each over its own runtime and standard library, and none knowing of edgenode: built for wasm32-wasip1.

All of them make the same report. They read samples as CSV from stdin (time,channel,value,unit, below a header), count their runs in
/state/in and /state/out, and leave in /out/derived.csv the samples over ``above`` of /in/params.json, as channels NAME.over. Each channel's
values also go to a file /tmp/parts/NAME.part, which is renamed to NAME.txt, found by listing the folder, and removed with it. What they
print is JSON: ``steps``, ``over``, ``parts`` (name -> bytes), ``channels`` (name -> count, least, greatest, mean), and whether a pause took
its time, ``waited``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

_BUILD = Path(__file__).parents[2] / "build"
_OLDEST_GO = (1, 21)  # the first with wasip1


@dataclass(frozen=True)
class _Compiler:
    """``command`` runs in the sources' folder and takes the output's path as ``{output}``."""

    version: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def build(language: str) -> Path:
    """The program in this language, compiled again only when a source, the command or the compiler has changed.

    Skips the test where there is no compiler; raises CalledProcessError when it refuses the source, with its words on stderr.
    """
    compiler, folder = _COMPILERS[language](), Path(__file__).parent / language
    sources = [path.read_text() for path in sorted(folder.iterdir())]
    of = hashlib.sha256("\0".join([compiler.version, *compiler.command, *sources]).encode())
    wasm = _BUILD / "programs" / f"{language}-{of.hexdigest()[:16]}.wasm"
    if not wasm.exists():
        wasm.parent.mkdir(parents=True, exist_ok=True)
        part = wasm.with_suffix(f".{os.getpid()}")
        command = [argument.format(output=part) for argument in compiler.command]
        subprocess.run(command, cwd=folder, env=os.environ | compiler.environment, check=True)
        part.rename(wasm)
    return wasm


def _c() -> _Compiler:
    return _zig("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-s", "-o", "{output}", "report.c")


def _zig(verb: str, *arguments: str) -> _Compiler:
    command, cache = (sys.executable, "-m", "ziglang"), str(_BUILD / "zig-cache")
    environment = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    return _Compiler(_said(*command, "version"), (*command, verb, "-target", "wasm32-wasi", *arguments), environment)


def _go() -> _Compiler:
    go = shutil.which("go", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    version = _said(go, "version") if go else ""
    found = re.search(r"go(\d+)\.(\d+)", version)
    if go is None or found is None or (int(found[1]), int(found[2])) < _OLDEST_GO:
        pytest.skip("needs Go 1.21 or later")
    environment = {"GOOS": "wasip1", "GOARCH": "wasm", "GOCACHE": str(_BUILD / "go-cache"), "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    return _Compiler(version, (go, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "{output}", "."), environment)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


_COMPILERS: Final[Mapping[str, Callable[[], _Compiler]]] = {
    "c": _c,
    "go": _go,
    "zig": lambda: _zig("build-exe", "-OReleaseSafe", "-fstrip", "-femit-bin={output}", "report.zig"),
}

LANGUAGES: Final = tuple(_COMPILERS)

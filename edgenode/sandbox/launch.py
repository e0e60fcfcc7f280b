"""Starting the processes of the sandbox: with no environment, no inherited descriptors, and only the import path that they need."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgenode.errors import FaultError


def launch(
    module: str,
    arguments: Sequence[int | str],
    *,
    inherit: Sequence[int] = (),
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``edgenode.sandbox.<module>``, whose ``main`` gets ``arguments`` as sys.argv[1:]. Safe in a process with threads.

    Not with ``-m``: isolated mode (-I) finds only installed packages, and without ``site`` (-S) none at all; the two folders that are
    needed are given by name, which serves an installed wheel and a checkout alike, starts faster, and runs nobody's ``.pth`` files.
    """
    code = f"import sys; sys.path += {_import_path()!r}; from edgenode.sandbox.{module} import main; main()"
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)],
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.DEVNULL,  # a guest that broke out must not fill the agent's log
        pass_fds=tuple(inherit),
        cwd="/",
        env={},
        start_new_session=True,  # Ctrl-C at a terminal is for the agent, which ends its workers in order
    )


def _import_path() -> list[str]:
    engine = importlib.util.find_spec("wasmtime")  # finds, does not import
    if engine is None or engine.origin is None:
        raise FaultError("the wasmtime package is not installed", hint="install edgenode again")
    folders = (Path(__file__).parents[2], Path(engine.origin).parents[1])
    return list(dict.fromkeys(str(folder.resolve()) for folder in folders))

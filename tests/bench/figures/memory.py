"""agent_idle_mb: the memory of the agent's process, without its workers, while nothing happens but a reading a second."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.figure import Figure, Measured
from tests.bench.node import running

IDLE_SECONDS = 5.0
LIBRARIES = "aiohttp, cbor2, cryptography.x509, nacl.signing, psutil, sqlite3, zeroconf.asyncio"

FIGURES = (Figure(name="agent_idle_mb", unit="MB", at_most=64, against="an interpreter with the agent's libraries"),)

_BARE = f"import {LIBRARIES}\nprint('ready', flush=True)\ninput()"


def measure() -> Mapping[str, Measured]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "tests.bench.fleet", folder], check=True)  # not here: it would share its libraries
        with running(Path(folder, "node")) as node:
            time.sleep(IDLE_SECONDS)
            idle = _pss_mb(node.pid)
    # One after the other, not side by side, for the same reason.
    with subprocess.Popen([sys.executable, "-c", _BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bare:
        if bare.stdout is None or bare.stdin is None or not bare.stdout.readline():
            raise RuntimeError("the bare interpreter ended")
        baseline = _pss_mb(bare.pid)
        bare.communicate("\n")
    return {"agent_idle_mb": Measured(idle, baseline)}


def _pss_mb(pid: int) -> float:
    """The proportional set size (proc_pid_smaps(5)): pages that several processes share count in parts."""
    found = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"no Pss of process {pid}")
    return int(found[1]) * 1024 / 1e6

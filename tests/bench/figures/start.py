"""agent_start_s: from the start of the node's process until it takes calls."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from tests.bench.figure import Figure, Measured
from tests.bench.figures.memory import LIBRARIES
from tests.bench.node import running

STARTS = 7

FIGURES = (Figure(name="agent_start_s", unit="s", at_most=1.5, against="an interpreter that imports the agent's libraries"),)


def measure() -> Mapping[str, Measured]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "tests.bench.fleet", folder], check=True)
        starts, bare = [], []
        for _ in range(1 + STARTS):
            with running(Path(folder, "node")) as node:
                starts.append(node.started_s)
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {LIBRARIES}"], check=True)
            bare.append(time.perf_counter() - began)
    # The first makes its certificate, databases and byte code.
    return {"agent_start_s": Measured(median(starts[1:]), median(bare[1:]))}

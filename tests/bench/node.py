"""A node in a process of its own, as a device runs it. Nothing is imported here that would share memory with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

COMMAND = [sys.executable, "-m", "edgenode", "node", "run", "--log-level", "error", "--state"]


class Node(NamedTuple):
    pid: int
    port: int
    started_s: float  # from the start of the process until it said that it is ready

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def running(folder: Path) -> Iterator[Node]:
    """The node with this state folder, ready; ended with SIGTERM afterwards. Raises RuntimeError when it does not come up."""
    began = time.perf_counter()
    with subprocess.Popen([*COMMAND, folder], stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("no pipe")
            line = process.stdout.readline()
            took = time.perf_counter() - began
            if not line:
                raise RuntimeError(f"the node ended with status {process.wait()}")
            yield Node(process.pid, json.loads(line)["port"], took)
        finally:
            process.terminate()

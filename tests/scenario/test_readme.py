"""The README's Python example runs as it stands there, and is as short as it claims to be."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[Path]:
    """The demo's hub and nodes, up until the test ends; the folder of their states."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "edgenode", "demo", "--keep", "--state", str(tmp_path / "floor")], stdout=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if line.startswith("Ctrl-C"):
                break
        yield tmp_path / "floor"
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=20)


def test_the_python_example_runs(floor: Path) -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(example.splitlines()) <= 15
    environment = {**os.environ, "EDGENODE_HOME": str(floor / "laptop")}
    ran = subprocess.run([sys.executable, "-c", example], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    names = sorted(line.split()[0] for line in ran.stdout.splitlines())
    assert names == ["node-1", "node-2", "node-3"]
    assert all(line.split()[1] == "ok" for line in ran.stdout.splitlines())

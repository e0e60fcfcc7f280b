"""The wheel holds everything that runs: no checkout beside it, no file left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but what the wheel brings."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("edgenode-*.whl")
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return site


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(installed.parent)}
    command = [sys.executable, "-P", "-m", "edgenode", *words]
    return subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_runs_from_the_wheel_and_not_from_the_checkout(installed: Path) -> None:
    where = "import edgenode, edgenode_sdk; print(edgenode.__file__, edgenode_sdk.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    ran = subprocess.run([sys.executable, "-P", "-c", where], cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(installed / "edgenode/__init__.py"), str(installed / "edgenode_sdk/__init__.py")]


def test_brings_the_built_in_modules(installed: Path) -> None:
    for name in ("statistics", "threshold-alarm", "vibration-features"):
        ran = run(installed, "module", "inspect", name, "--json")
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)


def test_runs_the_whole_demo(installed: Path) -> None:
    ran = run(installed, "demo", "--nodes", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)["receipts"]) == 1

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.config import SandboxConfig
from edgenode.sandbox.pool import Pool

from .guests import Run, run

KEY = bytes(range(32))


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One worker for all tests that leave it whole."""
    with Pool(SandboxConfig(), cache=tmp_path_factory.mktemp("code"), mac_key=KEY) as started:
        yield started
        pids = started.status().pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def own_pool(tmp_path: Path) -> Iterator[Pool]:
    """A worker for a test that harms it."""
    with Pool(SandboxConfig(), cache=tmp_path / "code", mac_key=KEY) as started:
        yield started


@pytest.fixture(name="step")
def _step(pool: Pool) -> Run:
    """Run a guest in a worker."""
    return functools.partial(run, pool)


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    try:
        leftover, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    assert leftover == 0, "a child process ended and nobody waited for it"

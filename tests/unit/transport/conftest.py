from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .lan import Lan, Machine


@pytest.fixture
async def lan(tmp_path: Path) -> AsyncIterator[Lan]:
    lan = Lan(tmp_path)
    yield lan
    await lan.close()


@pytest.fixture
async def server(lan: Lan) -> Machine:
    """A server with the calls that lan.py describes."""
    return await lan.serve()

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgenode import agent
from edgenode.testing import Fleet, Laptop


@pytest.fixture(autouse=True)
def _meet_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of a test start one after another: those that were not up yet are tried again at once."""
    monkeypatch.setattr(agent, "MEET_SECONDS", 0.05)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A fleet with nothing in it yet; what a test starts is stopped at its end."""
    async with Fleet(tmp_path) as fleet:
        yield fleet


@pytest.fixture
async def node(fleet: Fleet) -> Fleet:
    """The same with one node, a, that runs."""
    fleet.enrol("a")
    await fleet.start("a")
    return fleet


@pytest.fixture
async def laptop(node: Fleet) -> AsyncIterator[Laptop]:
    """A laptop that knows node a and has signed the guest hello."""
    node.publisher.sign("hello")
    async with node.laptop() as laptop:
        yield laptop

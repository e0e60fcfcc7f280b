from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from edgenode.hub.api import Hub
from edgenode.hub.store import HubStore
from edgenode.transport.client import Client
from edgenode.trust.identity import Identity

from .fleet import Fleet, Member

Connect = Callable[..., Client]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def node(fleet: Fleet) -> Member:
    return fleet.node()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HubStore]:
    store = HubStore(tmp_path / "hub.db")
    yield store
    store.close()


@pytest.fixture
async def hub(fleet: Fleet, tmp_path: Path) -> AsyncIterator[Hub]:
    hub = Hub(fleet.write_hub(tmp_path / "hub"), fleet.clock)
    await hub.start()
    yield hub
    await hub.stop()


@pytest.fixture
async def connect(fleet: Fleet, hub: Hub) -> AsyncIterator[Connect]:
    """Clients of the hub, closed at the end."""
    clients: list[Client] = []

    def connect(identity: Identity, node_document: bytes = b"") -> Client:
        clients.append(fleet.client(identity, hub.port, node_document=node_document))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()

"""What a hub holds, asked from the laptop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from edgenode.clock import seconds
from edgenode.errors import PinError
from edgenode.formats.trust import Role
from edgenode.transport.client import Client
from edgenode.transport.hub_api import HubApi
from edgenode.transport.node_api import ReceiptItem
from edgenode_sdk.home import Home


@asynccontextmanager
async def connect(address: str, key: bytes | None, home: Home) -> AsyncIterator[HubApi]:
    """A hub of this fleet: it has ``key``, or, if None is given, one that the trust document lets be a hub. Raises TrustError otherwise."""
    client = Client(address, identity=home.identity(Role.SUBMITTER.value), clock=home.clock, pin=key)
    async with client:
        await client.card()
        if client.server_key is None:
            raise PinError(f"{address} proved no key")
        home.keyring().check(client.server_key, Role.HUB, seconds(home.clock))
        yield HubApi(client)


async def status(address: str, key: bytes | None, home: Home) -> dict[str, Any]:
    async with connect(address, key, home) as hub:
        return await hub.status()


async def receipts(address: str, key: bytes | None, job: bytes, home: Home) -> list[ReceiptItem]:
    """Every receipt of a job that the hub holds, as it got them: nothing is verified."""
    async with connect(address, key, home) as hub:
        return [item async for item in hub.receipts(job)]

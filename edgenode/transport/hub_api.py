"""The calls of a hub, typed: what laptops ask of it (docs/protocol.md, "HTTP"). Nodes deliver to it through ``uplink``."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from edgenode.errors import MalformedError
from edgenode.transport.client import Client
from edgenode.transport.node_api import ReceiptItem
from edgenode.transport.wire import CURSOR_HEADER, RECEIPTS, STATUS, decode_parts, parse_json

PAGE_LIMIT = 16 << 20  # bytes of one page of receipts
PAGE_PARTS = 2048
_CURSOR = re.compile(r"[0-9]{1,19}")


class HubApi:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def receipts(self, job: bytes) -> AsyncIterator[ReceiptItem]:
        """Every receipt of a job that the hub holds, in the order in which they came there, as it got them: nothing is verified."""
        cursor = "0"
        while True:
            body, following = await self.client.page(f"{RECEIPTS}?job={job.hex()}&after={cursor}", CURSOR_HEADER, limit=PAGE_LIMIT)
            parts = decode_parts(body, least=0, most=PAGE_PARTS, limit=PAGE_LIMIT, limit_name="transport.page_bytes")
            if not parts:
                return
            whole = len(parts) % 2 == 0 and _CURSOR.fullmatch(following)
            if not whole or int(following) <= int(cursor):  # always further on, or the pages would never end
                raise MalformedError(f"{self.client.address} sent a page of receipts that is none")
            for at in range(0, len(parts), 2):
                yield ReceiptItem(parts[at], parts[at + 1])
            cursor = following

    async def status(self) -> dict[str, Any]:
        return parse_json(await self.client.request("GET", STATUS))

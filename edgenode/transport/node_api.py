"""The calls of a node, typed: what peers and laptops ask of it (docs/protocol.md, "HTTP")."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from edgenode.errors import MalformedError, ModuleMissingError
from edgenode.formats import cbor
from edgenode.records import digest
from edgenode.transport.client import Client
from edgenode.transport.wire import BLOBS, JOBS, MODULES, STATUS, decode_header, encode_parts, parse_hex, parse_json, plain_text

ITEM_LIMIT = 4 << 20  # bytes of one item in a stream of receipts
DETAIL_LIMIT = 1 << 20  # bytes of one JSON answer
PEER_SECONDS = 30.0  # that a node may take to ask its peers for what they have, when it need not wait for more


@dataclass(frozen=True, slots=True)
class Card:
    """What a node or hub says of itself to anybody. Only ``document`` proves something, and only together with the key of the handshake."""

    kind: str  # node, hub
    name: str
    key: bytes
    document: bytes  # the signed node document; empty for a hub, or a node that has none yet
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReceiptItem:
    """A receipt in a stream, with the document of the node that signed it."""

    receipt: bytes
    node_document: bytes


@dataclass(frozen=True, slots=True)
class Execution:
    """What a node says became of a job there. A hint: only receipts are signed."""

    node: str  # key, hex
    name: str
    state: str  # open, done, stopped, failed, refused, unreachable
    reason: str
    steps: int = 0
    done_steps: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "steps": self.steps,
            "done_steps": self.done_steps,
        }


StreamItem = ReceiptItem | Execution


class NodeApi:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def card(self) -> Card:
        """Raises MalformedError when the answer is not a card."""
        told = parse_json(await self.client.card())
        try:
            return Card(
                kind=plain_text(told["kind"], 16),
                name=plain_text(told["name"], 64),
                key=parse_hex(told["key"], 32, "the card's key"),
                document=decode_header(told.get("document") or ""),
                details=told,
            )
        except (KeyError, TypeError) as error:
            raise MalformedError(f"{self.client.address} shows no card of a node or hub: no fit {error}") from error

    async def submit(self, job: bytes, manifest: bytes, *, hops: int | None = None) -> dict[str, Any]:
        """Hand a job over. ``hops`` is given by a node that relays it: how much further it may go."""
        target = JOBS if hops is None else f"{JOBS}?hops={hops}"
        return parse_json(
            await self.client.request("POST", target, encode_parts([job, manifest] if manifest else [job]), limit=DETAIL_LIMIT)
        )

    async def offer(self, job: bytes, manifest: bytes, wasm: Callable[[], bytes], *, hops: int | None = None) -> dict[str, Any]:
        """Hand a job over, and its module's bytes first if the node has not got them."""
        try:
            return await self.submit(job, manifest, hops=hops)
        except ModuleMissingError:
            await self.put_module(wasm())
            return await self.submit(job, manifest, hops=hops)

    async def put_module(self, wasm: bytes) -> None:
        await self.client.request("PUT", f"{MODULES}/{digest(wasm).hex()}", wasm, limit=DETAIL_LIMIT)

    async def receipts(self, job: bytes, wait: float) -> AsyncIterator[StreamItem]:
        """The job's receipts at this node and those it relayed to, as they come, for at most ``wait`` s."""
        buffer = bytearray()
        async for chunk in self.client.stream("GET", f"{JOBS}/{job.hex()}/receipts?wait={wait:.3f}", seconds=max(wait, PEER_SECONDS)):
            buffer += chunk
            for item in cbor.take_items(buffer, limit=ITEM_LIMIT, limit_name="transport.item_bytes"):
                yield _stream_item(item)
        if buffer:
            raise MalformedError(f"{self.client.address} ended its answer in the middle of an item")

    async def blob(self, name: bytes, limit: int) -> bytes:
        """The bytes of this digest: a module, snapshot or state. The caller compares the digest."""
        return await self.client.request("GET", f"{BLOBS}/{name.hex()}", limit=limit)

    async def jobs(self) -> list[dict[str, Any]]:
        jobs = parse_json(await self.client.request("GET", JOBS)).get("jobs")
        if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
            raise MalformedError(f"{self.client.address} answers no list of jobs")
        return jobs

    async def job(self, job: bytes) -> dict[str, Any]:
        return parse_json(await self.client.request("GET", f"{JOBS}/{job.hex()}", limit=DETAIL_LIMIT))

    async def status(self) -> dict[str, Any]:
        return parse_json(await self.client.request("GET", STATUS, limit=DETAIL_LIMIT))


def encode_item(item: StreamItem) -> bytes:
    """One item of a receipts stream (RFC 8742 CBOR sequence): [receipt, node document], or [execution as JSON]."""
    if isinstance(item, ReceiptItem):
        return encode_parts([item.receipt, item.node_document])
    return encode_parts([json.dumps(item.to_json()).encode()])


def _stream_item(item: Any) -> StreamItem:
    if not isinstance(item, tuple) or not all(isinstance(part, bytes) for part in item) or len(item) not in (1, 2):
        raise MalformedError("an item of the receipts stream is neither a receipt nor an execution")
    if len(item) == 2:
        return ReceiptItem(*item)
    told = parse_json(item[0])
    try:
        return Execution(
            node=plain_text(told["node"], 64),
            name=plain_text(told["name"], 64),
            state=plain_text(told["state"], 16),
            reason=plain_text(told["reason"]),
            steps=_count(told["steps"]),
            done_steps=_count(told["done_steps"]),
        )
    except (KeyError, TypeError) as error:
        raise MalformedError(f"an execution in the receipts stream has no fit {error}") from error


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("count of steps")
    return value

"""Passing jobs on to peers, and their receipts back.

meet     hint -> pinned handshake -> card -> node document -> a peer
pass_on  a job to one peer, its module first if it is missing there
receipts what one peer has of a job, and those it passed the job on to
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from edgenode.clock import Clock, seconds
from edgenode.config import PeersConfig
from edgenode.errors import PinError, TransportError, UnreachableError
from edgenode.peers.table import Peer, PeerTable
from edgenode.transport.client import Client
from edgenode.transport.node_api import NodeApi, StreamItem
from edgenode.trust.identity import Identity
from edgenode.trust.keyring import Keyring, short
from edgenode.trust.verify import verify_node


class Relay:
    """This node's calls to its peers, over one kept connection each."""

    def __init__(
        self,
        config: PeersConfig,
        table: PeerTable,
        *,
        identity: Identity,
        document: bytes,
        keyring: Callable[[], Keyring],
        clock: Clock,
    ) -> None:
        self._config, self._table = config, table
        self._identity, self._document, self._keyring, self._clock = identity, document, keyring, clock
        self._links: dict[bytes, NodeApi] = {}
        self._doubts: set[bytes] = set()

    async def close(self) -> None:
        await asyncio.gather(*(link.client.close() for link in self._links.values()))
        self._links.clear()

    async def meet(self, address: str, key: bytes | None, found_by: str) -> Peer | None:
        """Find out who is at this address, and remember the peer. None when it is this node itself.

        Raises PinError when it is not ``key`` (if given), TrustError when no registrar of the fleet signed for it, UnreachableError.
        """
        link = self._link(address, key)
        try:
            card = await link.card()
            verified = verify_node(card.document, self._keyring(), seconds(self._clock))
            node = verified.node
            if link.client.server_key != node.public_key:
                raise PinError(f"{address} shows the document of {node.name}, and has another key")
        except BaseException:
            await link.client.close()
            raise
        if node.public_key == self._identity.public:
            await link.client.close()
            return None
        peer = Peer(node, verified.data, address, found_by, self._clock.now_ns())
        known = self._table.get(peer.key)
        if known is not None and known.address == address and peer.key in self._links:
            await link.client.close()  # the old connection may carry streams
            self._doubts.discard(peer.key)
            self._table.put(peer)
            return peer
        for other in self._table:
            if other.key == peer.key or other.address == address:  # it has moved, or another device stands in its place
                await self.forget(other.key)
        await self.forget(peer.key)  # also the link of one that had to make room in the table
        self._table.put(peer)
        self._links[peer.key] = link
        return peer

    async def forget(self, key: bytes) -> None:
        self._table.remove(key)
        self._doubts.discard(key)
        if link := self._links.pop(key, None):
            await link.client.close()

    def doubts(self, key: bytes) -> bool:
        """Whether this peer could not be reached since it was met the last time."""
        return key in self._doubts

    async def pass_on(self, peer: Peer, job: bytes, manifest: bytes, wasm: Callable[[], bytes], hops: int) -> dict[str, object]:
        """Hand a job to a peer; its answer. Raises what the peer raised, or UnreachableError."""
        async with self._watched(peer.key) as link:
            return await link.offer(job, manifest, wasm, hops=hops)

    async def receipts(self, key: bytes, job: bytes, wait: float) -> AsyncGenerator[StreamItem, None]:
        async with self._watched(key) as link:
            async for item in link.receipts(job, wait):
                yield item

    @asynccontextmanager
    async def _watched(self, key: bytes) -> AsyncIterator[NodeApi]:
        """The link to a peer: one that is not who it was is forgotten, and one that is out of reach doubted, so that both are met anew."""
        link = self._peer_link(key)
        try:
            yield link
        except PinError:
            if self._links.get(key) is link:
                await self.forget(key)
            raise
        except UnreachableError:
            if self._links.get(key) is link:
                self._doubts.add(key)
            raise

    def _peer_link(self, key: bytes) -> NodeApi:
        peer = self._table.get(key)
        if peer is None:
            raise TransportError(f"peer {short(key)} is not in reach", hint="its receipts reach the hub by themselves, and late ones count")
        if key not in self._links:
            self._links[key] = self._link(peer.address, key)
        return self._links[key]

    def _link(self, address: str, pin: bytes | None) -> NodeApi:
        client = Client(
            address,
            identity=self._identity,
            clock=self._clock,
            pin=pin,
            node_document=self._document,
            timeout=self._config.relay_seconds,
        )
        return NodeApi(client)

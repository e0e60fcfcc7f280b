"""The peers that this node has met. Bounded and pure: who may stand in it is decided by the handshake, not here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from edgenode.formats.trust import Node


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that proved its key in a handshake and its membership by a registrar's signature."""

    node: Node
    document: bytes
    address: str  # host:port
    found_by: str  # mdns, static
    met_ns: int

    @property
    def key(self) -> bytes:
        return self.node.public_key


class PeerTable:
    """At most ``limit`` peers by key; the one that was met longest ago makes room."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._peers: OrderedDict[bytes, Peer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def get(self, key: bytes) -> Peer | None:
        return self._peers.get(key)

    def put(self, peer: Peer) -> None:
        self._peers[peer.key] = peer
        self._peers.move_to_end(peer.key)
        while len(self._peers) > self._limit:
            self._peers.popitem(last=False)

    def remove(self, key: bytes) -> None:
        self._peers.pop(key, None)

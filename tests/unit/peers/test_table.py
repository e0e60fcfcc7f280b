"""The table of peers: bounded, by key, and safe to change while it is walked."""

from __future__ import annotations

from edgenode.peers.table import Peer, PeerTable

from ..ledger.documents import a_node


def peer(number: int, address: str = "10.0.0.1:7420") -> Peer:
    return Peer(a_node(bytes([number]) * 32, name=f"node-{number}"), b"", address, "mdns", 0)


def names(table: PeerTable) -> list[str]:
    return [one.node.name for one in table]


def test_the_one_that_was_met_longest_ago_makes_room() -> None:
    table = PeerTable(3)
    for number in (1, 2, 3, 1, 4, 5):
        table.put(peer(number))
    assert names(table) == ["node-1", "node-4", "node-5"]
    assert len(table) == 3


def test_a_flood_of_peers_stays_within_the_limit() -> None:
    table = PeerTable(10)
    for number in range(256):
        table.put(peer(number))
    assert len(table) == 10


def test_a_peer_met_again_takes_its_own_place() -> None:
    table = PeerTable(3)
    table.put(peer(1))
    table.put(peer(1, "10.0.0.9:7420"))
    assert len(table) == 1
    found = table.get(bytes([1]) * 32)
    assert found is not None
    assert found.address == "10.0.0.9:7420"


def test_removing_what_is_not_there_changes_nothing() -> None:
    table = PeerTable(3)
    table.put(peer(1))
    table.remove(bytes(32))
    assert names(table) == ["node-1"]
    assert table.get(bytes(32)) is None


def test_it_may_change_while_it_is_walked() -> None:
    table = PeerTable(3)
    for number in (1, 2, 3):
        table.put(peer(number))
    for one in table:
        table.remove(one.key)
    assert names(table) == []

"""What somebody on the LAN announces is a hint at most: garbage is none, and a flood of it fills nothing."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceInfo

from edgenode.peers import mdns
from edgenode.peers.mdns import HINTS, RESOLVING, SERVICE, Discovery, Hint

KEY = bytes(range(32))
NAME = f"press-7.{SERVICE}"
GOOD = {"v": "1", "key": KEY.hex(), "fleet": "0123abcd"}


def info(properties: dict[Any, Any], *, addresses: tuple[str, ...] = ("192.0.2.7",), port: int | None = 7420) -> AsyncServiceInfo:
    return AsyncServiceInfo(SERVICE, NAME, port=port, properties=properties, parsed_addresses=list(addresses))


def hint(properties: dict[Any, Any], **changes: Any) -> Hint | None:
    return mdns._hint(NAME, info(properties, **changes))


def test_a_nodes_announcement_is_a_hint() -> None:
    assert hint(GOOD) == Hint(NAME, KEY, "0123abcd", "192.0.2.7:7420")


@pytest.mark.parametrize(
    "key",
    ["", "00", KEY.hex()[:-1], KEY.hex() + "0", KEY.hex().upper(), "zz" * 32, " " * 64, "0x" + "0" * 62, "٣" * 64, None],
)
def test_a_key_that_is_none_is_no_hint(key: str | None) -> None:
    assert hint({**GOOD, "key": key}) is None


def test_no_key_no_address_or_no_port_is_no_hint() -> None:
    assert hint({}) is None
    assert hint({"fleet": "0123abcd"}) is None
    assert hint(GOOD, addresses=()) is None
    assert hint(GOOD, addresses=("2001:db8::1",)) is None
    assert hint(GOOD, port=0) is None
    assert hint(GOOD, port=None) is None


def test_a_fleet_is_cut_to_its_eight_digits_and_may_be_missing() -> None:
    found = [hint({**GOOD, "fleet": fleet}) for fleet in ("f" * 200, None)]
    assert [one and one.fleet for one in found] == ["ffffffff", ""]


@given(st.binary(max_size=255))
def test_any_bytes_in_the_txt_record_are_a_hint_or_none(text: bytes) -> None:
    record = AsyncServiceInfo(SERVICE, NAME, port=7420, properties=text, addresses=[socket.inet_aton("192.0.2.7")])
    found = mdns._hint(NAME, record)
    assert found is None or len(found.key) == 32


@given(st.dictionaries(st.sampled_from([b"key", b"fleet", b"v", b"\xff"]), st.one_of(st.none(), st.binary(max_size=80))))
def test_any_values_in_the_txt_record_are_a_hint_or_none(properties: dict[bytes, bytes | None]) -> None:
    found = hint(properties)
    assert found is None or len(found.key) == 32


FLEET = bytes.fromhex("0123abcd") * 4


class Heard:
    """A Discovery whose services answer at once, with what ``says`` has of them, and what it told of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says: dict[str, dict[str, str]] = {}
        self.found: list[str] = []
        self.lost: list[str] = []
        self.discovery = Discovery(["127.0.0.1"], FLEET, found=self._found, lost=lambda one: self.lost.append(one.service))
        said, read = self.says, mdns._hint

        async def answers(self: AsyncServiceInfo, *_: object) -> bool:
            return True

        monkeypatch.setattr(AsyncServiceInfo, "async_request", answers)
        monkeypatch.setattr(mdns, "_hint", lambda name, _: read(name, info(said.get(name, GOOD))))

    def _found(self, one: Hint) -> None:
        self.found.append(one.service)

    async def hear(self, name: str, change: ServiceStateChange = ServiceStateChange.Added) -> None:
        zeroconf: Any = None
        self.discovery._on_change(zeroconf, SERVICE, name, change)
        while self.discovery._resolving:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_flood_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = asyncio.Event()

    async def never(self: AsyncServiceInfo, *_: object) -> bool:
        return await endless.wait()

    monkeypatch.setattr(AsyncServiceInfo, "async_request", never)
    discovery = Discovery(["127.0.0.1"], FLEET, found=lambda one: None, lost=lambda one: None)
    zeroconf: Any = None
    for number in range(HINTS + 500):
        discovery._on_change(zeroconf, SERVICE, f"{number}.{SERVICE}", ServiceStateChange.Added)
    assert len(discovery._resolving) == RESOLVING
    assert len(discovery._waiting) == HINTS
    await discovery.__aexit__(None, None, None)
    await asyncio.sleep(0)
    assert not discovery._resolving
    assert not discovery._waiting


async def test_invented_names_make_room_for_a_new_node_and_for_one_that_was_met(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch)
    await heard.hear(f"met.{SERVICE}")
    heard.discovery.proved(f"met.{SERVICE}")
    for number in range(HINTS + 5):
        await heard.hear(f"{number}.{SERVICE}")
    await heard.hear(f"new.{SERVICE}")
    assert heard.found[-1] == f"new.{SERVICE}"
    assert heard.lost == [f"{number}.{SERVICE}" for number in range(7)]
    assert len(heard.discovery._hints) == HINTS


async def test_other_fleets_are_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch)
    heard.says[f"other.{SERVICE}"] = {**GOOD, "fleet": "ffffffff"}
    await heard.hear(f"other.{SERVICE}")
    assert not heard.found
    assert not heard.discovery._hints


async def test_a_goodbye_ends_a_hint_and_it_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch)
    for change in (ServiceStateChange.Added, ServiceStateChange.Updated, ServiceStateChange.Removed, ServiceStateChange.Added):
        await heard.hear(NAME, change)
    assert heard.found == [NAME, NAME]
    assert heard.lost == [NAME]

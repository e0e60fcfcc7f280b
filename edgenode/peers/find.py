"""Keeping the table of peers in step with what the config names and what is announced on the LAN.

A lead is an address where a peer may be: of the config, or of a hint that came by mDNS. One loop meets every lead that has no peer in the
table, again and again. Only a handshake puts a peer into the table, and only a failed one takes it out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from edgenode.config import PeersConfig
from edgenode.errors import EdgenodeError
from edgenode.peers.mdns import Discovery, Hint, interface_addresses
from edgenode.peers.relay import Relay
from edgenode.peers.table import PeerTable

log = logging.getLogger(__name__)

MEET_MOST = 60.0  # s between tries to meet at one lead, doubled each time up to this
MEET_WITHIN = 10.0  # s for one try: who answers slowly must not keep others waiting
MEETING = 16  # tries at once
MULTICAST_SECONDS = 30.0  # before multicast is tried again: a node may be up before its network is


@dataclass(slots=True, eq=False)
class _Lead:
    name: str  # of the service, or the static address
    address: str
    key: bytes | None  # as claimed; None for a static address, where any node of the fleet may be
    due: float  # on the loop's clock
    tries: int = 0  # that failed, since the last that did not
    met: bytes | None = None  # who was found here the last time
    leaving: bool = False  # its goodbye came: it is met once more, and believed to be gone if that fails

    @property
    def names(self) -> tuple[bytes | None, str]:
        return self.key or self.met, self.address


class Finder:
    """Meets peers for as long as ``run`` does. ``retry``: the first pause in s after a try that failed."""

    def __init__(self, config: PeersConfig, table: PeerTable, relay: Relay, *, name: str, key: bytes, fleet: bytes, retry: float) -> None:
        self._config, self._table, self._relay = config, table, relay
        self._name, self._key, self._fleet, self._retry = name, key, fleet, retry
        self._leads: dict[str, _Lead] = {}
        self._meeting: set[_Lead] = set()
        self._woken = asyncio.Event()
        self._discovery: Discovery | None = None
        self.mdns = "off"  # or on, or why it is not

    async def run(self, port: int) -> None:
        """Announce that this node listens on ``port``, and meet the others, until cancelled."""
        now = asyncio.get_running_loop().time()
        self._leads = {address: _Lead(address, address, None, now) for address in self._config.static}
        async with asyncio.TaskGroup() as group:
            if self._config.mdns:
                group.create_task(self._listen(port))
            while True:
                self._woken.clear()
                for lead in self._due()[: MEETING - len(self._meeting)]:
                    self._meeting.add(lead)
                    group.create_task(self._meet(lead))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._retry):
                        await self._woken.wait()

    # hints

    async def _listen(self, port: int) -> None:
        while True:
            try:
                async with Discovery(self._config.interfaces, self._fleet, found=self._found, lost=self._lost) as discovery:
                    self._discovery = discovery
                    await discovery.announce(name=self._name, key=self._key, port=port)
                    self.mdns = "on"
                    await self._network_changed(discovery)
            except EdgenodeError as error:
                self.mdns = f"{error.what}; {error.hint}"
                log.warning("%s", self.mdns)
                await asyncio.sleep(MULTICAST_SECONDS)
            for lead in list(self._leads.values()):  # whoever is still there is found again
                if lead.key is not None:
                    self._goodbye(lead)

    async def _network_changed(self, discovery: Discovery) -> None:
        """Return when this machine has other addresses than before, as after DHCP. Never when the config names the interfaces."""
        before = interface_addresses()
        while self._config.interfaces or interface_addresses() == before:
            await asyncio.sleep(MULTICAST_SECONDS)
            await discovery.look_again()

    def _found(self, hint: Hint) -> None:
        lead = self._leads.get(hint.service)
        if lead is not None and (lead.key, lead.address) == (hint.key, hint.address):
            lead.leaving = False
            return
        self._leads.pop(hint.service, None)  # a new lead stands at the end
        self._leads[hint.service] = _Lead(hint.service, hint.address, hint.key, asyncio.get_running_loop().time())
        self._woken.set()

    def _lost(self, hint: Hint) -> None:
        if lead := self._leads.get(hint.service):
            self._goodbye(lead)

    def _goodbye(self, lead: _Lead) -> None:
        """Anybody can say goodbye for anybody: a peer that was met here is asked once more, when it has had time to go."""
        if lead in self._meeting or self._is_last(lead):
            lead.leaving = True
            lead.due = asyncio.get_running_loop().time() + self._retry
        else:
            del self._leads[lead.name]

    def _is_last(self, lead: _Lead) -> bool:
        """Whether the peer that this lead names is in the table at its address, and no other lead says so."""
        peer = self._table.get(lead.key) if lead.key else None
        if peer is None or peer.address != lead.address:
            return False
        return all(one is lead or one.leaving or one.names != lead.names for one in self._leads.values())

    # meeting

    def _due(self) -> list[_Lead]:
        """The leads to meet at now: first those that are known to be good, then those tried least, then the newest.

        So a flood of invented ones keeps neither an old peer waiting, nor a new one for long.
        """
        now = asyncio.get_running_loop().time()
        sound = {peer.key: peer.address for peer in self._table if not self._relay.doubts(peer.key)}
        addresses = set(sound.values())
        named = {lead.names for lead in self._leads.values() if not lead.leaving}

        def settled(lead: _Lead) -> bool:
            if lead.address in addresses and lead.key is None:
                return True
            key, _ = lead.names
            if key is None or key not in sound:
                return False
            if lead.key is None:  # the same node at two addresses of the config
                return sound[key] in self._config.static
            return sound[key] == lead.address or (key, sound[key]) in named

        newest = reversed(self._leads.values())
        due = [lead for lead in newest if lead.due <= now and lead not in self._meeting and (lead.leaving or not settled(lead))]
        return sorted(due, key=lambda lead: (lead.key is not None and lead.met is None, lead.tries))

    async def _meet(self, lead: _Lead) -> None:
        leaving = lead.leaving
        found_by = "static" if lead.key is None else "mdns"
        try:
            async with asyncio.timeout(MEET_WITHIN):
                peer = await self._relay.meet(lead.address, lead.key, found_by)
        except Exception as error:  # what strangers on the network say must not end the node
            level = logging.DEBUG if lead.tries else logging.WARNING
            expected = isinstance(error, EdgenodeError | TimeoutError)
            log.log(level, "no peer at %s: %s", lead.address, error or "it is too slow", exc_info=None if expected else error)
            if leaving and lead.leaving and self._leads.get(lead.name) is lead:
                if lead.key is not None and self._is_last(lead):
                    await self._relay.forget(lead.key)
                del self._leads[lead.name]
            self._again(lead, failed=True)
        else:
            if peer is not None:
                log.info("met %s at %s by %s", peer.node.name, lead.address, found_by)
                lead.met = peer.key
                if self._discovery is not None and self._leads.get(lead.name) is lead:
                    self._discovery.proved(lead.name)
            lead.leaving = lead.leaving and not leaving
            self._again(lead, failed=peer is None)  # None is this node itself
        finally:
            self._meeting.discard(lead)
            self._woken.set()

    def _again(self, lead: _Lead, *, failed: bool) -> None:
        pause = min(self._retry * 2.0 ** min(lead.tries, 16), MEET_MOST) if failed else self._retry
        lead.tries = lead.tries + 1 if failed else 0
        lead.due = asyncio.get_running_loop().time() + pause

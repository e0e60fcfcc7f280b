"""Finding nodes on the LAN by multicast DNS (RFC 6762, 6763). The only importer of zeroconf.

What comes in here is a hint: anybody on the LAN can say anything. The handshake decides who a peer is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from zeroconf import IPVersion, NonUniqueNameException, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from edgenode.errors import TransportError

log = logging.getLogger(__name__)

SERVICE = "_edgenode._tcp.local."
RESOLVE_MS = 3_000
HINTS = 1_000  # services remembered at once: a flood of names must not fill the memory
RESOLVING = 32  # services asked at once for what they say
KEY_HEX = 64


@dataclass(frozen=True, slots=True)
class Hint:
    """A service that somebody announced: a node's claimed key, fleet and where it says it listens."""

    service: str
    key: bytes
    fleet: str  # the first 8 hex digits
    address: str  # host:port


def interface_addresses() -> list[str]:
    """This machine's IPv4 addresses that peers may reach; the loopback only when there is no other."""
    import psutil

    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]
    return found or ["127.0.0.1"]


class Discovery:
    """Announces this node, if asked to, and tells of every other. Use as an async context manager.

    ``found`` and ``lost`` are called on the loop, for nodes of ``fleet`` alone. Of more than HINTS, the oldest is lost that nobody said
    was ``proved``. Raises TransportError at the start where multicast is not available.
    """

    def __init__(self, interfaces: Sequence[str], fleet: bytes, *, found: Callable[[Hint], None], lost: Callable[[Hint], None]) -> None:
        self._interfaces = list(interfaces) or interface_addresses()
        self._found, self._lost = found, lost
        self._fleet = fleet.hex()[:8]
        self._hints: dict[str, Hint] = {}
        self._proved: set[str] = set()
        self._overflowed = False
        self._waiting: dict[str, None] = {}  # services to resolve, the newest last
        self._resolving: dict[str, asyncio.Task[None]] = {}
        self._own: AsyncServiceInfo | None = None
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None

    async def __aenter__(self) -> Self:
        try:
            self._zeroconf = AsyncZeroconf(interfaces=self._interfaces, ip_version=IPVersion.V4Only)
            await self._zeroconf.zeroconf.async_wait_for_start()
        except (OSError, TimeoutError) as error:
            if self._zeroconf is not None:
                await self._zeroconf.async_close()
            raise TransportError(
                f"multicast DNS is not available on {', '.join(self._interfaces)}: {error}", hint="name the nodes in peers.static"
            ) from error
        self._browse(self._zeroconf)
        return self

    def _browse(self, zeroconf: AsyncZeroconf) -> None:
        self._browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[self._on_change])

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._browser is not None:
            await self._browser.async_cancel()
        self._waiting.clear()
        for task in self._resolving.values():
            task.cancel()
        await asyncio.gather(*self._resolving.values(), return_exceptions=True)
        if self._zeroconf is not None:
            await self._zeroconf.async_close()  # says goodbye to the peers as well

    async def announce(self, *, name: str, key: bytes, port: int) -> None:
        """Say on the LAN that this node is here."""
        if self._zeroconf is None:
            raise RuntimeError("not started")
        self._own = AsyncServiceInfo(
            SERVICE,
            f"{name}-{key.hex()[:8]}.{SERVICE}",
            port=port,
            properties={"v": "1", "key": key.hex(), "fleet": self._fleet},
            parsed_addresses=self._interfaces,
            server=f"{name}-{key.hex()[:8]}.local.",
        )
        try:
            await self._zeroconf.async_register_service(self._own)
        except NonUniqueNameException as error:
            raise TransportError(f"another machine announces {self._own.name}", hint="is this node's key used twice?") from error

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if self._own is not None and name == self._own.name:
            return
        self._waiting.pop(name, None)
        if state_change is ServiceStateChange.Removed:
            if task := self._resolving.get(name):
                task.cancel()
            self._drop(name)
            return
        self._waiting[name] = None
        if len(self._waiting) > HINTS:
            del self._waiting[next(iter(self._waiting))]
            self._overflowed = True
        self._resolve_more(zeroconf)

    def proved(self, service: str) -> None:
        """A peer was met by what this service says: others make room before it does."""
        if service in self._hints:
            self._proved.add(service)

    async def look_again(self) -> None:
        """Tell again of what had to make room, if anything had: nothing on the network says so again while it stays the same."""
        if self._overflowed and self._zeroconf is not None and self._browser is not None:
            self._overflowed = False
            await self._browser.async_cancel()
            self._browse(self._zeroconf)

    def _drop(self, name: str) -> None:
        self._proved.discard(name)
        if hint := self._hints.pop(name, None):
            self._lost(hint)

    def _keep(self, hint: Hint) -> None:
        self._hints.pop(hint.service, None)  # a new hint stands at the end
        self._proved.discard(hint.service)
        if len(self._hints) >= HINTS:
            self._drop(next((name for name in self._hints if name not in self._proved), next(iter(self._hints))))
            self._overflowed = True
        self._hints[hint.service] = hint
        self._found(hint)

    def _resolve_more(self, zeroconf: Zeroconf) -> None:
        for name in reversed(list(self._waiting)):
            if len(self._resolving) >= RESOLVING:
                return
            if name not in self._resolving:
                del self._waiting[name]
                task = asyncio.get_running_loop().create_task(self._resolve(zeroconf, name))
                self._resolving[name] = task
                task.add_done_callback(lambda _, name=name: self._resolved(zeroconf, name))  # type: ignore[misc]

    def _resolved(self, zeroconf: Zeroconf, name: str) -> None:
        self._resolving.pop(name, None)
        self._resolve_more(zeroconf)

    async def _resolve(self, zeroconf: Zeroconf, name: str) -> None:
        info = AsyncServiceInfo(SERVICE, name)
        if not await info.async_request(zeroconf, RESOLVE_MS):
            log.debug("%s does not answer", name)
            return
        hint = _hint(name, info)
        if hint is not None and hint.fleet == self._fleet and hint != self._hints.get(name):
            self._keep(hint)


def _hint(name: str, info: AsyncServiceInfo) -> Hint | None:
    """What an announcement says, or None when it is not one of ours."""
    properties = info.decoded_properties
    key, fleet = properties.get("key") or "", properties.get("fleet") or ""
    addresses = info.parsed_addresses(IPVersion.V4Only)
    if len(key) != KEY_HEX or not set(key) <= set("0123456789abcdef") or not addresses or not info.port:
        return None
    return Hint(name, bytes.fromhex(key), fleet[:8], f"{addresses[0]}:{info.port}")

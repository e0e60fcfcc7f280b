"""The calling end: one server, its key pinned, every request signed."""

from __future__ import annotations

import io
import secrets
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from edgenode.clock import Clock, seconds
from edgenode.errors import CallerError, ConfigError, LimitError, MalformedError, PinError, UnreachableError
from edgenode.formats import httpsig
from edgenode.transport import problem
from edgenode.transport.tls import PinnedKey, client_context
from edgenode.transport.wire import CARD, NODE_HEADER, encode_header
from edgenode.trust.identity import Identity
from edgenode.trust.keyring import short

VALIDITY = 60  # s that a signed request may be under way
ANSWER_LIMIT = 32 << 20  # bytes of one answer
CONNECT_SECONDS = 5.0
EXPECT_BYTES = 1 << 16  # a longer body is sent once the server has seen the request's signature and size (RFC 9110 §10.1.1)


class Client:
    """Signed calls to one server. ``pin`` is the public key that it must have; None learns it, for the caller to judge.

    ``node_document`` is sent along by nodes, so that the server knows them as such. Raises ConfigError when ``address`` is no host:port.
    """

    def __init__(
        self,
        address: str,
        *,
        identity: Identity,
        clock: Clock,
        pin: bytes | None = None,
        node_document: bytes = b"",
        timeout: float = 30.0,
    ) -> None:
        self.address = address.removeprefix("https://").rstrip("/")
        _check_address(self.address)
        self._identity = identity
        self._clock = clock
        self._pinned = PinnedKey(pin)
        self._extra = {NODE_HEADER: encode_header(node_document)} if node_document else {}
        self._timeout = timeout
        self._bounded = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS)
        self._context = client_context()
        self._session: aiohttp.ClientSession | None = None
        self._boot: str | None = None

    @property
    def server_key(self) -> bytes | None:
        """The public key that the server proved in the last handshake; all connections of this client have the same."""
        return self._pinned.seen

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def card(self) -> bytes:
        """The server's public card (JSON), which needs no signature; it also brings the boot nonce that signed requests need."""
        async with await self._send("GET", CARD, b"", {}, self._bounded) as response:
            await self._raise_for(response)
            return await self._body(response, ANSWER_LIMIT)

    async def request(self, method: str, target: str, body: bytes = b"", *, limit: int = ANSWER_LIMIT) -> bytes:
        """One signed call; the answer's body. Raises what the server raised, UnreachableError, PinError or LimitError."""
        async with await self._signed(method, target, body, self._bounded) as response:
            return await self._body(response, limit)

    async def page(self, target: str, header: str, *, limit: int = ANSWER_LIMIT) -> tuple[bytes, str]:
        """One signed GET; the answer's body, and the header that says where the next page begins (empty when there is none)."""
        async with await self._signed("GET", target, b"", self._bounded) as response:
            return await self._body(response, limit), response.headers.get(header, "")

    async def stream(self, method: str, target: str, *, seconds: float) -> AsyncIterator[bytes]:
        """One signed call whose answer comes in chunks as the server sends them, for ``seconds`` and the time that any call may take."""
        duration = aiohttp.ClientTimeout(total=seconds + self._timeout, sock_connect=CONNECT_SECONDS)
        async with await self._signed(method, target, b"", duration) as response:
            try:
                async for chunk in response.content.iter_any():
                    yield chunk
            except (aiohttp.ClientError, TimeoutError) as error:
                raise self._broke_off(error) from error

    async def _signed(self, method: str, target: str, body: bytes, duration: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        if self._boot is None:
            await self.card()
        if (boot := self._boot) is None:
            raise MalformedError(f"{self.address} is no edgenode server: its answer has no {httpsig.BOOT_HEADER}", hint="check the address")
        response = await self._send(method, target, body, self._headers(method, target, body, boot), duration)
        if response.status == CallerError.status and self._boot not in (boot, None):
            # The server was started again since: it has processed nothing, and its answer brought the new nonce.
            response.release()
            response = await self._send(method, target, body, self._headers(method, target, body, self._boot), duration)
        await self._raise_for(response)
        return response

    def _headers(self, method: str, target: str, body: bytes, boot: str) -> dict[str, str]:
        now = seconds(self._clock)
        signed = httpsig.sign(
            method,
            target,
            httpsig.content_digest(body),
            boot=boot,
            nonce=secrets.token_urlsafe(16),
            created=now,
            expires=now + VALIDITY,
            keyid=self._identity.public,
            signer=self._identity.sign,
        )
        return {**signed, **self._extra}

    async def _send(
        self, method: str, target: str, body: bytes, headers: dict[str, str], duration: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._pinned, keepalive_timeout=60, limit=32)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        url = URL(f"https://{self.address}{target}", encoded=True)
        data = io.BytesIO(body) if body else None  # aiohttp sends it in pieces, and warns of bytes over 1 MiB
        try:
            response = await self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                expect100=len(body) > EXPECT_BYTES,
                ssl=self._context,
                timeout=duration,
                allow_redirects=False,
            )
        except aiohttp.ServerFingerprintMismatch as error:
            got = f"key {short(error.got)}" if error.got else "no Ed25519 key"
            raise PinError(f"{self.address} has {got}, not {short(error.expected) or 'one'}") from error
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:
            raise UnreachableError(f"cannot reach {self.address}: {_reason(error)}") from error
        try:
            self._take_boot(response.headers.get(httpsig.BOOT_HEADER))
        except BaseException:
            response.close()
            raise
        return response

    def _take_boot(self, boot: str | None) -> None:
        """Sign for this server alone: one that shows the boot nonce of another wants to hand our requests on to it."""
        if boot is not None and boot != self._boot:
            if httpsig.boot_server(boot) != self.server_key:
                raise PinError(f"{self.address} shows the boot nonce of another server")
            self._boot = boot

    async def _raise_for(self, response: aiohttp.ClientResponse) -> None:
        if not 200 <= response.status < 300:
            async with response:
                raise problem.from_problem(await self._body(response, 1 << 16), response.status, self.address)

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        found = bytearray()
        try:
            async for chunk in response.content.iter_chunked(1 << 16):
                found += chunk
                if len(found) > limit:
                    raise LimitError("transport.answer_bytes", limit, len(found), hint=f"{self.address} sends more than it should")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._broke_off(error) from error
        return bytes(found)

    def _broke_off(self, error: Exception) -> UnreachableError:
        return UnreachableError(f"{self.address} broke off its answer: {str(error) or type(error).__name__}")


def _check_address(address: str) -> None:
    try:
        url = URL(f"https://{address}")
        whole = url.explicit_port and url.raw_authority == address.lower() and url.user is None and " " not in address
    except ValueError:
        whole = False
    if not whole:
        raise ConfigError(f"{address!r:.100} is not the address of a server", hint="host:port")


def _reason(error: Exception) -> str:
    """What the system says; aiohttp's own words name the address again, and the TLS context by its place in memory."""
    told = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return (isinstance(told, OSError) and told.strerror) or str(told) or type(told).__name__

"""Upstream by HTTP: a batch is one signed POST to the hub, its signed acknowledgement is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from edgenode.clock import Clock, seconds
from edgenode.config import UplinkConfig
from edgenode.errors import ConfigError, MalformedError, TrustError
from edgenode.formats.cose import DocumentType
from edgenode.records import KEY_BYTES, Batch
from edgenode.transport import wire
from edgenode.transport.client import Client
from edgenode.trust.identity import Identity
from edgenode.trust.keyring import Keyring, short
from edgenode.trust.verify import VerifiedAck, verify_ack


class HttpUplink:
    """One hub, its connection and its acknowledgements both pinned to the key of the configuration."""

    def __init__(
        self, config: UplinkConfig, *, identity: Identity, node_document: bytes, keyring: Callable[[], Keyring], clock: Clock
    ) -> None:
        self._hub = _hub_key(config.key)
        self._node = identity.public
        self._node_document = node_document
        self._keyring = keyring
        self._clock = clock
        self._client = Client(_address(config.url), identity=identity, clock=clock, pin=self._hub, node_document=node_document)

    async def deliver(self, batch: Batch) -> VerifiedAck:
        body = wire.encode_parts([self._node_document, *(one.data for one in batch.receipts)])
        answer = await self._client.request("POST", wire.RECEIPTS, body, limit=DocumentType.ACK.limit)
        # Off the loop: an acknowledgement of 1024 receipts takes a small device 50 ms to read.
        verified = await asyncio.to_thread(verify_ack, answer, self._keyring(), seconds(self._clock), hub=self._hub)
        if verified.ack.node != self._node:
            raise TrustError(f"the hub acknowledges receipts of node {short(verified.ack.node)}, not of this one", hint=_WRONG_ANSWER)
        if verified.ack.chain != batch.chain:
            raise TrustError(f"the hub acknowledges chain {short(verified.ack.chain)}, not {short(batch.chain)}", hint=_WRONG_ANSWER)
        return verified

    async def close(self) -> None:
        await self._client.close()


_WRONG_ANSWER = "the hub answers another request than it was sent: look at its version and log"


def _hub_key(text: str) -> bytes:
    try:
        return wire.parse_hex(text, KEY_BYTES, "the uplink's key")
    except MalformedError as error:
        raise ConfigError(error.what, hint="the hub's public key, as 'edgenode key show' prints it on the hub") from error


def _address(url: str) -> str:
    """host:port of an uplink's URL."""
    parts = urlsplit(url)
    try:
        whole = parts.scheme == "https" and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:  # a port that is no number
        whole = False
    if not whole or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"the uplink's url is {url!r}", hint="https://host:port of the hub")
    return parts.netloc

"""A batch as it came -> stored -> a signed acknowledgement.

    node document -> receipts -> store -> acknowledgement
         |              |          |
     whole batch    one by one   one by one: what is refused here

Who brought the batch does not matter: the receipts prove themselves against the node document that comes with them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from edgenode.clock import Clock, seconds
from edgenode.errors import EdgenodeError, MalformedError, NotUnderstoodError
from edgenode.formats import cose, document
from edgenode.formats.cose import DocumentType
from edgenode.formats.receipt import Ack, Receipt, Rejected, Stored
from edgenode.hub.store import HubStore
from edgenode.records import digest
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedNode, VerifiedReceipt, verify_node, verify_receipt

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch that was looked at: what is this node's own, and what nobody will ever believe."""

    node: VerifiedNode
    chain: bytes
    receipts: tuple[VerifiedReceipt, ...]
    rejected: tuple[Rejected, ...]


async def receive(parts: Sequence[bytes], *, keyring: Keyring, store: HubStore, identity: Identity, clock: Clock) -> bytes:
    """``parts``: a node document, then receipts of that node in one chain. The signed Ack, once what it names is on the disk.

    Raises TrustError when the node is not of the fleet or not any more, MalformedError when the receipts are of several chains or of none
    that can be read, StorageError: then nothing is acknowledged. Verifying and signing are done off the loop.
    """
    delivery = await asyncio.to_thread(verify, parts, keyring, seconds(clock))
    verdicts = await store.store(delivery.node, delivery.receipts, clock.now_ns())
    return await asyncio.to_thread(acknowledge, delivery, verdicts, identity, seconds(clock))


def verify(parts: Sequence[bytes], keyring: Keyring, now: int) -> Delivery:
    """Judge each receipt by itself, so that a bad one does not hold up the good ones behind it."""
    node = verify_node(parts[0], keyring, now)
    receipts: list[VerifiedReceipt] = []
    rejected: list[Rejected] = []
    claimed: list[bytes] = []  # chains of rejected receipts
    for data in parts[1:]:
        try:
            receipts.append(verify_receipt(data, node))
        except NotUnderstoodError as error:  # neither stored nor rejected: the node keeps it until this hub was upgraded
            log.warning("left a receipt with node %s: %s; %s", node.node.name, error.what, error.hint)
        except EdgenodeError as error:
            claim = _claim(data)
            rejected.append(Rejected(seq=claim.seq if claim else 0, digest=digest(data), code=error.code))
            if claim:
                claimed.append(claim.chain)
            log.warning("rejected a receipt from node %s: %s", node.node.name, error.what)
    chains = {one.receipt.chain for one in receipts} or set(claimed[:1])
    if len(chains) != 1:
        raise MalformedError(f"the batch of node {node.node.name} has receipts of {len(chains)} chains, not of one")
    return Delivery(node, chains.pop(), tuple(receipts), tuple(rejected))


def acknowledge(delivery: Delivery, verdicts: Sequence[Stored | Rejected], identity: Identity, now: int) -> bytes:
    return issue(
        Ack(
            node=delivery.node.node.public_key,
            chain=delivery.chain,
            issued=now,
            stored=tuple(one for one in verdicts if isinstance(one, Stored)),
            rejected=(*delivery.rejected, *(one for one in verdicts if isinstance(one, Rejected))),
        ),
        identity,
    )


def _claim(data: bytes) -> Receipt | None:
    """What a receipt that cannot be believed says of itself, so that its sender knows which one is meant."""
    try:
        signed = cose.parse(data, DocumentType.RECEIPT)
        return document.decode(Receipt, signed.payload, limit=len(signed.payload), limit_name=DocumentType.RECEIPT.limit_name)
    except EdgenodeError:
        return None

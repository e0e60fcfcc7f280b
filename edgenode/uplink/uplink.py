"""The contract between the outbox and a way upstream.

outbox --pending--> batch --deliver--> hub --signed acknowledgement--> outbox settles

At least once on the wire: only an acknowledgement removes a receipt from the outbox, and a receiver that gets one twice keeps it once.
"""

from __future__ import annotations

from typing import Protocol

from edgenode.formats.receipt import Ack
from edgenode.records import Batch
from edgenode.trust.verify import VerifiedAck


class Uplink(Protocol):
    """A way upstream. One contract suite runs over every one of them (tests/contract/test_uplink.py)."""

    async def deliver(self, batch: Batch) -> VerifiedAck:
        """Send the batch; the far end's signed word on what it holds durably, which is for this node and chain.

        Raises TransportError when the far end cannot be reached or is another one, TrustError when its word cannot be believed, and
        whatever EdgenodeError it refused the whole batch with. After an error nothing is known: the same batch may be sent again.
        """

    async def close(self) -> None:
        """Let go of connections. A later ``deliver`` opens them again."""


class Outbox(Protocol):
    """The receipts that wait. Its calls block, and come from one thread at a time but not always the same. They raise StorageError."""

    def pending(self, limit: int, limit_bytes: int) -> Batch | None:
        """The oldest receipts of one chain, at most ``limit`` and ``limit_bytes``, but one at least; None when nothing waits."""

    def settle(self, ack: Ack) -> int:
        """Take out what ``ack`` names; how many that were.

        Stored receipts go where both seq and digest are the outbox's own. Rejected ones are marked, not to be sent again; they are known
        by their digest alone, since the far end may not have been able to read a seq from bytes that it rejects.
        """

    def waiting(self) -> int:
        """How many receipts nobody has acknowledged or rejected."""

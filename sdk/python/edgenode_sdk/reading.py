"""What nodes have to compute with, by their own signed word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenode.errors import EdgenodeError, MalformedError, NotFoundError
from edgenode.formats.reading import Reading
from edgenode.transport.wire import decode_header, plain_text
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import verify_reading
from edgenode_sdk.fleet import AsyncFleet

DOCUMENT_LIMIT = 4096  # characters; a reading has some 300 bytes


def readings(fleet: AsyncFleet, told: Mapping[str, dict[str, Any] | EdgenodeError]) -> dict[str, Reading | EdgenodeError]:
    """The reading in each status that ``fleet.ask`` brought, or why there is none to believe, by the node's name."""
    keyring = fleet.home.keyring()
    found: dict[str, Reading | EdgenodeError] = {}
    for node in (one.node for one in fleet.nodes):
        status = told[node.name]
        try:
            found[node.name] = status if isinstance(status, EdgenodeError) else reading_of(status, keyring, node=node.public_key)
        except EdgenodeError as error:
            found[node.name] = error
    return found


def reading_of(status: Mapping[str, Any], keyring: Keyring, *, node: bytes) -> Reading:
    """The reading in the status that the node with this key gave.

    Raises NotFoundError with the node's own reason when it has none (yet), TrustError or MalformedError for one that cannot be believed.
    """
    try:
        told = status["reading"]
        document, missing = plain_text(told["document"], DOCUMENT_LIMIT), plain_text(told["missing"])
    except (KeyError, TypeError) as error:
        raise MalformedError("its status tells of no reading", hint="the node runs an earlier version: upgrade it") from error
    if not document:
        raise NotFoundError(missing, hint="a node measures once, soon after its start; its log says why it could not")
    return verify_reading(decode_header(document), keyring, node=node).reading

"""A node's reading in the laptop's hands: believed only when that very node signed it."""

from __future__ import annotations

from typing import Any

import pytest

from edgenode.errors import EdgenodeError, MalformedError, NotFoundError, UnknownKeyError
from edgenode.transport.wire import encode_header
from edgenode.trust.issue import issue
from edgenode.trust.keyring import Keyring
from edgenode_sdk.reading import reading_of

from ..formats.examples import HUB, NODE, READING, TRUST

KEYRING = Keyring(TRUST)
SIGNED = issue(READING, NODE)


def status(document: bytes, missing: str = "") -> dict[str, Any]:
    return {"reading": {"document": encode_header(document), "missing": missing}}


def test_a_node_s_own_reading_is_believed() -> None:
    assert reading_of(status(SIGNED), KEYRING, node=NODE.public) == READING


@pytest.mark.parametrize("at", range(0, len(SIGNED), 7))
def test_a_tampered_reading_is_not_believed(at: int) -> None:
    changed = SIGNED[:at] + bytes([SIGNED[at] ^ 1]) + SIGNED[at + 1 :]
    with pytest.raises(EdgenodeError):
        reading_of(status(changed), KEYRING, node=NODE.public)


def test_another_node_s_reading_is_not_believed() -> None:
    with pytest.raises(UnknownKeyError):
        reading_of(status(SIGNED), KEYRING, node=HUB.public)
    with pytest.raises(UnknownKeyError):
        reading_of(status(issue(READING, HUB)), KEYRING, node=HUB.public)


def test_a_node_without_a_reading_says_why() -> None:
    with pytest.raises(NotFoundError, match="not measured yet"):
        reading_of(status(b"", "not measured yet"), KEYRING, node=NODE.public)


@pytest.mark.parametrize(
    "told", [{}, {"reading": None}, {"reading": {}}, {"reading": {"document": 1, "missing": ""}}, status(b"no document")]
)
def test_what_is_no_reading_is_malformed(told: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        reading_of(told, KEYRING, node=NODE.public)

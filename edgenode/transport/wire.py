"""What both ends of a call must agree on: paths, headers and body shapes (docs/protocol.md, "HTTP")."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from edgenode.errors import MalformedError
from edgenode.formats import cbor
from edgenode.formats.cose import DocumentType

CARD = "/v1/node"
JOBS = "/v1/jobs"
MODULES = "/v1/modules"
BLOBS = "/v1/blobs"
RECEIPTS = "/v1/receipts"
STATUS = "/v1/status"

# Of receipts, from a node to a hub.
BATCH_RECEIPTS = 1024  # in one batch: as many as one acknowledgement can name
BATCH_BYTES = 3 << 20  # of the receipts together: above the limit of one, so that each can be sent
BATCH_BODY_BYTES = BATCH_BYTES + DocumentType.NODE.limit + 5 * (BATCH_RECEIPTS + 2)  # with the node document and the CBOR heads

NODE_HEADER = "Edgenode-Node"
CURSOR_HEADER = "Edgenode-Cursor"  # of a page of receipts: where the next one begins
CBOR = "application/cbor"
CBOR_SEQUENCE = "application/cbor-seq"  # RFC 8742


def encode_header(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decode_header(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # not base64, or not even ASCII
        raise MalformedError(f"header is not base64: {error}") from error


def encode_parts(parts: Sequence[bytes]) -> bytes:
    """A CBOR array of byte strings: several documents in one body."""
    return cbor.encode(list(parts))


def decode_parts(data: bytes, *, least: int, most: int, limit: int, limit_name: str) -> tuple[bytes, ...]:
    """The documents of a body. Raises MalformedError when it is not an array of ``least`` to ``most`` byte strings, LimitError."""
    parts = cbor.decode(data, cbor.PARTS, limit=limit, limit_name=limit_name)
    if not isinstance(parts, tuple) or not least <= len(parts) <= most or not all(isinstance(part, bytes) for part in parts):
        raise MalformedError(f"the body is not a list of {least} to {most} byte strings")
    return parts


def parse_hex(text: str, size: int, what: str) -> bytes:
    """Bytes from lower-case hex of exactly ``size`` bytes, as ids and digests stand in paths."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size or value.hex() != text:
        raise MalformedError(f"{what} {text!r:.80} is not {size} bytes in lower-case hex")
    return value


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object that another machine sent. Raises MalformedError; how deep it may nest is Python's own limit."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"the answer is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedError("the answer is not a JSON object")
    return value


def plain_text(value: Any, longest: int = 1000) -> str:
    """Text that another machine sent, fit for a terminal or a log: one line, no control characters, at most ``longest`` characters.

    Raises TypeError when it is no text.
    """
    if not isinstance(value, str):
        raise TypeError(f"text of type {type(value).__name__}")
    return "".join(one if one.isprintable() else " " for one in value[:longest])

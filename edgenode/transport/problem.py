"""Errors <-> problem documents (RFC 9457), so that the caller raises the class that the server raised."""

from __future__ import annotations

import json

from edgenode.errors import BY_CODE, EdgenodeError, MalformedError, TransportError
from edgenode.transport.wire import parse_json, plain_text

MEDIA_TYPE = "application/problem+json"


def to_problem(error: EdgenodeError) -> bytes:
    return json.dumps(
        {
            "type": f"urn:edgenode:error:{error.code}",
            "title": error.code,
            "status": error.status,
            "detail": error.what,
            "hint": error.hint,
            "retry": error.retry,
        }
    ).encode()


def from_problem(body: bytes, status: int, server: str) -> EdgenodeError:
    """The error that ``server`` reported. What cannot be read becomes a TransportError with the status."""
    try:
        told = parse_json(body)
        kind = BY_CODE[told["title"]]
        what, hint = plain_text(told["detail"]), plain_text(told.get("hint", ""))
    except (MalformedError, KeyError, TypeError):
        return TransportError(f"{server} answered {status} without a readable reason", hint="look at that machine's log")
    error = kind.__new__(kind)  # not through a subclass's own constructor: what it would say is said already
    EdgenodeError.__init__(error, what, hint=hint)
    return error

"""What comes back: a verified receipt, readable."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edgenode.errors import DigestError, MalformedError
from edgenode.formats import cbor, document
from edgenode.formats.job import Job
from edgenode.formats.receipt import Core, Receipt
from edgenode.formats.trust import Node
from edgenode.records import OutcomeKind, digest
from edgenode.trust.verify import VerifiedReceipt

ANSWER_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """One receipt that was verified on this machine: a node of the fleet signed it, over exactly these bytes."""

    verified: VerifiedReceipt
    node_document: bytes
    received_ns: int  # when it came in here

    @property
    def node(self) -> Node:
        return self.verified.node

    @property
    def receipt(self) -> Receipt:
        return self.verified.receipt

    @property
    def core(self) -> Core | None:
        return self.verified.core

    @property
    def ok(self) -> bool:
        """Whether this is a step whose guest came to its end."""
        return self.core is not None and self.core.outcome.kind is OutcomeKind.OK

    @property
    def summary(self) -> Any:
        """The summary as Python values (a CBOR or JSON answer), or its bytes when it is neither."""
        return read_answer(self.receipt.summary)

    def to_json(self) -> dict[str, Any]:
        """Everything that the receipt says, digests in hex."""
        told = document.to_json(self.receipt)
        told.pop("core", None)
        told["summary"] = plain(self.summary)
        told["alerts"] = plain(read_answer(self.receipt.alerts))
        return {
            "node": {"name": self.node.name, "key": self.node.public_key.hex()},
            "digest": self.verified.digest.hex(),
            **told,
            "core": None if self.core is None else document.to_json(self.core),
        }


def generation_of(result: Result) -> int | None:
    """The generation of the job that a receipt is about, if it is about one."""
    about = result.core or result.receipt.notice
    return None if about is None else about.generation


def check_answers(job: Job, manifest: bytes | None, result: Result) -> None:
    """Raise DigestError unless the receipt answers this very job: its id, generation, params and pinned manifest."""
    core = result.core
    if core is None:
        check_job(job.id, result)
        return
    if (core.job, core.generation, core.params) != (job.id, job.generation, digest(job.params)):
        raise DigestError(f"the receipt of {result.node.name} is of another job, generation or params")
    if manifest is not None and core.manifest != manifest:
        raise DigestError(f"the receipt of {result.node.name} is of another manifest than the one that was pinned")


def check_job(job: bytes, result: Result) -> None:
    """Raise DigestError unless the receipt is of the job with this id."""
    about = result.core or result.receipt.notice
    if about is None or about.job != job:
        raise DigestError(f"the receipt of {result.node.name} is of another job")


def read_answer(data: bytes) -> Any:
    if not data:
        return None
    try:
        return cbor.decode(data, cbor.ANSWER, limit=ANSWER_LIMIT, limit_name="formats.summary_bytes")
    except MalformedError:
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # a guest may nest lists as deep as it likes
        return data


def plain(value: Any) -> Any:
    """Only what JSON can hold: bytes as hex, numbers that are not finite as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if hasattr(value, "items"):
        return {str(name): plain(one) for name, one in value.items()}
    return value

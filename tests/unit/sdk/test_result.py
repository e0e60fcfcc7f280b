"""A receipt in the laptop's hands: it answers this very job, and whatever a guest said can be shown."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.errors import DigestError
from edgenode.formats.receipt import Notice, ReceiptKind
from edgenode.formats.trust import Grant, Role
from edgenode.records import Abi, Completeness, Engine, Limits, Outcome, OutcomeKind, Snapshot, StepResult, Window, digest
from edgenode.statement import StepInputs, core_of, notice_seal, step_context, step_seal
from edgenode.trust.issue import issue
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import verify_node, verify_receipt
from edgenode_sdk.result import Result, check_answers, plain, read_answer

from ..ledger.documents import MEASURED, NOW, Documents, a_job, a_node, an_identity

JOB, PINNED = a_job(params=b"{}"), digest(b"manifest")
WINDOW = Window(start_ns=0, end_ns=1)
DOCUMENTS = Documents()


def result(*, summary: bytes = b"\x18\x2a", kind: OutcomeKind = OutcomeKind.OK, notice: Notice | None = None) -> Result:
    """A verified receipt of a node, for ``JOB``."""
    registrar, trust = an_identity(), DOCUMENTS.keyring.trust
    grant = Grant(role=Role.REGISTRAR, public_key=registrar.public, name="registrar", expires=NOW + 1000)
    node_document = issue(a_node(DOCUMENTS.node.public, fleet=DOCUMENTS.fleet), registrar)
    node = verify_node(node_document, Keyring(replace(trust, grants=(*trust.grants, grant))), NOW)
    if notice is not None:
        data = notice_seal(DOCUMENTS.node, ReceiptKind.FAULT, notice, MEASURED)(bytes(16), 0, bytes(32))
        return Result(verify_receipt(data, node), node_document, 0)
    snapshot = Snapshot(WINDOW, b"", digest(b""), (), Completeness(received=0))
    ended = StepResult(
        outcome=Outcome(kind=kind),
        fuel=None if kind is OutcomeKind.TRAP else 1,
        summary=summary,
        state=b"",
        derived=b"",
        alerts=b'{"a":1}',
        wall_ns=5,
    )
    inputs = StepInputs(
        abi=Abi.STEP,
        job=JOB,
        manifest=PINNED,
        module=bytes(32),
        context=step_context(JOB, 0, 0, WINDOW, snapshot),
        limits=Limits(fuel=1, memory=65536),
        snapshot=snapshot.digest,
        state=b"",
        engine=Engine("50.0.1", bytes(32), bytes(32), bytes(32)),
    )
    data = step_seal(DOCUMENTS.node, core_of(inputs, ended), ended, MEASURED)(bytes(16), 0, bytes(32))
    return Result(verify_receipt(data, node), node_document, 0)


def test_the_answer_of_this_very_job_is_taken() -> None:
    check_answers(JOB, PINNED, result())
    check_answers(JOB, None, result())
    check_answers(JOB, PINNED, result(kind=OutcomeKind.TRAP))


@pytest.mark.parametrize("changes", [{"id": bytes(16)}, {"generation": 2}, {"params": b"{ }"}], ids=lambda changes: next(iter(changes)))
def test_the_answer_of_another_job_is_not(changes: dict[str, Any]) -> None:
    with pytest.raises(DigestError, match="another job"):
        check_answers(replace(JOB, **changes), PINNED, result())


def test_the_answer_of_another_manifest_is_not() -> None:
    with pytest.raises(DigestError, match="pinned"):
        check_answers(JOB, bytes(32), result())


def test_a_notice_of_another_job_is_no_answer_either() -> None:
    check_answers(JOB, PINNED, result(notice=Notice(code="fault", text="x", job=JOB.id, generation=JOB.generation)))
    with pytest.raises(DigestError):
        check_answers(JOB, PINNED, result(notice=Notice(code="fault", text="x", job=bytes(16), generation=1)))


def test_ok_is_a_step_that_came_to_its_end() -> None:
    assert result().ok
    assert not result(kind=OutcomeKind.TRAP).ok
    assert not result(notice=Notice(code="fault", text="x", job=JOB.id, generation=1)).ok


def test_it_can_be_written_as_json_whatever_the_guest_said() -> None:
    for summary in (b"", b"\xff\xff", cbor2.dumps({"a": [math.nan, b"\1"]}, canonical=True), b"[1, 2", b"text"):
        told = json.loads(json.dumps(result(summary=summary).to_json(), allow_nan=False))
        assert told["node"] == {"name": "press-7", "key": DOCUMENTS.node.public.hex()}
        assert told["core"]["job"] == JOB.id.hex()
        assert told["alerts"] == {"a": 1}
    told = json.loads(json.dumps(result(notice=Notice(code="fault", text="x", job=JOB.id, generation=1)).to_json(), allow_nan=False))
    assert (told["core"], told["notice"]["code"], told["summary"]) == (None, "fault", None)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", None),
        (b"\x18\x2a", 42),
        (b"\xa1\x61a\x01", {"a": 1}),
        (b'{"a": 1}', {"a": 1}),
        (b"[1, 2.5]", [1, 2.5]),
        (b"\xff\x00\xff", b"\xff\x00\xff"),
        (b"\x9f\x01\xff", b"\x9f\x01\xff"),  # of indefinite length: not deterministic, so it is not CBOR here
    ],
)
def test_an_answer_is_cbor_json_or_bytes(data: bytes, answer: Any) -> None:
    assert read_answer(data) == answer


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\x81" * 10_000, b'{"a":' * 50_000, b"1" * 5_000])
def test_a_hostile_answer_is_bytes_at_worst(data: bytes) -> None:
    assert read_answer(data) == data
    json.dumps(plain(read_answer(data)))


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read_and_shown(data: bytes) -> None:
    json.dumps(plain(read_answer(data)), allow_nan=False)


shown = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.integers() | st.text(), inner),
    max_leaves=10,
)


@given(shown)
def test_plain_is_only_what_json_can_hold(value: Any) -> None:
    once = plain(value)
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    assert plain(once) == once


def test_plain_values() -> None:
    given: dict[Any, Any] = {1: b"\1\xff", "nan": math.nan, "inf": -math.inf, "list": (1, [2.5, None, True])}
    assert plain(given) == {"1": "01ff", "nan": "nan", "inf": "-inf", "list": [1, [2.5, None, True]]}

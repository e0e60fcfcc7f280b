"""What a node signs about a step: everything that went in and came out, and nothing of the node itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgenode.errors import EdgenodeError, StorageError
from edgenode.formats import document
from edgenode.formats.job import Wanted
from edgenode.formats.receipt import Core, ReceiptKind
from edgenode.records import Abi, Completeness, Engine, Limits, Outcome, OutcomeKind, Snapshot, StepResult, Window, digest
from edgenode.statement import StepInputs, core_of, notice_of, notice_seal, seed, step_context, step_limits, step_seal
from edgenode.trust.verify import signature_fits

from .ledger.documents import MEASURED, WASM, Documents, a_job, a_manifest, core_in, receipt_in

WINDOW = Window(start_ns=1_000, end_ns=2_000)
SNAPSHOT = Snapshot(WINDOW, b"frame", digest(b"frame"), ("press/a",), Completeness(received=9, expected=10, late=1, dropped=2))
JOB = a_job(params=b'{"k":1}', generation=3)
ENGINE = Engine("50.0.1", digest(b"config"), digest(b"command"), digest(b"library"))
RESULT = StepResult(
    outcome=Outcome(kind=OutcomeKind.OK),
    fuel=77,
    summary=b"summary",
    state=b"after",
    derived=b"derived",
    alerts=b"alerts",
    wall_ns=1_000_000,
)
INPUTS = StepInputs(
    abi=Abi.STEP,
    job=JOB,
    manifest=digest(b"manifest"),
    module=digest(WASM),
    context=step_context(JOB, 5, 0, WINDOW, SNAPSHOT),
    limits=Limits(fuel=100, memory=65536),
    snapshot=SNAPSHOT.digest,
    state=b"before",
    engine=ENGINE,
)


def core(**changes: Any) -> Core:
    data = core_of(replace(INPUTS, **changes), RESULT)
    return document.decode(Core, data, limit=4096, limit_name="test")


def test_the_core_names_all_that_went_in_and_came_out() -> None:
    found = core()
    assert (found.job, found.generation, found.step, found.revision) == (JOB.id, 3, 5, 0)
    assert (found.window, found.completeness, found.limits) == (WINDOW, SNAPSHOT.completeness, INPUTS.limits)
    assert (found.module, found.manifest, found.snapshot) == (INPUTS.module, INPUTS.manifest, SNAPSHOT.digest)
    assert (found.params, found.state_before, found.state_after) == (digest(JOB.params), digest(b"before"), digest(b"after"))
    assert (found.summary, found.derived, found.alerts) == (digest(b"summary"), digest(b"derived"), digest(b"alerts"))
    assert (found.outcome, found.fuel, found.engine, found.config) == (RESULT.outcome, 77, "50.0.1", ENGINE.step_config)


def test_two_nodes_that_ran_the_same_step_have_the_same_core() -> None:
    """Their libraries, wall times, keys and chains differ."""
    other = replace(INPUTS, engine=replace(ENGINE, library_digest=digest(b"another CPU")))
    assert core_of(other, replace(RESULT, wall_ns=5)) == core_of(INPUTS, RESULT)


@pytest.mark.parametrize(
    "changes",
    [
        {"job": replace(JOB, params=b"{}")},
        {"manifest": bytes(32)},
        {"module": bytes(32)},
        {"snapshot": bytes(32)},
        {"state": b""},
        {"limits": Limits(fuel=101, memory=65536)},
        {"engine": replace(ENGINE, step_config=bytes(32))},
        {"context": replace(INPUTS.context, revision=1)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_differs_shows_in_the_core(changes: dict[str, Any]) -> None:
    assert core(**changes) != core()


def test_a_seed_is_the_steps_own_and_the_same_everywhere() -> None:
    job = bytes(range(16))
    seeds = {seed(*what) for what in [(job, 1, 0, 0), (job, 1, 1, 0), (job, 1, 0, 1), (job, 2, 0, 0), (bytes(16), 1, 0, 0)]}
    assert len(seeds) == 5
    assert all(len(one) == 32 for one in seeds)
    # Never to change: a replay draws it again.
    assert seed(job, 1, 2, 3).hex() == "6b9eaa9e180186d5068b3ed4e042e69e90ae7ffe2ea76ebb81518a24371e24c2"
    assert step_context(JOB, 5, 0, WINDOW, SNAPSHOT).seed == seed(JOB.id, 3, 5, 0)


def test_a_limit_of_zero_is_one_that_was_set() -> None:
    manifest = a_manifest(limits=Limits(fuel=10, memory=65536, files=9, state=9))
    assert step_limits(a_job(limits=Wanted(files=0, state=0)), manifest) == Limits(fuel=10, memory=65536, files=0, state=0)


def test_a_steps_receipt_has_its_place_its_core_and_what_the_core_names() -> None:
    documents = Documents()
    data = step_seal(documents.node, core_of(INPUTS, RESULT), RESULT, MEASURED)(b"c" * 16, 4, b"p" * 32)
    receipt = receipt_in(data)
    assert (receipt.kind, receipt.chain, receipt.seq, receipt.prev) == (ReceiptKind.STEP, b"c" * 16, 4, b"p" * 32)
    assert (receipt.summary, receipt.alerts, receipt.measured, receipt.notice) == (b"summary", b"alerts", MEASURED, None)
    named = core_in(receipt)
    assert (named.summary, named.alerts) == (digest(receipt.summary), digest(receipt.alerts))


def test_a_receipt_is_signed_by_the_node() -> None:
    from edgenode.formats import cose

    documents = Documents()
    signed = cose.parse(documents.seal()(bytes(16), 0, bytes(32)), cose.DocumentType.RECEIPT)
    (one,) = signed.signatures
    assert one.kid == documents.node.public
    assert signature_fits(one.kid, one.signed, one.signature)


def test_a_notice_tells_the_error_and_fits_whatever_its_length() -> None:
    told = notice_of(StorageError("no disk", hint="buy one"), job=JOB.id, generation=3, step=5)
    assert (told.code, told.text, told.job, told.generation, told.step) == ("storage", "no disk; buy one", JOB.id, 3, 5)
    assert notice_of(EdgenodeError("x"), job=JOB.id, generation=1, step=0).text == "x"
    long = notice_of(EdgenodeError("é" * 1000), job=JOB.id, generation=1, step=0)
    assert len(long.text.encode()) == 512
    data = notice_seal(Documents().node, ReceiptKind.FAULT, long, MEASURED)(bytes(16), 0, bytes(32))
    receipt = receipt_in(data)
    assert (receipt.kind, receipt.notice, receipt.core) == (ReceiptKind.FAULT, long, b"")

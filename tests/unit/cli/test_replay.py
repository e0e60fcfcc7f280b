"""What a replay says of a step that came out the same, differently, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgenode.formats.receipt import Core
from edgenode.records import Completeness, Engine, Limits, Outcome, OutcomeKind, StepResult, Window, digest
from edgenode_sdk.replay import Verdict, compare

ENGINE = Engine("50.0.1", digest(b"config"), digest(b"library"))
RESULT = StepResult(outcome=Outcome(kind=OutcomeKind.OK), fuel=1000, summary=b"summary", state=b"state", derived=b"", alerts=b"", wall_ns=1)
CORE = Core(
    job=bytes(16),
    generation=1,
    module=digest(b"module"),
    manifest=digest(b"manifest"),
    params=digest(b""),
    step=0,
    revision=0,
    window=Window(start_ns=0, end_ns=1),
    seed=bytes(32),
    limits=Limits(fuel=10_000, memory=65536),
    snapshot=digest(b""),
    completeness=Completeness(received=0),
    state_before=digest(b""),
    state_after=digest(b"state"),
    summary=digest(b"summary"),
    derived=digest(b""),
    alerts=digest(b""),
    outcome=Outcome(kind=OutcomeKind.OK),
    engine="50.0.1",
    config=digest(b"config"),
    fuel=1000,
)


def outcome(kind: OutcomeKind) -> Outcome:
    return Outcome(kind=kind)


def test_the_same_bytes_and_fuel_match() -> None:
    assert compare(CORE, None, RESULT, ENGINE).verdict is Verdict.MATCH


@pytest.mark.parametrize(
    ("field", "said", "changed"),
    [
        ("summary", digest(b"summary").hex(), replace(RESULT, summary=b"other")),
        ("state_after", digest(b"state").hex(), replace(RESULT, state=b"other")),
        ("derived", digest(b"").hex(), replace(RESULT, derived=b"other")),
        ("alerts", digest(b"").hex(), replace(RESULT, alerts=b"other")),
        ("fuel", "1000", replace(RESULT, fuel=1001)),
    ],
)
def test_what_differs_is_named_with_both_values(field: str, said: str, changed: StepResult) -> None:
    found = compare(CORE, None, changed, ENGINE)
    assert found.verdict is Verdict.MISMATCH
    [difference] = found.differences
    assert (difference.field, difference.receipt) == (field, said)
    assert difference.here not in ("", said)


def test_another_trap_differs() -> None:
    trap = Outcome(kind=OutcomeKind.TRAP, detail="unreachable-code-reached", location="3:120")
    core = replace(CORE, outcome=trap, fuel=None)
    elsewhere = replace(RESULT, outcome=replace(trap, location="3:121"), fuel=None)
    assert compare(core, None, replace(RESULT, outcome=trap, fuel=None), ENGINE).verdict is Verdict.MATCH
    assert [one.field for one in compare(core, None, elsewhere, ENGINE).differences] == ["outcome"]


def test_across_engine_versions_bytes_count_and_fuel_does_not() -> None:
    newer = replace(ENGINE, version="51.0.0")
    found = compare(CORE, None, replace(RESULT, fuel=990), newer)
    assert found.verdict is Verdict.MATCH and "fuel is not compared" in found.reason
    assert compare(CORE, None, replace(RESULT, summary=b"other"), newer).verdict is Verdict.MISMATCH
    ran_out = replace(CORE, outcome=outcome(OutcomeKind.FUEL), fuel=10_000)
    assert compare(ran_out, None, RESULT, newer).verdict is Verdict.NOT_REPLAYABLE
    assert compare(ran_out, None, RESULT, ENGINE).verdict is Verdict.MISMATCH


def test_a_stack_overflow_counts_only_on_the_same_build_of_the_engine() -> None:
    core = replace(CORE, outcome=outcome(OutcomeKind.STACK), fuel=None)
    again = replace(RESULT, outcome=outcome(OutcomeKind.STACK), fuel=None, state=b"state")
    same = replace(core, summary=digest(b"summary"))
    assert compare(same, ENGINE.library_digest, again, ENGINE).verdict is Verdict.MATCH
    assert compare(same, digest(b"other CPU"), again, ENGINE).verdict is Verdict.NOT_REPLAYABLE
    assert compare(same, digest(b"other CPU"), RESULT, ENGINE).verdict is Verdict.NOT_REPLAYABLE
    assert compare(CORE, digest(b"other CPU"), again, ENGINE).verdict is Verdict.NOT_REPLAYABLE


def test_another_sandbox_configuration_is_no_replay() -> None:
    found = compare(CORE, None, RESULT, replace(ENGINE, config_digest=digest(b"other")))
    assert found.verdict is Verdict.NOT_REPLAYABLE and digest(b"other").hex() in found.reason

"""What a replay says of a step that came out the same, differently, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.errors import DigestError, NotFoundError
from edgenode.formats import document
from edgenode.formats.receipt import NO_RECEIPT, Core, Measured, Receipt, ReceiptKind, TrustState
from edgenode.records import Abi, ClockState, Completeness, Engine, Limits, Outcome, OutcomeKind, StepResult, Window, digest
from edgenode.testing import GUESTS, REPLY, guest, wasm
from edgenode.trust.issue import issue
from edgenode_sdk.difference import Difference
from edgenode_sdk.replay import Materials, Part, Replay, Stock, Verdict, compare, fetch, replay, replay_with

from .evidence import SHARED, Evidence

ENGINE = Engine("50.0.1", digest(b"config"), digest(b"command"), digest(b"library"))
RESULT = StepResult(
    outcome=Outcome(kind=OutcomeKind.OK), fuel=1000, summary=b'{"mean": 1.5}', state=b"state", derived=b"", alerts=b"", wall_ns=1
)
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
    summary=digest(b'{"mean": 1.5}'),
    derived=digest(b""),
    alerts=digest(b""),
    outcome=Outcome(kind=OutcomeKind.OK),
    engine="50.0.1",
    config=digest(b"config"),
    fuel=1000,
)


RESULT_OF_HELLO = replace(RESULT, summary=b"hello", state=b"")
RECEIPT = Receipt(
    kind=ReceiptKind.STEP,
    chain=bytes(16),
    seq=0,
    prev=NO_RECEIPT,
    measured=Measured(finished_ns=0, clock=ClockState.UNKNOWN, trust=TrustState.VALID, library=ENGINE.library_digest),
    core=b"core",
    summary=RESULT.summary,
)
ELSEWHERE = replace(RECEIPT, measured=replace(RECEIPT.measured, library=digest(b"other CPU")))


def outcome(kind: OutcomeKind) -> Outcome:
    return Outcome(kind=kind)


def judged(core: Core = CORE, again: StepResult = RESULT, engine: Engine = ENGINE, receipt: Receipt = RECEIPT) -> Replay:
    return compare(core, receipt, again, engine, engine.config(Abi.STEP))


# what compare says


def test_the_same_bytes_and_fuel_match() -> None:
    assert judged() == Replay(Verdict.MATCH)


@pytest.mark.parametrize(
    ("field", "said", "changed"),
    [
        ("outcome", str(RESULT.outcome), replace(RESULT, outcome=Outcome(kind=OutcomeKind.EXIT, exit_code=3))),
        ("summary", digest(RESULT.summary).hex(), replace(RESULT, summary=b'{"mean": 2}')),
        ("state_after", digest(b"state").hex(), replace(RESULT, state=b"other")),
        ("derived", digest(b"").hex(), replace(RESULT, derived=b"other")),
        ("alerts", digest(b"").hex(), replace(RESULT, alerts=b"other")),
        ("fuel", "1000", replace(RESULT, fuel=1001)),
    ],
)
def test_what_differs_is_named_with_both_values(field: str, said: str, changed: StepResult) -> None:
    found = judged(again=changed)
    assert found.verdict is Verdict.MISMATCH
    [difference] = found.differences
    assert (difference.field, difference.receipt) == (field, said)
    assert difference.here not in ("", said)
    assert bool(difference.inside) is (field in ("summary", "alerts")), "the receipt carries these, and so it is known where they differ"


def test_a_summary_that_differs_is_told_field_by_field() -> None:
    [difference] = judged(again=replace(RESULT, summary=b'{"mean": 2}')).differences
    assert difference.inside == (Difference("mean", "1.5", "2"),)


def test_another_trap_differs() -> None:
    trap = Outcome(kind=OutcomeKind.TRAP, detail="unreachable-code-reached", location="3")
    core = replace(CORE, outcome=trap, fuel=None)
    elsewhere = replace(RESULT, outcome=replace(trap, location="4"), fuel=None)
    assert judged(core, replace(RESULT, outcome=trap, fuel=None)).verdict is Verdict.MATCH
    assert [one.field for one in judged(core, elsewhere).differences] == ["outcome"]


def test_across_engine_versions_bytes_count_and_fuel_does_not() -> None:
    newer = replace(ENGINE, version="51.0.0")
    found = judged(again=replace(RESULT, fuel=990), engine=newer)
    assert found.verdict is Verdict.MATCH and "fuel is not compared" in found.reason
    assert judged(again=replace(RESULT, summary=b"other"), engine=newer).verdict is Verdict.MISMATCH
    ran_out = replace(CORE, outcome=outcome(OutcomeKind.FUEL), fuel=10_000)
    assert judged(ran_out, engine=newer).verdict is Verdict.NOT_REPLAYABLE
    assert judged(ran_out).verdict is Verdict.MISMATCH


def test_a_stack_overflow_counts_only_on_the_same_build_of_the_engine() -> None:
    core = replace(CORE, outcome=outcome(OutcomeKind.STACK), fuel=None)
    again = replace(RESULT, outcome=outcome(OutcomeKind.STACK), fuel=None)
    assert judged(core, again).verdict is Verdict.MATCH
    assert judged(core, again, receipt=ELSEWHERE).verdict is Verdict.NOT_REPLAYABLE
    assert judged(CORE, again, receipt=ELSEWHERE).verdict is Verdict.NOT_REPLAYABLE


def test_a_step_that_only_the_deeper_stack_of_a_replayer_brings_further_is_not_replayable() -> None:
    core = replace(CORE, outcome=outcome(OutcomeKind.STACK), fuel=None)
    for receipt in (RECEIPT, ELSEWHERE):
        found = judged(core, receipt=receipt)
        assert found.verdict is Verdict.NOT_REPLAYABLE and "stack" in found.reason


def test_a_stack_that_ran_out_only_here_is_a_mismatch_on_the_same_build() -> None:
    """The one here is four times as deep: a node that had enough of it did not run this step."""
    again = replace(RESULT, outcome=outcome(OutcomeKind.STACK), fuel=None)
    assert judged(CORE, again).verdict is Verdict.MISMATCH


def test_another_sandbox_configuration_is_no_replay() -> None:
    found = judged(engine=replace(ENGINE, step_config=digest(b"other")))
    assert found.verdict is Verdict.NOT_REPLAYABLE and digest(b"other").hex() in found.reason


def test_the_configuration_is_that_of_the_modules_abi() -> None:
    command = replace(CORE, config=ENGINE.command_config)
    assert judged(command).verdict is Verdict.NOT_REPLAYABLE
    assert compare(command, RECEIPT, RESULT, ENGINE, ENGINE.config(Abi.WASI_COMMAND)).verdict is Verdict.MATCH


# what is run, in this machine's sandbox


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return Evidence(tmp_path)


def files(materials: Materials, *, without: str = "") -> dict[Part, list[bytes]]:
    """All materials as given files, but the one named, each beside a file that is not meant."""
    parts = {
        Part.MODULE: materials.wasm,
        Part.SNAPSHOT: materials.snapshot,
        Part.STATE: materials.state,
        Part.PARAMS: materials.params,
        Part.MANIFEST: materials.manifest or b"",
    }
    return {part: [b"another file", data] for part, data in parts.items() if part != without}


async def test_a_step_matches_with_files_alone(evidence: Evidence) -> None:
    result, materials = evidence.step(params=b"{}", state=b"before")
    assert await replay(result, Stock(files(materials))) == Replay(Verdict.MATCH)


async def test_the_params_are_those_of_the_signed_job_as_well(evidence: Evidence) -> None:
    result, materials = evidence.step(params=b"{}")
    submitter = evidence.home.identity("submitter")
    jobs = [issue(evidence.job(b"[]"), submitter), issue(evidence.job(b"{}", generation=2), submitter)]
    given = {Part.MODULE: [materials.wasm], Part.SNAPSHOT: [materials.snapshot], Part.JOB: jobs}
    assert await replay(result, Stock(given)) == Replay(Verdict.MATCH)
    with pytest.raises(DigestError, match="no job that was given"):
        await replay(result, Stock(given | {Part.JOB: jobs[:1]}))


@pytest.mark.parametrize("part", ["module", "snapshot", "state", "params"])
async def test_what_is_nowhere_is_not_replayable_and_named(evidence: Evidence, part: str) -> None:
    result, materials = evidence.step(params=b"{}", state=b"before")
    found = await replay(result, Stock(files(materials, without=part)))
    assert found.verdict is Verdict.NOT_REPLAYABLE and part in found.reason


async def test_a_snapshot_that_its_manifest_keeps_is_not_replayable_for_that_reason(evidence: Evidence) -> None:
    result, materials = evidence.step(capabilities=replace(SHARED, share_snapshot=False))
    found = await replay(result, Stock(files(materials, without="snapshot")))
    assert found.verdict is Verdict.NOT_REPLAYABLE and "share_snapshot" in found.reason
    assert (await replay(result, Stock(files(materials)))).verdict is Verdict.MATCH, "whoever has it all the same may use it"


@pytest.mark.parametrize("part", list(Part))
async def test_files_that_the_core_does_not_name_are_refused(evidence: Evidence, part: Part) -> None:
    result, materials = evidence.step(params=b"{}")
    another = issue(evidence.job(b"[]"), evidence.home.identity("submitter"))
    with pytest.raises(DigestError, match=part.value):
        await replay(result, Stock(files(materials) | {part: [another]}))


async def test_a_fault_is_not_replayable(evidence: Evidence) -> None:
    found = await replay(evidence.fault(), Stock())
    assert found.verdict is Verdict.NOT_REPLAYABLE and "fault receipt" in found.reason


async def test_the_manifest_is_looked_for_in_the_laptops_folder(evidence: Evidence) -> None:
    result, materials = evidence.step(guest(REPLY), capabilities=replace(SHARED, summary=4))
    assert result.core is not None and result.core.outcome.kind is OutcomeKind.OUTPUT
    found = await replay(result, Stock(files(materials, without="manifest")))
    assert found.verdict is Verdict.NOT_REPLAYABLE and "manifest" in found.reason and "output limits" in found.reason
    assert await replay(result, Stock(files(materials, without="manifest"), home=evidence.home)) == Replay(Verdict.MATCH)


async def test_a_program_cannot_be_run_without_the_manifest_that_says_how_it_is_fed(evidence: Evidence) -> None:
    result, materials = evidence.step()
    program = wasm('(module (memory (export "memory") 1) (func (export "_start")))')
    assert result.core is not None
    core = replace(result.core, module=digest(program))
    with pytest.raises(NotFoundError, match=r"manifest .* is not here"):
        await fetch(core, Stock(files(replace(materials, wasm=program), without="manifest")), signer=bytes(32))
    assert (await fetch(core, Stock(files(replace(materials, wasm=program))), signer=bytes(32))).manifest == materials.manifest


async def test_a_program_matches_with_its_manifest(evidence: Evidence) -> None:
    program = wasm('(module (memory (export "memory") 1) (func (export "_start")))')
    limits = Limits(fuel=50_000_000, memory=1 << 20, files=4 << 20)
    result, materials = evidence.step(program, abi=Abi.WASI_COMMAND, input="text/csv", limits=limits)
    assert result.ok
    assert await replay(result, Stock(files(materials))) == Replay(Verdict.MATCH)
    found = await replay(result, Stock(files(materials, without="manifest")))
    assert found.verdict is Verdict.NOT_REPLAYABLE and "manifest" in found.reason


async def test_a_module_that_this_sandbox_refuses_is_not_replayable(evidence: Evidence) -> None:
    result, materials = evidence.step()
    assert result.core is not None
    noise = GUESTS["noise"]()
    lied = evidence.receipt(document.encode(replace(result.core, module=digest(noise))), RESULT_OF_HELLO, bytes(32))
    found = await replay(lied, Stock(files(replace(materials, wasm=noise), without="manifest")))
    assert found.verdict is Verdict.NOT_REPLAYABLE and "not a core WebAssembly module" in found.reason
    with pytest.raises(DigestError, match="is of module"):
        await replay(lied, Stock(files(replace(materials, wasm=noise))))


def test_a_step_that_the_node_did_not_run_so_is_a_mismatch(evidence: Evidence) -> None:
    result, materials = evidence.step()
    assert result.core is not None
    lied = evidence.receipt(
        document.encode(replace(result.core, summary=digest(b"hullo"))), replace(RESULT_OF_HELLO, summary=b"hullo"), bytes(32)
    )
    found = replay_with(lied, materials)
    assert found.verdict is Verdict.MISMATCH
    [difference] = found.differences
    assert difference.inside == (Difference("byte 1", b"ullo".hex(), b"ello".hex()),)


@pytest.mark.parametrize(
    ("depth", "verdict", "reason"), [(10, Verdict.MATCH, ""), (30_000, Verdict.NOT_REPLAYABLE, "went on"), (10**6, Verdict.MATCH, "")]
)
def test_a_replayer_has_a_deeper_stack_than_a_node(evidence: Evidence, depth: int, verdict: Verdict, reason: str) -> None:
    """Ten calls fit anywhere, a million nowhere; with 30,000 the node's stack ran out, and the replayer's does not."""
    down = "(func $down (param i32) (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1))) (drop (i32.const 0)))))"
    result, materials = evidence.step(guest(f"(call $down (i32.const {depth})) {REPLY}", more=down))
    found = replay_with(result, materials)
    assert found.verdict is verdict and reason in found.reason

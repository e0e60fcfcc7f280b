"""Each class of outcome, by a guest that ends in it, in a real worker."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenode.records import Limits, Outcome, OutcomeKind, StepResult
from edgenode.sandbox.pool import Pool

from .guests import ENDLESS, HELLO, LIMITS, PARAMS_OFFSET, REPLY_AT, Run, answer, guest, module, replying, run, section, series

COPY_REQUEST = guest(
    """(i32.store (i32.const 8192) (i32.const 32)) (i32.store (i32.const 8196) (local.get $len))
    (memory.copy (i32.const 8200) (local.get $ptr) (local.get $len))
    (i64.or (i64.const 0x200000000000) (i64.extend_i32_u (i32.add (local.get $len) (i32.const 8))))"""
)


def failed(result: StepResult, kind: OutcomeKind, detail: str = "") -> None:
    assert (result.outcome.kind, result.outcome.detail) == (kind, detail)
    assert (result.summary, result.derived, result.alerts) == (b"", b"", b"")
    assert result.state == b"before"


def test_all_parts_of_an_answer_come_back(step: Run) -> None:
    derived = series("a/b", "Cel", [1, 2], [1.0, 2.0])
    reply = section(32, b"sum") + section(33, b"next") + section(34, derived) + section(35, b"alert")
    result = step(replying(reply), state=b"before")
    assert result.outcome == Outcome(kind=OutcomeKind.OK)
    assert (result.summary, result.state, result.alerts) == (b"sum", b"next", b"alert")
    assert result.derived == section(16, derived)
    assert result.wall_ns > 0


def test_derived_channel_that_the_manifest_does_not_name_breaks_the_whole_reply(pool: Pool) -> None:
    reply = (
        section(32, b"sum") + section(33, b"next") + section(34, series("a/b", "", [1], [1.0])) + section(34, series("c", "", [1], [1.0]))
    )
    allowed = type(module(HELLO).manifest.capabilities)(channels=("*",), summary=64, derived=256, derives=("a/*",))
    result = run(pool, module(replying(reply), capabilities=allowed), state=b"before")
    failed(result, OutcomeKind.REPLY, "derived-channel")
    assert result.fuel is None


def test_state_stays_unless_it_is_answered_and_an_empty_one_clears_it(step: Run) -> None:
    assert step(HELLO, state=b"before").state == b"before"
    assert step(replying(section(33, b"")), state=b"before").state == b""


def test_guest_reads_the_request_that_was_sent(pool: Pool) -> None:
    frame = section(16, series("x", "V", [5], [2.5]))
    wide = module(COPY_REQUEST, capabilities=type(module(HELLO).manifest.capabilities)(channels=("*",), summary=4096))
    seen = run(pool, wide, params=b'{"a":1}', state=b"st", frame=frame).summary
    assert seen[8:24] == struct.pack("<qq", 1_000, 2_000)
    assert seen[104:] == section(2, b'{"a":1}') + section(3, b"st") + frame


def test_request_larger_than_the_socket_and_worker_buffers(pool: Pool) -> None:
    # 8 MB of samples into a guest with room for it, which answers with the last sample's time.
    count = 500_000
    frame = section(16, series("x", "", range(count), [0.0] * count))
    wasm = guest(
        """(i64.store (i32.const 8) (i64.const 0x800000020))
        (i64.store (i32.const 16) (i64.load (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 4000008))))
        i64.const 0x800000010""",
        memory="200",
    )
    result = run(pool, wasm, frame=frame, limits=Limits(fuel=10_000_000, memory=200 * 65536))
    assert result.summary == (count - 1).to_bytes(8, "little")


def test_initialize_runs_first_and_start_before_it(step: Run) -> None:
    wasm = replying(
        section(32, b"00"),
        more=f"""(func $start (i32.store8 (i32.const {REPLY_AT + 8}) (i32.const 65))) (start $start)
        (func (export "_initialize")
          (i32.store8 (i32.const {REPLY_AT + 9}) (i32.add (i32.load8_u (i32.const {REPLY_AT + 8})) (i32.const 1))))""",
    )
    assert step(wasm).summary == b"AB"


def test_every_step_gets_a_fresh_instance(step: Run) -> None:
    counting = guest(
        f"""(global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store8 (i32.const {REPLY_AT + 8}) (i32.add (i32.load8_u (i32.const {REPLY_AT + 8})) (global.get $n)))
        {answer(16)}""",
        more=f'(global $n (mut i32) (i32.const 0)) (data (i32.const {REPLY_AT}) "\\20\\00\\00\\00\\01\\00\\00\\00")',
    )
    assert [step(counting).summary for _ in range(3)] == [b"\1"] * 3


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("unreachable", "unreachable"),
        ("(i64.load (i32.const -1))", "memory-out-of-bounds"),
        ("(i64.div_s (i64.const 1) (i64.const 0))", "integer-division-by-zero"),
        ("(i64.div_s (i64.const 0x8000000000000000) (i64.const -1))", "integer-overflow"),
        ("(i64.trunc_f64_s (f64.const nan))", "bad-conversion-to-integer"),
        ("(call_indirect (result i64) (i32.const 0))", "indirect-call-to-null"),
        ("(call_indirect (result i64) (i32.const 9))", "table-out-of-bounds"),
        ("(call_indirect (result i64) (i32.const 1))", "bad-signature"),
    ],
)
def test_trap_gives_its_class_and_place(step: Run, body: str, detail: str) -> None:
    result = step(guest(body, more="(table 2 funcref) (elem (i32.const 1) 0)"), state=b"before")
    failed(result, OutcomeKind.TRAP, detail)
    assert (result.outcome.location, result.fuel) == ("1", None)


def test_location_is_the_innermost_frame(step: Run) -> None:
    wasm = guest("(call $inner) (i64.const 0)", more="(func $inner unreachable)")
    assert step(wasm).outcome.location == "1"


def test_traps_outside_the_step_function(step: Run) -> None:
    start = replying(b"", more="(func $start unreachable) (start $start)")
    failed(step(start, state=b"before"), OutcomeKind.TRAP, "unreachable")
    data = replying(b"", more='(data (i32.const 65535) "ab")')
    result = step(data, state=b"before")
    failed(result, OutcomeKind.TRAP, "memory-out-of-bounds")
    assert result.outcome.location == ""
    initialize = replying(b"", more='(func (export "_initialize") unreachable)')
    failed(step(initialize, state=b"before"), OutcomeKind.TRAP, "unreachable")


def test_endless_loop_ends_by_fuel_and_signs_the_whole_budget(step: Run) -> None:
    result = step(ENDLESS, state=b"before")
    failed(result, OutcomeKind.FUEL)
    assert result.fuel == LIMITS.fuel


def test_fuel_ends_a_step_exactly_where_it_runs_out(step: Run) -> None:
    needed = step(HELLO).fuel
    assert needed is not None
    assert step(HELLO, limits=Limits(fuel=needed + 1, memory=1 << 20)).outcome.ok
    short = step(HELLO, limits=Limits(fuel=needed - 1, memory=1 << 20))
    assert (short.outcome.kind, short.fuel) == (OutcomeKind.FUEL, needed - 1)


def test_bulk_memory_work_costs_fuel(step: Run) -> None:
    wasm = guest("(memory.fill (i32.const 0) (i32.const 0) (i32.const 50000)) (i64.const 0)")
    assert (step(wasm).fuel or 0) >= 50_000


def test_deep_recursion_is_the_stack_outcome(step: Run) -> None:
    wasm = guest("(call $deeper)", more="(func $deeper (result i64) (i64.add (call $deeper) (i64.const 1)))")
    result = step(wasm, state=b"before")
    failed(result, OutcomeKind.STACK)
    assert (result.fuel, result.outcome.location) == (None, "")


def test_memory_bomb_gets_minus_one_and_goes_on(step: Run) -> None:
    # Grows by one page until refused, then answers how many pages it has: the limit, exactly.
    wasm = guest(
        f"""(block (loop (br_if 1 (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br 0)))
        (i64.store (i32.const {REPLY_AT}) (i64.const 0x800000020))
        (i64.store (i32.const {REPLY_AT + 8}) (i64.extend_i32_u (memory.size)))
        {answer(16)}"""
    )
    assert step(wasm).summary == (16).to_bytes(8, "little")
    huge = guest("(drop (memory.grow (i32.const 65535))) (i64.const 0)")
    assert step(huge).outcome.ok


def test_table_growth_is_bounded(step: Run) -> None:
    wasm = guest(
        "(if (i32.ne (table.grow (ref.null func) (i32.const 0x7fffffff)) (i32.const -1)) (then unreachable)) (i64.const 0)",
        more="(table 1 funcref)",
    )
    assert step(wasm).outcome.ok


def test_initial_memory_over_the_limit(step: Run) -> None:
    result = step(guest("(i64.const 0)", memory="17"), state=b"before")
    failed(result, OutcomeKind.MEMORY)
    assert result.fuel is None
    assert step(guest("(i64.const 0)", memory="16")).outcome.ok


@pytest.mark.parametrize(("tag", "size", "part"), [(32, 65, "summary"), (35, 33, "alerts"), (33, (1 << 20) + 1, "state")])
def test_output_over_its_limit(step: Run, tag: int, size: int, part: str) -> None:
    head = _escaped(struct.pack("<II", tag, size))
    wasm = guest(answer(8 + -(-size // 8) * 8), memory="20", more=f'(data (i32.const {REPLY_AT}) "{head}")')
    result = step(wasm, state=b"before", limits=Limits(fuel=1_000_000, memory=20 * 65536))
    failed(result, OutcomeKind.OUTPUT, part)
    assert result.fuel is None


def test_derived_over_its_limit(step: Run) -> None:
    wasm = replying(section(34, series("a", "", list(range(20)), [0.0] * 20)))
    failed(step(wasm, state=b"before"), OutcomeKind.OUTPUT, "derived")


@pytest.mark.parametrize(("alloc", "why"), [(0, "none left"), (12, "not aligned"), (65_536 - 8, "too near the end"), (-8, "outside")])
def test_useless_allocation_is_a_broken_reply(step: Run, alloc: int, why: str) -> None:
    wasm = guest("unreachable", alloc=f'(func (export "edgenode_alloc") (param i32) (result i32) i32.const {alloc})')
    failed(step(wasm, state=b"before"), OutcomeKind.REPLY, "alloc")


@pytest.mark.parametrize("packed", ["0xffffffffffffffff", "0x0000ffff00000002", "0x7fffffff00000000", "0x00000000ffffffff"])
def test_reply_outside_memory(step: Run, packed: str) -> None:
    failed(step(guest(f"i64.const {packed}"), state=b"before"), OutcomeKind.REPLY, "bounds")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pointer=st.integers(0, 2**32 - 1) | st.integers(0, 70_000), length=st.integers(0, 2**32 - 1) | st.integers(0, 400))
def test_any_pointer_and_length_end_in_an_outcome(step: Run, pointer: int, length: int) -> None:
    wasm = guest(f"(i64.load offset={PARAMS_OFFSET} (local.get $ptr))")
    result = step(wasm, params=struct.pack("<II", length, pointer), state=b"before")
    assert result.outcome.kind in (OutcomeKind.OK, OutcomeKind.REPLY, OutcomeKind.OUTPUT)
    assert result.state == b"before"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=st.binary(max_size=120).map(lambda data: data + bytes(-len(data) % 8)))
def test_any_reply_bytes_end_in_an_outcome(step: Run, reply: bytes) -> None:
    # The guest answers with its own params, wherever they start.
    at = 1024 + PARAMS_OFFSET
    wasm = guest(f"(i64.or (i64.const {at << 32}) (i64.extend_i32_u (i32.load offset={PARAMS_OFFSET - 4} (local.get $ptr))))")
    result = step(wasm, params=reply or bytes(8), state=b"before")
    assert result.outcome.kind in (OutcomeKind.OK, OutcomeKind.REPLY, OutcomeKind.OUTPUT)


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)

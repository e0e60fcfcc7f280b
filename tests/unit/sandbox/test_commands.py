"""Commands in a worker: what they are given, what is made of what they leave, and that a hostile one harms only itself."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgenode.config import SandboxConfig
from edgenode.errors import LimitError, ModuleError
from edgenode.formats.frame import decode_derived
from edgenode.records import Abi, Capabilities, Limits, OutcomeKind, StepResult
from edgenode.sandbox import preview1, wasi
from edgenode.sandbox.pool import Pool
from edgenode.testing import wasm as binary

from .guests import HELLO, module, run, section, series

COMMAND_LIMITS = Limits(fuel=200_000_000, memory=4 << 20, files=1 << 20)
FRAME = section(16, series("press/a", "Cel", [1_500, 2_500_000_000], [1.5, -2.0]))

Run = Callable[..., StepResult]

# A program's text: its own calls, a buffer at 1024 and an iovec at 0; $write prints what lies at $at to a descriptor.
CALLS = """
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
"""
HELPERS = """
    (func $write (param $fd i32) (param $at i32) (param $length i32)
        (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
        (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
    (func $read (param $fd i32) (result i32)
        (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 60000))
        (if (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
        (i32.load (i32.const 8)))
    (func $open (param $path i32) (param $length i32) (param $create i32) (result i32)
        (if (call $path_open (i32.const 3) (i32.const 0) (local.get $path) (local.get $length) (local.get $create)
                (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 12)) (then unreachable))
        (i32.load (i32.const 12)))
"""


def program(start: str, *, more: str = "", memory: str = '(memory (export "memory") 2)') -> bytes:
    """A program whose _start has this body."""
    return binary(f'(module {CALLS} {memory} {HELPERS} {more} (func (export "_start") {start}))')


def copies(path: str) -> bytes:
    """A program that prints a file."""
    return program(
        f"(local $fd i32) (local.set $fd (call $open (i32.const 1024) (i32.const {len(path)}) (i32.const 0)))"
        "(call $write (i32.const 1) (i32.const 4096) (call $read (local.get $fd)))",
        more=f'(data (i32.const 1024) "{path}")',
    )


def leaves(path: str, content: bytes) -> bytes:
    """A program that writes a file."""
    data = "".join(f"\\{byte:02x}" for byte in content)
    return program(
        f"(call $write (call $open (i32.const 1024) (i32.const {len(path)}) (i32.const 1)) (i32.const 4096) (i32.const {len(content)}))",
        more=f'(data (i32.const 1024) "{path}") (data (i32.const 4096) "{data}")',
    )


ECHO = program("(call $write (i32.const 1) (i32.const 4096) (call $read (i32.const 0)))")


@pytest.fixture(name="command")
def _command(pool: Pool) -> Run:
    def call(wasm: bytes, *, media_type: str = "text/csv", capabilities: Capabilities | None = None, **changes: Any) -> StepResult:
        wide = capabilities or Capabilities(channels=("*",), summary=1 << 16, derived=4096, derives=("press/*",))
        verified = module(wasm, abi=Abi.WASI_COMMAND, capabilities=wide, media_type=media_type)
        return run(pool, verified, **({"limits": COMMAND_LIMITS} | changes))

    return call


# what it is given, and what it leaves


def test_binary_has_the_calls_of_preview_1_with_their_types() -> None:
    from edgenode.formats.wasm import read

    outside = read(wasi.parts()["wasi"])
    assert outside.imports == ()
    calls = {export.replace("func ", f"func {preview1.MODULE}.", 1) for export in outside.exports if export.startswith("func ")}
    assert calls - {f"func {preview1.MODULE}.stage(i32, i32) -> i32", f"func {preview1.MODULE}.finish()"} == preview1.IMPORTS
    assert len(preview1.IMPORTS) == 46


def test_samples_come_on_stdin_in_the_manifests_format(command: Run) -> None:
    text = command(ECHO, frame=FRAME).summary.decode()
    assert text == "time,channel,value,unit\n0.000001500,press/a,1.5,Cel\n2.500000000,press/a,-2.0,Cel\n"
    assert command(ECHO, frame=FRAME, media_type="application/vnd.edgenode.frame").summary == FRAME
    assert command(ECHO, frame=FRAME, media_type="application/senml+json").summary.startswith(b"[{")


def test_params_and_state_are_files(command: Run) -> None:
    assert command(copies("in/params.json"), params=b'{"a": 1}').summary == b'{"a": 1}'
    assert command(copies("state/in"), state=b"before").summary == b"before"


def test_environment_names_window_step_and_params(command: Run) -> None:
    wasm = program(
        "(drop (call $environ_sizes_get (i32.const 16) (i32.const 20))) (drop (call $environ_get (i32.const 2048) (i32.const 4096)))"
        "(call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 20)))"
    )
    found = dict(one.split("=", 1) for one in command(wasm, params=b"{}").summary.decode().split("\0") if one)
    assert found == {
        "EDGENODE_WINDOW_START": "1000",
        "EDGENODE_WINDOW_END": "2000",
        "EDGENODE_STEP": "7",
        "EDGENODE_REVISION": "1",
        "EDGENODE_RECEIVED": "0",
        "EDGENODE_LATE": "0",
        "EDGENODE_DROPPED": "0",
        "EDGENODE_PARAMS": "{}",
    }


def test_clock_begins_at_the_windows_end_and_random_is_the_seeds(command: Run) -> None:
    wasm = program(
        "(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 4096)))"
        "(drop (call $random_get (i32.const 4104) (i32.const 16))) (call $write (i32.const 1) (i32.const 4096) (i32.const 24))"
    )
    first, again = command(wasm), command(wasm)
    assert first.summary == again.summary and first.fuel == again.fuel
    assert 2_000 <= struct.unpack_from("<Q", first.summary)[0] <= 3_000
    assert any(first.summary[8:])


def test_files_left_are_state_and_derived_samples(command: Run) -> None:
    assert command(leaves("state/out", b"after"), state=b"before").state == b"after"
    assert command(leaves("tmp/x", b"y"), state=b"before").state == b"before"
    (one,) = decode_derived(command(leaves("out/derived.csv", b"time,channel,value,unit\n0.000000001,press/mean,2.5,Cel\n")).derived)
    assert (one.channel.name, one.channel.unit, list(one.times), list(one.values)) == ("press/mean", "Cel", [1], [2.5])


@pytest.mark.parametrize(
    ("derived", "detail"),
    [(b"nothing\n", "derived-"), (b"time,channel,value\n1.000000000,other/mean,1\n", "derived-channel")],
)
def test_derived_samples_outside_the_rules_break_the_reply(derived: bytes, detail: str, command: Run) -> None:
    result = command(leaves("out/derived.csv", derived), state=b"before")
    assert result.outcome.kind is OutcomeKind.REPLY and result.outcome.detail.startswith(detail)
    assert (result.state, result.derived, result.fuel) == (b"before", b"", None)


def test_stderr_is_the_log_and_is_cut_not_judged(command: Run) -> None:
    text = "(call $write (i32.const 2) (i32.const 4096) (i32.const 12))"
    result = command(program(text, more='(data (i32.const 4096) "look at me\\0a\\ff")'))
    assert (result.outcome.kind, result.log) == (OutcomeKind.OK, b"look at me\n\xff")
    flood = program("(loop $again (call $write (i32.const 2) (i32.const 4096) (i32.const 60000)) (br $again))")
    result = command(flood)
    assert result.outcome.kind is OutcomeKind.FUEL and len(result.log) == 16 * 1024


def test_what_a_node_logs_does_not_show_in_the_result(command: Run, tmp_path: Path) -> None:
    wasm = program("(call $write (i32.const 2) (i32.const 4096) (i32.const 48000))")
    with Pool(SandboxConfig(log_bytes=10), cache=tmp_path, mac_key=bytes(32)) as terse:
        short = run(terse, module(wasm, abi=Abi.WASI_COMMAND), limits=COMMAND_LIMITS)
    long = command(wasm)
    assert (len(short.log), len(long.log)) == (10, 16 * 1024)
    assert (short.outcome, short.fuel) == (long.outcome, long.fuel)


@pytest.mark.parametrize(("code", "expected"), [(0, None), (3, 3), (-1, 2**32 - 1)])
def test_exit_code_is_signed_with_its_fuel(code: int, expected: int | None, command: Run) -> None:
    wasm = program(f"(call $write (i32.const 1) (i32.const 1024) (i32.const 2)) (call $proc_exit (i32.const {code}))")
    result = command(wasm, state=b"before")
    assert (result.outcome.kind, result.outcome.exit_code) == (OutcomeKind.EXIT if code else OutcomeKind.OK, expected)
    assert result.fuel is not None and 0 < result.fuel < COMMAND_LIMITS.fuel
    assert (len(result.summary), result.state) == (0 if code else 2, b"before")


# hostile programs


POLL_FOR_EVER = "(loop (drop (call $poll_oneoff (i32.const 4096) (i32.const 8192) (i32.const 1) (i32.const 16))) (br 0))"


@pytest.mark.parametrize(
    ("start", "more", "kind", "detail"),
    [
        ("unreachable", "", OutcomeKind.TRAP, "unreachable"),
        ("", "(func $s unreachable) (start $s)", OutcomeKind.TRAP, "unreachable"),
        ("", "(func $s (call $write (i32.const 1) (i32.const 0) (i32.const 1))) (start $s)", OutcomeKind.TRAP, "unreachable"),
        ("(call $deeper)", "(func $deeper (call $deeper))", OutcomeKind.STACK, ""),
        ("(loop br 0)", "", OutcomeKind.FUEL, ""),
        (
            POLL_FOR_EVER,
            "",
            OutcomeKind.FUEL,
            "",
        ),
        ("(loop (call $write (i32.const 1) (i32.const 4096) (i32.const 60000)) (br 0))", "", OutcomeKind.FUEL, ""),
        ("(call $write (i32.const 1) (i32.const 4096) (i32.const 65537))", "", OutcomeKind.OUTPUT, "summary"),
        ("(i32.store (i32.const 131072) (i32.const 1))", "", OutcomeKind.TRAP, "memory-out-of-bounds"),
        ("(if (i32.ne (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable))", "", OutcomeKind.OK, ""),
    ],
)
def test_program_that_fails_is_an_outcome(start: str, more: str, kind: OutcomeKind, detail: str, command: Run) -> None:
    result = command(program(start, more=more))
    assert (result.outcome.kind, result.outcome.detail) == (kind, detail)
    assert result.fuel == (COMMAND_LIMITS.fuel if kind is OutcomeKind.FUEL else result.fuel)
    assert command(ECHO, frame=FRAME).outcome.ok  # and the worker takes the next


def test_location_of_a_trap_is_in_the_guest(command: Run) -> None:
    start = "(func $s (call $write (i32.const 1) (i32.const 0) (i32.const 1))) (start $s)"
    location = command(program("", more=start)).outcome.location
    assert int(location) == CALLS.count("(import")  # $write, the innermost of the guest's own, and not the stub that trapped


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x8000_0000, 131073])
def test_lengths_beyond_the_memory_are_a_fault_and_nothing_is_written(length: int, command: Run) -> None:
    wasm = program(
        f"(i32.store (i32.const 0) (i32.const 0)) (i32.store (i32.const 4) (i32.const {length}))"
        "(call $proc_exit (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    )
    assert command(wasm).outcome.exit_code == 21  # errno fault


def test_program_without_a_memory_runs(command: Run) -> None:
    bare = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (func (export "_start") (call $exit (i32.const 5)))'
    assert command(binary(f"(module {bare})")).outcome.exit_code == 5
    hidden = CALLS + '(memory 1) (func (export "_start") (call $proc_exit (call $random_get (i32.const 0) (i32.const 8))))'
    assert command(binary(f"(module {hidden})")).outcome.exit_code == 21


def test_two_imports_of_one_name_are_one_function(command: Run) -> None:
    twice = '(import "wasi_snapshot_preview1" "proc_exit" (func $again (param i32)))'
    assert command(binary(f'(module {CALLS} {twice} (func (export "_start") (call $again (i32.const 9))))')).outcome.exit_code == 9


@pytest.mark.parametrize(
    ("wat", "what"),
    [
        ('(import "env" "f" (func)) (func (export "_start"))', "it imports func env.f"),
        ('(import "wasi_snapshot_preview1" "fork" (func)) (func (export "_start"))', "fork"),
        ('(import "wasi_snapshot_preview1" "proc_exit" (func (param i64))) (func (export "_start"))', "proc_exit"),
        ('(import "wasi_unstable" "proc_exit" (func (param i32))) (func (export "_start"))', "wasi_unstable"),
        ('(import "wasi_snapshot_preview1" "memory" (memory 1)) (func (export "_start"))', "memory"),
        ('(memory (export "memory") 1) (memory 1) (func (export "_start"))', "not a valid module"),
        ('(table 100001 funcref) (func (export "_start"))', "100001 elements"),
        (f'{"(table 1 funcref)" * 5} (func (export "_start"))', "5 tables"),
        ('(func (export "_start") (param i32))', r"_start is \(i32\), not \(\)"),
        ("(func)", "no function _start"),
    ],
)
def test_what_is_no_program_is_refused(wat: str, what: str, command: Run) -> None:
    with pytest.raises(ModuleError, match=what):
        command(binary(f"(module {wat})"))


def test_imports_without_end_are_refused(command: Run) -> None:
    many = '(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))' * 1_001
    with pytest.raises(ModuleError, match="1001 imports"):
        command(binary(f'(module {many} (func (export "_start")))'))


def test_files_that_are_too_large_are_an_outcome_in_their_order(command: Run) -> None:
    limits = replace(COMMAND_LIMITS, state=4)
    assert command(leaves("state/out", b"12345"), limits=limits).outcome.detail == "state"
    assert command(leaves("state/out", b"1234"), limits=limits).state == b"1234"
    rows = b"time,channel,value\n" + b"1,press/a,1\n" * 400
    result = command(leaves("out/derived.csv", rows))
    assert (result.outcome.kind, result.outcome.detail) == (OutcomeKind.OUTPUT, "derived")


def test_step_module_is_no_program(command: Run) -> None:
    with pytest.raises(ModuleError, match="no function _start"):
        command(HELLO)


def test_initial_memory_and_input_over_the_limits_are_outcomes(command: Run) -> None:
    big = command(program("", memory='(memory (export "memory") 65)'))
    assert (big.outcome.kind, big.outcome.detail, big.fuel) == (OutcomeKind.MEMORY, "", None)
    long = command(ECHO, frame=section(16, series("press/a", "", list(range(60_000)), [0.5] * 60_000)))
    assert (long.outcome.kind, long.outcome.detail) == (OutcomeKind.MEMORY, "files")


def test_greatest_file_system_is_one(tmp_path: Path) -> None:
    with Pool(SandboxConfig(files=2**31), cache=tmp_path, mac_key=bytes(32)) as wide:
        wasm = leaves("state/out", b"after")
        result = run(wide, module(wasm, abi=Abi.WASI_COMMAND), limits=replace(COMMAND_LIMITS, files=2**31))
    assert (result.outcome.kind, result.state) == (OutcomeKind.OK, b"after")


def test_many_functions_and_a_large_data_segment(command: Run) -> None:
    many = binary(f'(module {"(func)" * 100_000} (func (export "_start")))')
    assert command(many).outcome.ok
    wide = binary(f'(module (memory (export "memory") 1601) (data (i32.const 0) "{"x" * 104_857_600}") (func (export "_start")))')
    assert command(wide).outcome.kind is OutcomeKind.MEMORY


def test_limits_above_the_nodes_are_refused(command: Run) -> None:
    with pytest.raises(LimitError, match=r"sandbox\.files"):
        command(ECHO, limits=Limits(fuel=1, memory=65536, files=2**31))


def test_fuel_runs_out_below_what_a_command_needs(command: Run) -> None:
    used = command(ECHO, frame=FRAME).fuel
    assert used is not None
    assert command(ECHO, frame=FRAME, limits=replace(COMMAND_LIMITS, fuel=used)).outcome.ok
    short = command(ECHO, frame=FRAME, limits=replace(COMMAND_LIMITS, fuel=used // 2))
    assert (short.outcome.kind, short.fuel) == (OutcomeKind.FUEL, used // 2)

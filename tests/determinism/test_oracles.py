"""Every step gives the same outcome, bytes and fuel on this CPU, on the engine's interpreter, and on another CPU; and as it used to."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest

from ..unit.sandbox.guests import guest
from . import golden
from .instructions import NAMES
from .oracles import (
    INTERPRETER,
    NATIVE,
    MissingError,
    Oracle,
    Task,
    aarch64,
    ask,
    differences,
    generated,
    golden_inputs,
    real_commands,
    small_commands,
)
from .programs import program
from .runner import Result

CORPUS = 2_000
ON_ANOTHER_CPU = 300  # the emulator takes twenty times as long

# The fewest programs of the corpus that must end so.
SPREAD = {
    "ok": 800, "fuel": 100, "stack": 10, "memory": 20, "output": 15, "reply": 50,
    "trap unreachable": 40, "trap memory-out-of-bounds": 40, "trap table-out-of-bounds": 40, "trap indirect-call-to-null": 40,
    "trap bad-signature": 40, "trap integer-overflow": 40, "trap integer-division-by-zero": 40, "trap bad-conversion-to-integer": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return [*golden_inputs(), *generated(range(CORPUS))]


@pytest.fixture(scope="module")
def native(tasks: list[Task]) -> list[Result]:
    return ask(NATIVE, tasks)


@pytest.fixture(scope="module")
def another_cpu() -> Oracle:
    try:
        return aarch64()
    except MissingError as missing:
        if os.geteuid() != 0:
            pytest.skip(f"runs where root has prepared it only: {missing} is missing")
        pytest.skip(f"needs {missing}")


def test_the_interpreter_gives_the_same(tasks: list[Task], native: list[Result]) -> None:
    assert list(differences(tasks, native, ask(INTERPRETER, tasks))) == []


def test_another_cpu_gives_the_same(tasks: list[Task], native: list[Result], another_cpu: Oracle) -> None:
    some = tasks[: len(tasks) - CORPUS + ON_ANOTHER_CPU]
    assert list(differences(some, native[: len(some)], ask(another_cpu, some))) == []


def test_commands_give_the_same_everywhere(another_cpu: Oracle) -> None:
    commands = [*small_commands(), *real_commands()]
    native = ask(NATIVE, commands)
    assert [one.kind for one in native] == ["trap", "fuel", "exit", "output", "output", "ok", "ok"]
    for other in (INTERPRETER, another_cpu):
        assert list(differences(commands, native, ask(other, commands))) == []


def test_golden_inputs_are_answered(native: list[Result]) -> None:
    golden_ones = native[:-CORPUS]
    assert len(golden_ones) >= 12
    assert {one.kind for one in golden_ones} == {"ok"}


@pytest.mark.parametrize(
    "step",
    [
        "(f64.store (i32.const 8) (f64.convert_i32_s (i32.load (i32.const -1))))",
        "(i32.store (i32.const -1) (i32.add (i32.load (i32.const -1)) (i32.const 1)))",
    ],
)
def test_a_trap_is_in_one_place_even_where_the_cpu_joins_instructions(step: str) -> None:
    task = Task(step, guest(f"{step} (i64.const 0)"), bytes(8), fuel=10_000, memory=1 << 16)
    assert ask(NATIVE, [task]) == ask(INTERPRETER, [task])


def test_results_are_the_golden_ones_of_this_engine() -> None:
    path = golden.path()
    assert path.exists(), f"no golden results of this engine, {path.stem}: make them with {golden.RENEW}, and read what changed"
    told = json.loads(path.read_text(encoding="utf-8"))
    tasks = golden.tasks()
    assert list(told) == [one.name for one in tasks]
    found = [golden.entry(task, result) for task, result in zip(tasks, ask(NATIVE, tasks), strict=True)]
    assert [one["input"] for one in found] == [one["input"] for one in told.values()], f"the inputs changed: {golden.RENEW}"
    assert list(differences(tasks, [Result(*one["result"]) for one in told.values()], [Result(*one["result"]) for one in found])) == []


def test_corpus_ends_in_every_way_often(native: list[Result]) -> None:
    ends = Counter(f"{one.kind} {one.detail}" if one.kind == "trap" else one.kind for one in native[-CORPUS:])
    assert {end: count for end, count in SPREAD.items() if ends[end] < count} == {}, ends
    assert set(ends) == set(SPREAD)


def test_traps_come_from_everywhere(native: list[Result]) -> None:
    places = {one.location.split(":")[0] for one in native[-CORPUS:] if one.kind == "trap"}
    assert "" in places  # before any function ran: a segment that does not fit
    assert len(places) > 10


def test_parts_of_a_reply_are_all_there(native: list[Result]) -> None:
    answered = [one for one in native[-CORPUS:] if one.kind == "ok"]
    assert len({one.summary for one in answered}) == len(answered)
    assert all(sum(bool(getattr(one, part)) for one in answered) > 200 for part in ("state", "derived", "alerts"))


def test_corpus_has_every_instruction() -> None:
    seen: set[str] = set()
    waiting = [program(number).module for number in range(CORPUS // 10)]
    while waiting:
        sexp = waiting.pop()
        if isinstance(sexp, tuple):
            seen.add(str(sexp[0]))
            waiting += sexp[1:]
    assert NAMES - seen == set()


def test_a_program_is_made_from_its_number_alone() -> None:
    assert program(17) == program(17)
    assert program(17).wasm != program(18).wasm

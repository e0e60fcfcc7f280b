"""From steps that were run to a share of a node: the arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgenode.records import Outcome, OutcomeKind, StepResult, Window
from edgenode_sdk.estimate import Cost, StepCost, load

from ..formats.examples import READING

SECOND = 10**9
FAST = replace(READING, fuel_per_second=1_000_000_000)


def step(fuel: int | None, kind: OutcomeKind = OutcomeKind.OK) -> StepCost:
    result = StepResult(outcome=Outcome(kind=kind), fuel=fuel, summary=b"12345", state=b"123", derived=b"12345678", alerts=b"", wall_ns=1)
    return StepCost.of(Window(start_ns=0, end_ns=SECOND), 10, result)


def test_sizes_are_those_of_the_result() -> None:
    one = step(7)
    assert (one.samples, one.summary, one.derived, one.state) == (10, 5, 8, 3)


@pytest.mark.parametrize(("fuels", "median", "worst"), [([5], 5, 5), ([1, 9], 9, 9), ([3, 1, 2], 2, 3), ([None, 4, None], 4, 4)])
def test_median_and_worst_are_of_the_steps_that_told_their_fuel(fuels: list[int | None], median: int, worst: int) -> None:
    cost = Cost(limit=100, steps=tuple(map(step, fuels)))
    assert (cost.median, cost.worst) == (median, worst)


@pytest.mark.parametrize("steps", [(), (step(None, OutcomeKind.TRAP),)])
def test_without_a_step_that_told_the_limit_is_the_worst_case(steps: tuple[StepCost, ...]) -> None:
    cost = Cost(limit=100, steps=steps)
    assert (cost.median, cost.worst) == (None, 100)


def test_steps_that_failed_are_named() -> None:
    trapped, ok = step(None, OutcomeKind.TRAP), step(1)
    assert Cost(limit=100, steps=(ok, trapped, ok)).failed == (trapped,)


def test_a_step_takes_its_share_of_a_worker_each_time_one_falls_due() -> None:
    found = load(500_000_000, FAST, steps=6, every_ns=2 * SECOND)
    assert (found.step_seconds, found.job_seconds, found.share, found.keeps_up) == (0.5, 3.0, 0.25, True)


@pytest.mark.parametrize(("every_ns", "keeps_up"), [(SECOND, True), (SECOND - 1, False)])
def test_a_worker_keeps_up_as_long_as_a_step_is_over_when_the_next_falls_due(every_ns: int, keeps_up: bool) -> None:
    assert load(1_000_000_000, FAST, steps=1, every_ns=every_ns).keeps_up is keeps_up


def test_steps_that_do_not_follow_one_another_take_time_and_no_share() -> None:
    found = load(5_000_000_000, FAST, steps=1, every_ns=None)
    assert (found.job_seconds, found.share, found.keeps_up) == (5.0, None, True)

"""Golden inputs give golden outputs, to the byte; and what the golden files expect is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from . import reference
from .close import assert_close
from .golden import Case, cases, expected, render
from .guest import decode_cbor


@pytest.fixture(params=cases(), ids=lambda case: case.id)
def case(request: pytest.FixtureRequest) -> Case:
    assert isinstance(request.param, Case)
    return request.param


def test_every_module_has_golden_cases() -> None:
    assert {case.module for case in cases()} == {"statistics", "threshold-alarm", "vibration-features"}


def test_reply_is_the_golden_one(case: Case) -> None:
    assert expected(case.run()) == case.content["expected"]


def test_the_interpreter_gives_the_same_bytes_for_the_same_fuel(case: Case) -> None:
    native, interpreted = case.run(), case.run("pulley64")
    assert (native.sections, native.fuel) == (interpreted.sections, interpreted.fuel)


def test_file_is_written_as_the_renewal_writes_it(case: Case) -> None:
    assert case.path.read_text() == render(json.loads(case.path.read_text()))


def test_golden_summary_agrees_with_a_second_computation(case: Case) -> None:
    answer: dict[str, Any] = decode_cbor(case.run().summary)
    params = dict(case.params)
    before = reference.read_state(case.state)
    second: dict[str, Any] = {}
    for one in case.series:
        if case.module == "statistics":
            second[one.name] = reference.statistics(one, **params)
        elif case.module == "vibration-features":
            second[one.name] = reference.vibration(one, **params)
        elif one.name == params.get("channel", one.name) and not one.name.endswith(".alarm"):
            limits = {key: params[key] for key in params if key != "channel"}
            second[one.name] = reference.watch(one, before.get(one.name, reference.Alarm()), **limits).summary
    assert answer.keys() == second.keys()
    for one in case.series:
        if one.name in answer:
            assert_close(answer[one.name], second[one.name], one)

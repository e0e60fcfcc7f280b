"""The calibration guest and its measurement, in real workers. How fast they are is not tested: it is the machine's affair."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from edgenode.config import SandboxConfig
from edgenode.errors import FaultError, LimitError, WorkerDiedError
from edgenode.records import Limits, StepResult
from edgenode.sandbox import calibration
from edgenode.sandbox.pool import Pool

from .conftest import KEY

WAT = Path(calibration.__file__).with_suffix(".wat")


@pytest.fixture(name="ran")
def _ran(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> list[StepResult]:
    """What the pool of the test has run."""
    results: list[StepResult] = []
    step = pool.run

    def kept(*arguments: Any, **named: Any) -> StepResult:
        results.append(step(*arguments, **named))
        return results[-1]

    monkeypatch.setattr(pool, "run", kept)
    return results


def test_the_guest_is_its_source_assembled() -> None:
    assert bytes(wasmtime.wat2wasm(WAT.read_text())) == WAT.with_suffix(".wasm").read_bytes()


def test_the_best_of_a_few_equal_runs_counts(pool: Pool, ran: list[StepResult]) -> None:
    found = calibration.measure(pool, threading.Event())
    assert 1 <= len(ran) <= calibration.RUNS
    assert len({(result.outcome, result.fuel, result.summary) for result in ran}) == 1 and ran[0].outcome.ok
    assert found == max((result.fuel or 0) * 10**9 // result.wall_ns for result in ran)


def test_a_slow_machine_is_not_asked_again_and_again(pool: Pool, ran: list[StepResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ENOUGH_NS", 1)
    assert calibration.measure(pool, threading.Event()) > 0
    assert len(ran) == 1


def test_a_node_that_stops_does_not_wait_for_it(pool: Pool, ran: list[StepResult]) -> None:
    stopping = threading.Event()
    stopping.set()
    calibration.measure(pool, stopping)
    assert len(ran) == 1


def test_a_node_that_allows_less_fuel_says_so(tmp_path: Path) -> None:
    with Pool(SandboxConfig(fuel=1_000), cache=tmp_path, mac_key=KEY) as small, pytest.raises(LimitError, match=r"sandbox\.fuel is 1000"):
        calibration.measure(small, threading.Event())


def test_a_guest_that_does_not_come_to_its_end_measures_nothing(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_LIMITS", Limits(fuel=1_000, memory=256 << 10))
    with pytest.raises(FaultError, match="ended in fuel"):
        calibration.measure(pool, threading.Event())


def test_without_a_worker_there_is_no_reading(tmp_path: Path) -> None:
    with Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY) as closed:
        pass
    with pytest.raises(WorkerDiedError, match="closed"):
        calibration.measure(closed, threading.Event())

"""The clock: whole seconds, and no belief in a time that cannot be."""

from __future__ import annotations

import pytest

from edgenode import clock
from edgenode.clock import BUILD_TIME, SystemClock, seconds
from edgenode.records import ClockState
from edgenode.testing import FakeClock


def test_seconds_are_whole_and_rounded_down() -> None:
    assert seconds(FakeClock(1_999_999_999)) == 1
    assert seconds(FakeClock(2_000_000_000)) == 2


def test_the_machines_clock_goes_on() -> None:
    one = SystemClock()
    first, again = one.monotonic_ns(), one.monotonic_ns()
    assert again >= first
    assert one.now_ns() > 10**18


@pytest.mark.parametrize(("synchronised", "state"), [(True, ClockState.SYNCHRONISED), (False, ClockState.ESTIMATED)])
def test_the_kernel_says_whether_it_is_synchronised(monkeypatch: pytest.MonkeyPatch, synchronised: bool, state: ClockState) -> None:
    monkeypatch.setattr(clock, "_kernel_synchronised", lambda: synchronised)
    assert SystemClock(floor=0).state() is state


def test_a_time_before_the_floor_is_unknown_whatever_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_kernel_synchronised", lambda: True)
    assert SystemClock(floor=2**33).state() is ClockState.UNKNOWN


def test_the_kernel_can_be_asked() -> None:
    assert isinstance(clock._kernel_synchronised(), bool)


def test_a_system_without_adjtimex_is_not_synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not clock._kernel_synchronised()


def test_the_build_time_is_one_that_this_code_was_written_after() -> None:
    assert 1_700_000_000 < BUILD_TIME < 2_000_000_000

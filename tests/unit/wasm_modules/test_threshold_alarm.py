"""The threshold-alarm module against a second computation, window after window, and against states that are not its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from . import reference
from .close import assert_close
from .guest import Reply, Series, committed, decode_cbor, manifest, request, run
from .reference import Alarm
from .strategies import one_series, windows

LIMITS = {"high": 10.0, "low": -10.0, "hold_ms": 1500.0}


def step(window: list[Series], state: bytes = b"", **params: Any) -> Reply:
    return run(committed("threshold-alarm"), request(window, json.dumps({**LIMITS, **params}).encode(), state))


@given(st.lists(windows, max_size=4), st.sampled_from([0, 1, 1500, 20_000]))
def test_agrees_with_the_second_computation_over_many_windows(stream: list[list[Series]], hold_ms: int) -> None:
    state = b""
    alarms: dict[str, Alarm] = {}
    for window in stream:
        window = [one for one in window if not one.name.endswith(".alarm")]
        reply = step(window, state, hold_ms=hold_ms)
        answer = decode_cbor(reply.summary)
        alerts, derived = [], []
        for one in sorted(window, key=lambda one: (len(one.name.encode()), one.name.encode())):
            second = reference.watch(one, alarms.get(one.name, Alarm()), **{**LIMITS, "hold_ms": hold_ms})
            assert_close(answer.pop(one.name), second.summary, one)
            alarms[one.name] = second.alarm
            alerts += [{"value": v, "raised": r, "channel": one.name, "time_ns": t} for t, v, r in second.changes]
            if second.changes:
                times, values = tuple(t for t, _, _ in second.changes), tuple(float(r) for _, _, r in second.changes)
                derived.append(Series(f"{one.name}.alarm", "/", times, values))
        assert answer == {}
        assert (decode_cbor(reply.alert) if reply.alert is not None else []) == alerts
        assert reply.derived == derived
        assert reply.state == reference.write_state(alarms)
        state = reply.state


def transitions(reply: Reply) -> list[tuple[int, float]]:
    return [pair for one in reply.derived for pair in zip(one.times, one.values, strict=True)]


@given(one_series(), st.integers(0, 40))
def test_where_the_window_is_cut_does_not_matter(series: Series, cut: int) -> None:
    def part(piece: slice) -> Series:
        return Series(series.name, series.unit, series.times[piece], series.values[piece])

    whole = step([series])
    first = step([part(slice(None, cut))])
    assert first.state is not None
    second = step([part(slice(cut, None))], first.state)
    assert second.state == whole.state
    assert transitions(first) + transitions(second) == transitions(whole)


def test_the_hold_time_is_exact_to_the_nanosecond() -> None:
    just_short = Series("a", "", [0, 1_499_999_999], [10.0, 10.0])
    just_enough = Series("a", "", [0, 1_500_000_000], [10.0, 10.0])
    assert decode_cbor(step([just_short]).summary)["a"]["raises"] == 0
    assert decode_cbor(step([just_enough]).summary)["a"]["raises"] == 1


def test_times_at_both_ends_of_the_range_do_not_overflow() -> None:
    series = Series("a", "", [-(2**63), 2**63 - 1], [10.0, 10.0])
    assert decode_cbor(step([series], hold_ms=9e12).summary)["a"]["changed_ns"] == 2**63 - 1


@pytest.mark.parametrize(
    "params",
    [
        "",
        "{}",
        '{"high": 1}',
        '{"low": 1}',
        '{"high": 1, "low": 1}',
        '{"high": 1, "low": 2}',
        '{"high": 2, "low": 1, "hold_ms": -1}',
        '{"high": 2, "low": 1, "hold_ms": 1e13}',
        '{"high": 2, "low": 1, "channel": 3}',
        '{"high": 2, "low": 1, "hold": 3}',
    ],
)
def test_wrong_params_trap(params: str) -> None:
    with pytest.raises(wasmtime.Trap):
        run(committed("threshold-alarm"), request(params=params.encode()))


GOOD = reference.write_state({"a": Alarm(True, 5), "bb": Alarm(False, None, 7), "c é": Alarm()})


def changed(at: int, byte: int) -> bytes:
    return GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]


@pytest.mark.parametrize(
    "state",
    [
        GOOD[:-1],
        GOOD[:-8],
        GOOD + bytes(8),
        GOOD[:4],
        changed(0, 2),
        changed(4, 2),
        changed(4, 4),
        changed(7, 255),
        changed(8 + 16, 1),  # raised, and no time of it
        changed(8 + 16, 7),  # raised, and waiting to be
        changed(8 + 16, 8),  # a flag of no meaning
        changed(8 + 23, 255),  # a name of 4 GB
        changed(8 + 24, 0xFF),  # not UTF-8
        reference.write_state({"a": Alarm()})[:4] + b"\2\0\0\0" + 2 * reference.write_state({"a": Alarm()})[8:],  # twice
    ],
)
def test_malformed_state_traps(state: bytes) -> None:
    assert step([], GOOD).state == GOOD
    with pytest.raises(wasmtime.Trap):
        step([], state)


@given(st.binary(min_size=1, max_size=80))
def test_any_bytes_as_state_trap_or_come_back(state: bytes) -> None:
    try:
        reply = step([], state)
    except wasmtime.Trap:
        return
    assert reply.state is not None
    assert reference.read_state(reply.state) == reference.read_state(state)


def test_a_minute_of_twenty_channels_is_far_within_the_budget() -> None:
    limits = manifest("threshold-alarm")["limits"]
    times = [i * 100_000_000 for i in range(600)]
    window = [Series(f"host.{i}", "", times, [float((i + 1) * j % 23 - 11) for j in range(600)]) for i in range(20)]
    data = request(window, json.dumps(LIMITS).encode())
    run(committed("threshold-alarm"), data, fuel=limits["fuel"] // 50, memory=limits["memory"] // 16)

"""The statistics module against a second computation, over series of any kind."""

from __future__ import annotations

import json

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from . import reference
from .close import assert_close
from .guest import Series, committed, decode_cbor, manifest, request, run
from .strategies import windows


@given(windows, st.lists(st.floats(0, 1), max_size=4))
def test_agrees_with_the_second_computation(window: list[Series], quantiles: list[float]) -> None:
    reply = run(committed("statistics"), request(window, json.dumps({"quantiles": quantiles}).encode()))
    answer = decode_cbor(reply.summary)
    assert answer.keys() == {one.name for one in window}
    for one in window:
        assert_close(answer[one.name], reference.statistics(one, quantiles), one)
    assert reply.state is None and reply.alert is None and reply.derived == []


@given(windows)
def test_what_holds_for_every_summary(window: list[Series]) -> None:
    for fields in decode_cbor(run(committed("statistics"), request(window)).summary).values():
        if fields["count"]:
            values = [value for _, value in fields["quantiles"]]
            assert fields["min"] <= values[0] <= values[1] <= values[2] <= fields["max"]
            assert fields.get("stddev", 0) >= 0


@pytest.mark.parametrize("params", ['{"quantiles": [1.0000001]}', '{"quantiles": [-0.1]}', '{"quantiles": 0.5}', '{"quantile": [0.5]}'])
def test_wrong_params_trap(params: str) -> None:
    with pytest.raises(wasmtime.Trap):
        run(committed("statistics"), request(params=params.encode()))


def test_fuel_does_not_depend_on_the_order_of_the_values() -> None:
    count = 5000
    times = list(range(count))
    orders = ([float(i) for i in times], [float(-i) for i in times], [float(i * 7919 % count) for i in times])
    fuel = [run(committed("statistics"), request([Series("a", "", times, values)])).fuel for values in orders]
    assert max(fuel) < 1.02 * min(fuel)


def test_a_minute_of_twenty_channels_is_far_within_the_budget() -> None:
    limits = manifest("statistics")["limits"]
    times = [i * 100_000_000 for i in range(600)]
    window = [Series(f"host.{i}", "", times, [float(i * j % 97) for j in range(600)]) for i in range(20)]
    reply = run(committed("statistics"), request(window), fuel=limits["fuel"] // 50, memory=limits["memory"] // 16)
    assert len(reply.summary or b"") < manifest("statistics")["capabilities"]["summary"] // 10

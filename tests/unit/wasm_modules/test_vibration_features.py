"""The vibration-features module against numpy's transform, and against what must hold of any spectrum."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import wasmtime
from hypothesis import assume, given
from hypothesis import strategies as st

from . import reference
from .close import assert_close
from .guest import Series, committed, decode_cbor, manifest, request, run
from .strategies import windows

edges = st.lists(st.floats(0, 1000), min_size=2, max_size=6, unique=True).map(sorted)


def features(series: list[Series], **params: Any) -> dict[str, Any]:
    answer = decode_cbor(run(committed("vibration-features"), request(series, json.dumps(params).encode())).summary)
    assert isinstance(answer, dict)
    return answer


def sampled(values: Any, rate: int = 1000) -> Series:
    return Series("x", "m/s2", [i * 10**9 // rate for i in range(len(values))], [float(value) for value in values])


@given(windows, st.none() | edges, st.sampled_from(["none", "hann"]))
def test_agrees_with_the_second_computation(window: list[Series], bands: list[float] | None, kind: str) -> None:
    answer = features(window, window=kind, **({} if bands is None else {"bands": bands}))
    assert answer.keys() == {one.name for one in window}
    for one in window:
        assert_close(answer[one.name], reference.vibration(one, bands, kind), one)


@given(windows)
def test_band_energies_add_up_to_the_mean_square(window: list[Series]) -> None:
    for fields in features(window).values():
        if "bands" in fields:
            assume(1e-150 < fields["rms"] < 1e150)
            assert sum(band[2] for band in fields["bands"]) == pytest.approx(fields["rms"] ** 2, rel=1e-11)


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8, 100, 127, 128, 129, 1000, 4096])
@pytest.mark.parametrize("kind", ["none", "hann"])
def test_lengths_around_powers_of_two(count: int, kind: str) -> None:
    series = sampled(np.random.default_rng(count).normal(3, 2, count))
    assert_close(features([series], window=kind)["x"], reference.vibration(series, None, kind), series)


@pytest.mark.parametrize("kind", ["none", "hann"])
def test_a_tone_lies_in_its_band_with_half_its_squared_amplitude(kind: str) -> None:
    tone = sampled(5 + 3 * np.sin(2 * np.pi * 125 * np.arange(1024) / 1000))
    below, around, above = (band[2] for band in features([tone], window=kind, bands=[0, 100, 150, 500])["x"]["bands"])
    assert around == pytest.approx(4.5, rel=0.01)
    assert below + above < 0.01 * around


def test_known_shapes() -> None:
    turns = np.arange(1000) / 1000
    sine = features([sampled(np.sin(2 * np.pi * 10 * turns))])["x"]
    assert (sine["crest"], sine["kurtosis"], sine["rate"]) == pytest.approx((math.sqrt(2), 1.5, 1000))
    square = features([sampled([1.0, -1.0] * 50)])["x"]
    assert (square["rms"], square["peak"], square["crest"], square["kurtosis"]) == (1, 1, 1, 1)
    still = features([sampled([0.1] * 7)])["x"]
    assert still["rms"] == 0 and "crest" not in still and "kurtosis" not in still


def test_channels_of_different_lengths_do_not_disturb_each_other() -> None:
    long = sampled(np.random.default_rng(1).normal(size=1000))
    short = Series("y", "m/s2", long.times[:50], long.values[:50])
    assert features([long, short])["y"] == features([short])["y"]


@pytest.mark.parametrize(
    "params",
    [
        '{"window": "hamming"}',
        '{"window": true}',
        '{"bands": [1]}',
        '{"bands": [2, 1]}',
        '{"bands": [1, 1]}',
        '{"bands": [-1, 1]}',
        '{"bands": "all"}',
        json.dumps({"bands": list(range(66))}),
        '{"band": [0, 1]}',
    ],
)
def test_wrong_params_trap(params: str) -> None:
    with pytest.raises(wasmtime.Trap):
        run(committed("vibration-features"), request(params=params.encode()))


def test_a_hundred_thousand_samples_fit_the_budget() -> None:
    limits = manifest("vibration-features")["limits"]
    series = sampled(np.random.default_rng(2).normal(size=100_000), 10_000)
    data = request([series], b'{"window": "hann"}')
    reply = run(committed("vibration-features"), data, fuel=limits["fuel"] // 5, memory=limits["memory"] // 4)
    assert_close(decode_cbor(reply.summary)["x"], reference.vibration(series, None, "hann"), series)

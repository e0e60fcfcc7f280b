"""Series as sensors and their faults make them: NaN, infinities, nothing, one sample, any magnitude, times that repeat."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import strategies as st

from .guest import Series

readings = st.one_of(
    st.floats(-100, 100),
    st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf"), 5e-324, 1.7e308, -1.7e308]),
    st.floats(),
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def one_series(draw: st.DrawFn, max_size: int = 40) -> Series:
    values = draw(st.lists(readings, max_size=max_size))
    gaps = draw(st.lists(st.integers(0, 10**10), min_size=len(values), max_size=len(values)))
    start = draw(st.integers(-(2**62), 2**62))
    return Series(draw(names), draw(st.sampled_from(["", "Cel", "m/s2"])), list(accumulate(gaps, initial=start))[1:], values)


windows = st.lists(one_series(), max_size=4, unique_by=lambda one: one.name)

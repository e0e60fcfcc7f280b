"""How a dry run cuts a recording into the job's windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.cli.dry_run import Cut
from edgenode.formats.job import WindowKind, WindowSpec
from edgenode.records import Window

SECOND = 10**9
TUMBLING = WindowSpec(kind=WindowKind.TUMBLING, last_ns=60 * SECOND, size_ns=10 * SECOND)
LAST = WindowSpec(kind=WindowKind.SPAN, last_ns=60 * SECOND)
BETWEEN = WindowSpec(kind=WindowKind.SPAN, start_ns=5, end_ns=5 + 60 * SECOND)


def windows(spec: WindowSpec, first: float, last: float) -> list[tuple[float, float]]:
    """Of a recording between these seconds, in seconds."""
    cut = Cut.of(spec, Window(start_ns=round(first * SECOND), end_ns=round(last * SECOND)))
    return [(cut[index].start_ns / SECOND, cut[index].end_ns / SECOND) for index in range(cut.count)]


def test_tumbling_windows_lie_where_a_node_cuts_them() -> None:
    assert windows(TUMBLING, 1003, 1021) == [(1000, 1010), (1010, 1020), (1020, 1030)]
    assert windows(TUMBLING, 1010, 1020) == [(1010, 1020)]


@pytest.mark.parametrize("spec", [LAST, BETWEEN])
def test_a_span_is_laid_back_from_the_recording_s_end(spec: WindowSpec) -> None:
    assert windows(spec, 1000, 1125) == [(945, 1005), (1005, 1065), (1065, 1125)]
    assert windows(spec, 1120, 1125) == [(1065, 1125)]  # a recording that is shorter than the span
    assert windows(spec, 0, 5) == [(0, 5)]  # there is no time before 1970


@given(
    spec=st.sampled_from([TUMBLING, LAST, BETWEEN]),
    start_ns=st.integers(0, 1000 * SECOND),
    length_ns=st.integers(1, 1000 * SECOND),
    most=st.integers(2, 30),
)
def test_every_sample_is_in_one_window_and_the_chosen_are_spread_over_all(
    spec: WindowSpec, start_ns: int, length_ns: int, most: int
) -> None:
    cut = Cut.of(spec, Window(start_ns=start_ns, end_ns=start_ns + length_ns))
    first, last = cut[0], cut[cut.count - 1]
    assert first.start_ns <= start_ns < first.end_ns
    assert last.start_ns < start_ns + length_ns <= last.end_ns
    assert all(cut[index].end_ns == cut[index + 1].start_ns for index in range(min(cut.count, 5) - 1))
    chosen = cut.spread(most)
    assert len(chosen) == min(most, cut.count) == len(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, cut.count - 1)

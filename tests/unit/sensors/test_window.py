"""Windows over a span."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.formats.job import WindowKind, WindowSpec
from edgenode.records import MAX_INT, Window
from edgenode.sensors.window import Span, Tumbling, windowing

SECOND = 10**9
SPANS = st.tuples(st.integers(0, MAX_INT), st.integers(0, 10**15)).map(lambda at: Window(start_ns=at[0], end_ns=at[0] + at[1]))


@given(SPANS, st.integers(10**6, 10**14))
def test_tumbling_windows_are_aligned_side_by_side_and_inside_the_span(span: Window, size: int) -> None:
    windows = Tumbling(span, size)
    first = list(islice(windows, 50))
    assert all(window.start_ns % size == 0 and window.end_ns - window.start_ns == size for window in first)
    assert all(before.end_ns == after.start_ns for before, after in pairwise(first))
    assert all(span.start_ns <= window.start_ns and window.end_ns <= span.end_ns for window in first)
    assert len(first) == min(50, len(windows))
    assert first == [windows[index] for index in range(len(first))]
    covered = len(windows) * size
    assert span.end_ns - span.start_ns - covered < 2 * size  # only the two partial ones are left out


def test_counts_windows_without_making_them() -> None:
    assert len(Tumbling(Window(start_ns=0, end_ns=MAX_INT), 1)) == MAX_INT


def test_partial_windows_at_the_ends_are_left_out() -> None:
    windows = Tumbling(Window(start_ns=5, end_ns=38), 10)
    assert list(windows) == [Window(start_ns=10, end_ns=20), Window(start_ns=20, end_ns=30)]
    assert not list(Tumbling(Window(start_ns=11, end_ns=19), 10))


def test_a_span_is_one_window() -> None:
    span = Window(start_ns=3, end_ns=7)
    assert (len(Span(span)), list(Span(span)), Span(span)[0]) == (1, [span], span)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_window_that_is_not_there_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError):
        Tumbling(Window(start_ns=0, end_ns=25), 10)[index]
    with pytest.raises(IndexError):
        Span(Window(start_ns=0, end_ns=25))[index]


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="window size"):
        Tumbling(Window(start_ns=0, end_ns=1), 0)


def test_a_job_names_its_span_by_ends_or_as_the_last() -> None:
    ends = WindowSpec(kind=WindowKind.SPAN, start_ns=1, end_ns=9)
    assert list(windowing(ends, 100)) == [Window(start_ns=1, end_ns=9)]
    last = WindowSpec(kind=WindowKind.TUMBLING, last_ns=3 * SECOND, size_ns=SECOND)
    assert [window.start_ns for window in windowing(last, 10 * SECOND + 1)] == [8 * SECOND, 9 * SECOND]
    early = WindowSpec(kind=WindowKind.SPAN, last_ns=10 * SECOND)
    assert list(windowing(early, SECOND)) == [Window(start_ns=0, end_ns=SECOND)]

"""The ABI's bytes: what a guest is told, and what of its answer is believed."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgenode.errors import MalformedError
from edgenode.formats.frame import decode_derived
from edgenode.records import Completeness, Outcome, OutcomeKind, StepContext, Window
from edgenode.sandbox.abi import OutputLimits, Reply, check_derived, decode_reply, request_head

from .guests import CONTEXT, section, series

LIMITS = OutputLimits(summary=64, state=64, derived=256, alerts=32)
GOOD = series("room/temperature", "Cel", [1, 2, 2], [0.5, float("nan"), -1.0])


def test_request_is_laid_out_as_documented() -> None:
    context = StepContext(
        window=Window(start_ns=-5, end_ns=9),
        step=3,
        revision=2,
        seed=b"s" * 32,
        completeness=Completeness(received=4, expected=5, late=6, dropped=7),
    )
    frame = section(16, GOOD) + section(16, series("b", "", [], []))
    expected = section(1, struct.pack("<qqQIIQQQQ32s", -5, 9, 3, 2, 2, 5, 4, 6, 7, b"s" * 32)) + section(2, b"{}") + section(3, b"state")
    assert request_head(context, b"{}", b"state", frame) == expected


def test_empty_params_and_state_are_absent_and_unknown_rate_is_all_ones() -> None:
    head = request_head(CONTEXT, b"", b"", b"")
    assert len(head) == 8 + 96
    assert head[8 + 32 : 8 + 40] == b"\xff" * 8


@pytest.mark.parametrize("frame", [b"1234", section(17, b""), section(16, b"")[:-1], b"\x10\0\0\0\xff\xff\xff\xff"])
def test_frame_that_is_no_list_of_series_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedError):
        request_head(CONTEXT, b"", b"", frame)


def test_seed_of_another_length_is_refused() -> None:
    short = StepContext(window=CONTEXT.window, step=0, revision=0, seed=b"short", completeness=CONTEXT.completeness)
    with pytest.raises(ValueError, match="32 bytes"):
        request_head(short, b"", b"", b"")


def test_reply_parts_come_back() -> None:
    reply = section(34, GOOD) + section(32, b"sum") + section(33, b"") + section(34, series("x", "", [], [])) + section(35, b"alert")
    assert decode_reply(reply, LIMITS) == Reply(b"sum", b"", section(16, GOOD) + section(16, series("x", "", [], [])), b"alert")


def test_empty_reply_leaves_the_state_as_it_was() -> None:
    assert decode_reply(b"", LIMITS) == Reply(b"", None, b"", b"")


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (b"1234567", "length"),
        (b"\x20\0\0\0", "length"),
        (struct.pack("<II", 32, 1), "length"),
        (struct.pack("<II", 32, 2**32 - 1) + bytes(8), "length"),
        (struct.pack("<II", 32, 1) + b"a" + b"\0" * 6 + b"\1", "padding"),
        (section(16, GOOD), "tag"),
        (section(0, b""), "tag"),
        (section(32, b"a") + section(32, b"b"), "duplicate"),
        (section(33, b"a") + section(33, b"b"), "duplicate"),
        (section(35, b"") + section(35, b""), "duplicate"),
        (section(34, b""), "series"),
        (section(34, GOOD[:-8]), "series"),
        (section(34, GOOD + bytes(8)), "series"),
        (section(34, struct.pack("<IHH", 2**32 - 1, 1, 0) + b"a" + bytes(7)), "series"),
        (section(34, struct.pack("<IHH", 0, 1, 0) + b"a" + b"\1" * 7), "series"),
        (section(34, series("", "", [], [])), "series-name"),
        (section(34, series("a b", "", [], [])), "series-name"),
        (section(34, series("-a", "", [], [])), "series-name"),
        (section(34, series("a", "°C", [], [])), "series-name"),
        (section(34, series("a\n", "", [], [])), "series-name"),
        (section(34, series("a", "", [2, 1], [0, 0])), "series-times"),
    ],
)
def test_reply_that_breaks_the_abi(reply: bytes, detail: str) -> None:
    assert decode_reply(reply, LIMITS) == Outcome(kind=OutcomeKind.REPLY, detail=detail)


@pytest.mark.parametrize(
    ("reply", "part"),
    [
        (section(32, bytes(65)), "summary"),
        (section(33, bytes(65)), "state"),
        (section(35, bytes(33)), "alerts"),
        (section(34, GOOD) * 3, "derived"),
        (section(34, bytes(1000)), "derived"),
    ],
)
def test_reply_over_a_limit(reply: bytes, part: str) -> None:
    assert decode_reply(reply, LIMITS) == Outcome(kind=OutcomeKind.OUTPUT, detail=part)


def test_first_fault_decides() -> None:
    late = section(32, bytes(65)) + section(99, b"")
    assert decode_reply(late, LIMITS) == Outcome(kind=OutcomeKind.OUTPUT, detail="summary")
    early = section(99, b"") + section(32, bytes(65))
    assert decode_reply(early, LIMITS) == Outcome(kind=OutcomeKind.REPLY, detail="tag")


_TAGS = st.sampled_from([0, 16, 32, 33, 34, 35])
_SECTIONS = st.lists(st.builds(section, _TAGS, st.binary(max_size=80) | st.just(GOOD)), max_size=5).map(b"".join)


@given(st.binary(max_size=200) | _SECTIONS | st.tuples(_SECTIONS, st.binary(max_size=16)).map(b"".join))
@example(b"")
def test_any_bytes_give_a_bounded_reply_or_an_outcome(reply: bytes) -> None:
    answer = decode_reply(memoryview(reply), LIMITS)
    if isinstance(answer, Outcome):
        assert answer.kind in (OutcomeKind.REPLY, OutcomeKind.OUTPUT)
        assert answer.detail
    else:
        assert len(answer.summary) <= LIMITS.summary
        assert len(answer.state or b"") <= LIMITS.state
        assert len(answer.derived) <= LIMITS.derived
        assert len(answer.alerts) <= LIMITS.alerts
        check_derived(answer.derived)
        decode_derived(answer.derived)


@given(st.binary(max_size=120) | _SECTIONS)
def test_derived_is_well_formed_here_exactly_when_its_reader_takes_it(derived: bytes) -> None:
    assert refuses(check_derived, derived) == refuses(decode_derived, derived)


def refuses(reader: Callable[[bytes], object], data: bytes) -> bool:
    try:
        reader(data)
    except MalformedError:
        return True
    return False

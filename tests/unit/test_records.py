"""The values that cross rooms: patterns against a model, and bounds held when they are made."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.formats import document
from edgenode.records import Completeness, Limits, Outcome, OutcomeKind, Window, digest, matches, matches_any

ALPHABET = "ab/"
patterns = st.text(ALPHABET + "*", max_size=8)
names = st.text(ALPHABET, max_size=10)


def model(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


@given(patterns, names)
def test_a_pattern_fits_what_its_regular_expression_fits(pattern: str, name: str) -> None:
    assert matches(pattern, name) is model(pattern, name)


@given(st.text(max_size=12), st.text(max_size=12))
def test_also_over_any_text(pattern: str, name: str) -> None:
    assert matches(pattern, name) is model(pattern, name)


@given(names, st.data())
def test_a_name_with_parts_of_it_replaced_by_stars_fits_itself(name: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(name)), max_size=6)))
    edges = [0, *cuts, len(name)]
    parts = [name[start:end] if at % 2 == 0 else "*" for at, (start, end) in enumerate(itertools.pairwise(edges))]
    assert matches("".join(parts), name)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("**", "a/b", True),
        ("a", "A", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*ab*ab*", "ab", False),
        ("press/*/rms", "press/rms", False),
        ("press/*/rms", "press//rms", True),
        (".", "a", False),
        ("[a]", "a", False),
        ("a?", "ab", False),
        ("a\n*", "a\n\n", True),
    ],
)
def test_only_the_star_is_special(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


def test_a_pattern_full_of_stars_takes_no_time() -> None:
    """A manifest comes from outside: fitting must not go back and forth as a regular expression does."""
    began = time.process_time()
    assert not matches("*a" * 120 + "*b", "a" * 100_000)
    assert time.process_time() - began < 1


def test_matches_any_is_any() -> None:
    assert matches_any(("x", "press/*"), "press/a")
    assert not matches_any((), "press/a")


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_window_does_not_end_before_its_start(start: int, end: int) -> None:
    if end >= start:
        assert Window(start_ns=start, end_ns=end).end_ns == end
    else:
        with pytest.raises(ValueError, match="before its start"):
            Window(start_ns=start, end_ns=end)


@given(
    st.builds(
        Completeness,
        received=st.integers(0, 2**63 - 1),
        expected=st.none() | st.integers(0, 2**63 - 1),
        late=st.integers(0, 9),
        dropped=st.integers(0, 9),
    )
)
def test_completeness_travels_in_one_encoding_and_unknown_is_not_none_expected(one: Completeness) -> None:
    data = document.encode(one)
    assert document.decode(Completeness, data, limit=100, limit_name="test") == one
    assert data != document.encode(dataclasses.replace(one, expected=0 if one.expected is None else None))


def test_a_digest_is_sha256_of_any_kind_of_bytes() -> None:
    data = b"edgenode"
    assert digest(data) == digest(bytearray(data)) == digest(memoryview(data)) == hashlib.sha256(data).digest()


@pytest.mark.parametrize("kind", OutcomeKind)
def test_only_ok_is_ok(kind: OutcomeKind) -> None:
    assert Outcome(kind=kind).ok is (kind == "ok")


def test_what_crosses_rooms_cannot_be_changed() -> None:
    limits = Limits(fuel=1, memory=65536)
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.fuel = 2  # type: ignore[misc]

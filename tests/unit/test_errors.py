"""The error tree: as it is drawn, so it is; each kind can be told from every other, also over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from edgenode import errors
from edgenode.errors import BY_CODE, EdgenodeError, LimitError, RefusedError, StorageError, TransportError, TrustError
from edgenode.transport.problem import from_problem, to_problem

_DRAWN = re.compile(r"^    (?P<lines>(?:[│ ]   )*(?:[├└]── )?)(?P<name>\w+Error)(?: {2,}\S.*)?$", re.MULTILINE)


def tree(kind: type[EdgenodeError] = EdgenodeError) -> Iterator[type[EdgenodeError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:  # not those that other files keep for themselves
            yield from tree(child)


ALL = list(tree())


def drawn() -> list[tuple[str, str]]:
    """(class, parent) of each line of the drawing, in its order."""
    path: list[str] = []
    found = []
    for match in _DRAWN.finditer(errors.__doc__ or ""):
        depth = len(match["lines"]) // 4
        del path[depth:]
        found.append((match["name"], path[-1] if path else "Exception"))
        path.append(match["name"])
    return found


def test_the_drawing_is_the_tree() -> None:
    assert drawn() == [(kind.__name__, kind.__bases__[0].__name__) for kind in ALL]


def test_every_class_of_the_file_is_in_the_tree() -> None:
    here = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, BaseException)]
    assert set(here) == set(ALL)


def test_codes_are_unique_and_fit_a_urn() -> None:
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert {BY_CODE[code] for code in codes} == set(ALL)
    assert all("code" in vars(kind) for kind in ALL), "a code that is inherited is two classes' code"


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_each_has_a_status_of_its_kind(kind: type[EdgenodeError]) -> None:
    assert HTTPStatus(kind.status) >= 400
    if issubclass(kind, TrustError):
        assert kind.status in (401, 403)
    if issubclass(kind, RefusedError):
        assert kind.status in (403, 409, 422, 424, 503)
    if issubclass(kind, StorageError):
        assert kind.status == 507
    if issubclass(kind, TransportError):
        assert kind.status == 502


def plain(kind: type[EdgenodeError]) -> EdgenodeError:
    return kind("ledger.receipts", 1, 2) if kind is LimitError else kind("the press is on fire")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_other_end_raises_the_same_class_with_the_same_words(kind: type[EdgenodeError]) -> None:
    error = plain(kind)
    again = from_problem(to_problem(error), error.status, "press-7")
    assert type(again) is kind
    assert (again.what, again.hint, again.retry, str(again)) == (error.what, error.hint, error.retry, str(error))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_hint_is_the_classes_own_unless_one_is_given(kind: type[EdgenodeError]) -> None:
    if kind is LimitError:
        return
    assert kind("x").hint == kind.default_hint
    assert kind("x", hint="y").hint == "y"
    assert kind("x", hint="").hint == ""


def test_words_are_one_line_without_a_full_stop() -> None:
    for kind in ALL:
        for text in (kind.default_hint, plain(kind).what):
            assert "\n" not in text
            assert not text.endswith(".")


def test_a_limit_tells_its_name_its_value_and_the_value_met() -> None:
    error = LimitError("sandbox.fuel", 10, 11, unit="units")
    assert (error.name, error.limit, error.met, error.unit) == ("sandbox.fuel", 10, 11, "units")
    assert str(error) == "limit sandbox.fuel is 10 units, met 11"
    assert "sandbox.fuel" in error.hint


def test_what_waiting_can_mend_says_so() -> None:
    retried = {kind.code for kind in ALL if kind.retry}
    assert retried == {
        "fault",
        "module-missing",
        "no-worker",
        "not-understood",
        "queue-full",
        "storage-full",
        "unreachable",
        "worker-died",
        "worker-hung",
    }

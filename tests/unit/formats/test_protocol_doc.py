"""docs/protocol.md says what the code does: its tables and examples are made from it."""

from __future__ import annotations

import dataclasses

from edgenode.errors import BY_CODE
from edgenode.records import OutcomeKind
from edgenode.transport import wire

from .protocol_doc import DOCUMENT, MARKED, MEANINGS, VECTORS, parts, renewed, vectors

HINT = "renew it: python -m tests.unit.formats.protocol_doc"


def test_tables_and_examples_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert renewed(text) == text, HINT


def test_every_table_and_example_stands_in_it_once() -> None:
    names = [found["name"] for found in MARKED.finditer(DOCUMENT.read_text(encoding="utf-8"))]
    assert sorted(names) == sorted(parts())


def test_every_field_has_a_meaning() -> None:
    for kind, meanings in MEANINGS.items():
        assert list(meanings) == [field.name for field in dataclasses.fields(kind)], kind.__name__


def test_the_vectors_are_those_of_the_code() -> None:
    assert VECTORS.read_text(encoding="utf-8") == vectors(), HINT


def test_every_outcome_code_and_path_is_told() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for word in (*OutcomeKind, *BY_CODE, wire.CARD, wire.JOBS, wire.MODULES, wire.BLOBS, wire.RECEIPTS, wire.STATUS, wire.NODE_HEADER):
        assert f"`{word}" in text or f" {word}" in text, word

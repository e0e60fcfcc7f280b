"""Hypothesis strategies that build every kind of document at random, within the bounds that its fields declare."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from edgenode.formats.job import Job, WindowKind, WindowSpec
from edgenode.formats.manifest import Manifest
from edgenode.formats.reading import Reading
from edgenode.formats.receipt import Ack, Core, Measured, Notice, Receipt, ReceiptKind
from edgenode.formats.trust import Grant, Node, Revoked, Roots, Trust
from edgenode.records import DIGEST_BYTES, KEY_BYTES, MAX_INT, Window

IDS = st.binary(min_size=16, max_size=16)
KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
DIGESTS = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)
INTS = st.integers(0, MAX_INT)


def documents(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a document class."""
    return _SPECIAL[kind]() if kind in _SPECIAL else _built(kind)


def _built(kind: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: _values(hints[field.name], field.metadata) for field in dataclasses.fields(kind)})


def _values(hint: Any, bounds: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.none() | _values(args[0], bounds)
    if origin is tuple:
        return st.lists(_values(args[0], {**bounds, "longest": 256}), max_size=3).map(tuple)
    if dataclasses.is_dataclass(hint):
        return documents(hint)
    if issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(bounds["low"], bounds["high"])
    if hint is bytes:
        size = bounds["size"]
        return st.binary(min_size=size, max_size=size) if size is not None else st.binary(max_size=min(bounds["longest"], 40))

    def fits(text: str) -> bool:
        return len(text.encode()) <= bounds["longest"] and (bounds["pattern"] is None or re.fullmatch(bounds["pattern"], text) is not None)

    if bounds["pattern"] is not None:
        return st.from_regex(bounds["pattern"], fullmatch=True).map(lambda text: text[:12]).filter(fits)
    return st.text(max_size=12).filter(fits)


def _windows() -> st.SearchStrategy[Window]:
    return st.tuples(INTS, INTS).map(lambda ends: Window(start_ns=min(ends), end_ns=max(ends)))


@st.composite
def _specs(draw: st.DrawFn) -> WindowSpec:
    kind = draw(st.sampled_from(WindowKind))
    size = draw(st.integers(1_000_000, MAX_INT)) if kind is WindowKind.TUMBLING else None
    if draw(st.booleans()):
        return WindowSpec(kind=kind, last_ns=draw(st.integers(1, MAX_INT)), size_ns=size)
    start, end = sorted(draw(st.lists(INTS, min_size=2, max_size=2, unique=True)))
    return WindowSpec(kind=kind, start_ns=start, end_ns=end, size_ns=size)


@st.composite
def _receipts(draw: st.DrawFn) -> Receipt:
    kind = draw(st.sampled_from(ReceiptKind))
    step = kind is ReceiptKind.STEP
    return Receipt(
        kind=kind,
        chain=draw(IDS),
        seq=draw(INTS),
        prev=draw(DIGESTS),
        measured=draw(documents(Measured)),
        core=draw(st.binary(min_size=1, max_size=100)) if step else b"",
        summary=draw(st.binary(max_size=40)) if step else b"",
        alerts=draw(st.binary(max_size=40)) if step else b"",
        notice=None if step else draw(documents(Notice)),
    )


@st.composite
def _roots(draw: st.DrawFn) -> Roots:
    keys = draw(st.lists(KEYS, min_size=1, max_size=4, unique=True))
    return Roots(threshold=draw(st.integers(1, len(keys))), keys=tuple(keys))


@st.composite
def _trust(draw: st.DrawFn) -> Trust:
    grants = draw(st.lists(documents(Grant), max_size=4, unique_by=lambda grant: (grant.public_key, grant.role)))
    return Trust(
        fleet=draw(IDS),
        version=draw(st.integers(1, MAX_INT)),
        issued=draw(INTS),
        expires=draw(INTS),
        roots=draw(_roots()),
        grants=tuple(grants),
        revoked=draw(documents(Revoked)),
    )


_SPECIAL: dict[Any, Any] = {Window: _windows, WindowSpec: _specs, Receipt: _receipts, Roots: _roots, Trust: _trust}

KINDS: tuple[Any, ...] = (Manifest, Job, Core, Receipt, Ack, Node, Reading, Trust)

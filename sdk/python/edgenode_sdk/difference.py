"""Where two answers of a guest differ, for people: field by field when both are CBOR or JSON, else from the first other byte on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgenode_sdk.result import plain, read_answer

MOST = 100  # differences told of one answer
LONGEST = 200  # characters of one value
NEAR = 16  # bytes shown from the first other one on

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that came out differently: digests in hex, a guest's values as ASCII JSON. ``inside`` says where in the answer."""

    field: str
    receipt: str
    here: str
    inside: tuple[Difference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        told = {"field": self.field, "receipt": self.receipt, "here": self.here}
        return told | ({"inside": [one.to_json() for one in self.inside]} if self.inside else {})


def between(said: bytes, found: bytes) -> tuple[Difference, ...]:
    """What differs between two answers, at most MOST of it. Empty only for equal ones."""
    if said == found:
        return ()
    values = read_answer(said), read_answer(found)
    differences: tuple[Difference, ...] = ()
    if not any(isinstance(value, bytes) for value in values):
        try:
            differences = tuple(itertools.islice(_walk("", *values), MOST))
        except RecursionError:  # JSON, nested deeper than Python goes
            differences = ()
    return differences or _by_bytes(said, found)  # two encodings of equal values, such as a NaN and another


def _walk(path: str, said: Any, found: Any) -> Iterator[Difference]:
    if isinstance(said, Mapping) and isinstance(found, Mapping):
        for key in sorted({*said, *found}, key=_text):
            name = json.dumps(key)[1:-1] if isinstance(key, str) else _text(key)
            yield from _walk(f"{path}.{name}" if path else name, said.get(key, _ABSENT), found.get(key, _ABSENT))
    elif isinstance(said, tuple | list) and isinstance(found, tuple | list):
        for at, (one, other) in enumerate(itertools.zip_longest(said, found, fillvalue=_ABSENT)):
            yield from _walk(f"{path}[{at}]", one, other)
    elif (one := _text(said)) != (other := _text(found)):
        yield Difference(path or "value", _cut(one), _cut(other))


def _by_bytes(said: bytes, found: bytes) -> tuple[Difference, ...]:
    first = next((at for at, (one, other) in enumerate(zip(said, found, strict=False)) if one != other), min(len(said), len(found)))
    lengths = (Difference("length", str(len(said)), str(len(found))),) if len(said) != len(found) else ()
    one, other = (data[first : first + NEAR].hex() or "end" for data in (said, found))
    return (*lengths, Difference(f"byte {first}", one, other))


def _text(value: Any) -> str:
    """A value as ASCII, so that no guest moves a terminal's cursor."""
    return "absent" if value is _ABSENT else json.dumps(plain(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

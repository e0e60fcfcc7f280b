"""Frozen dataclasses <-> CBOR maps with unsigned integer keys.

A field names its key and bounds with ``records.key``. Keys below 64 must be understood; higher ones are ignored, so that a later
version can add what an earlier one may skip. An optional field that holds its default is left out, so every value has one encoding.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from edgenode.errors import MalformedError, NotUnderstoodError
from edgenode.formats import cbor

T = TypeVar("T")

MUST_UNDERSTAND = 64


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    number: int
    required: bool
    default: Any
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def encode(document: Any) -> bytes:
    """Deterministic bytes of a document dataclass. Raises MalformedError when a field is out of its bounds."""
    return cbor.encode(to_map(document))


def decode(kind: type[T], data: bytes, *, limit: int, limit_name: str) -> T:
    """Read ``kind`` from exactly these bytes. Raises MalformedError, or LimitError past ``limit`` bytes."""
    return from_map(kind, cbor.decode(data, cbor.DOCUMENT, limit=limit, limit_name=limit_name))


def to_json(document: Any) -> dict[str, Any]:
    """A document's fields by name, for people and scripts: bytes as hex, nested documents as objects."""
    return {field.name: _plain(getattr(document, field.name)) for field in dataclasses.fields(document)}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, StrEnum):
        return value.value
    return to_json(value) if dataclasses.is_dataclass(value) else value


def to_map(document: Any) -> dict[int, Any]:
    found = {}
    for field in _fields(type(document)):
        value = getattr(document, field.name)
        if not field.required and value == field.default:
            continue
        found[field.number] = field.write(value)
    return found


def from_map(kind: type[T], value: Any) -> T:
    if not isinstance(value, Mapping):
        raise MalformedError(f"{kind.__name__.lower()} is not a map")
    fields = _fields(kind)
    known = {field.number for field in fields}
    if unknown := [number for number in value if number < MUST_UNDERSTAND and number not in known]:
        raise NotUnderstoodError(f"{kind.__name__.lower()} has key {unknown[0]}, which this version does not understand")
    values = {}
    for field in fields:
        if field.number in value:
            values[field.name] = field.read(value[field.number])
            if not field.required and values[field.name] == field.default:
                raise MalformedError(f"{kind.__name__.lower()}.{field.name} is given, and only its default: leave it out")
        elif field.required:
            raise MalformedError(f"{kind.__name__.lower()} has no {field.name} (key {field.number})")
    try:
        return kind(**values)
    except ValueError as error:
        raise MalformedError(str(error)) from error


_KNOWN: dict[Any, tuple[_Field, ...]] = {}


def _fields(kind: Any) -> tuple[_Field, ...]:
    """The plan of a document class, made from its type hints once."""
    if kind not in _KNOWN:
        _KNOWN[kind] = _plan(kind)
    return _KNOWN[kind]


def _plan(kind: Any) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        read, write = _codec(hints[field.name], f"{kind.__name__.lower()}.{field.name}", field.metadata)
        required = field.default is dataclasses.MISSING
        found.append(_Field(field.name, field.metadata["key"], required, field.default, read, write))
    return tuple(found)


def _codec(hint: Any, where: str, bounds: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """How a value of this type is read and checked, and how it is checked and written."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _codec(args[0], where, bounds)
    if origin is tuple:
        member_bounds = {**bounds, "size": bounds["size"], "longest": 256}
        read_one, write_one = _codec(args[0], where, member_bounds)

        def read_many(value: Any) -> Any:
            if not isinstance(value, tuple) or len(value) > bounds["longest"]:
                raise MalformedError(f"{where} is not a list of at most {bounds['longest']}")
            return tuple(read_one(one) for one in value)

        def write_many(value: Any) -> Any:
            if len(value) > bounds["longest"]:
                raise MalformedError(f"{where} has {len(value)} items, more than {bounds['longest']}")
            return [write_one(one) for one in value]

        return read_many, write_many
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return (lambda value: from_map(hint, value)), to_map
    if issubclass(hint, StrEnum):

        def read_enum(value: Any) -> Any:
            try:
                return hint(value)
            except ValueError:
                raise MalformedError(f"{where} is {value!r:.40}, not one of {', '.join(hint)}") from None

        return read_enum, str
    check = functools.partial(_check, hint, where, bounds)
    return check, check


def _check(hint: type, where: str, bounds: Mapping[str, Any], value: Any) -> Any:
    if type(value) is not hint:  # not isinstance: True is an int
        raise MalformedError(f"{where} is of type {type(value).__name__}, not {hint.__name__}")
    if isinstance(value, int) and hint is int:
        if not bounds["low"] <= value <= bounds["high"]:
            raise MalformedError(f"{where} is {value}, not in {bounds['low']} to {bounds['high']}")
    elif isinstance(value, bytes | str):
        length = len(value if isinstance(value, bytes) else value.encode())
        if bounds["size"] is not None and length != bounds["size"]:
            raise MalformedError(f"{where} has {length} bytes, not {bounds['size']}")
        if bounds["size"] is None and length > bounds["longest"]:
            raise MalformedError(f"{where} has {length} bytes, more than {bounds['longest']}")
        if isinstance(value, str) and bounds["pattern"] is not None and not re.fullmatch(bounds["pattern"], value):
            raise MalformedError(f"{where} is {value!r:.60}, which does not fit {bounds['pattern']}")
    return value

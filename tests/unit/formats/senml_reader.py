"""SenML packs -> series: the packs that formats.senml writes, and no others. Apart from it, since a worker only writes them."""

from __future__ import annotations

import array
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, TypeAlias

from edgenode.errors import LimitError, MalformedError
from edgenode.formats import cbor
from edgenode.formats.frame import ascending, check_channel
from edgenode.formats.senml import encode_cbor, encode_json
from edgenode.formats.timeline import SECOND
from edgenode.records import Channel, Series

_PACK = "SenML pack"

_Sample: TypeAlias = tuple[str, str, int, Any]  # name, unit, ns, a number or its text


def decode_json(data: bytes, *, limit: int) -> list[Series]:
    """The series of a pack, by name; a channel without samples is in none.

    Raises LimitError past ``limit`` bytes, MalformedError unless the bytes are exactly what encode_json makes of these series.
    """
    if len(data) > limit:
        raise LimitError(_PACK, limit, len(data))
    return _series(_json_samples(data), encode_json, data)


def decode_cbor(data: bytes, *, limit: int) -> list[Series]:
    """The same for encode_cbor. Times are exact to the nanosecond for 104 days after the first; beyond that, as near as a double is."""
    profile = cbor.Profile(_PACK, depth=2, items=limit, free=True)  # an item takes a byte at least
    return _series(_cbor_samples(cbor.decode(data, profile, limit=limit, limit_name=_PACK)), encode_cbor, data)


def _json_samples(data: bytes) -> Iterator[_Sample]:
    base = 0
    for record in json.loads(data, parse_float=str):  # as text: its nine decimals are a time's nanoseconds
        base = int(record.get("bt", base))
        offset = int(record["t"].replace(".", ""))
        yield record["n"], record.get("u", ""), base * SECOND + offset, record["v"] if "v" in record else record["vs"]


def _cbor_samples(pack: Any) -> Iterator[_Sample]:
    base = 0
    for record in pack:
        base = int(record.get(-3, base))
        offset = round(Fraction(float(record[6])) * SECOND)
        yield record[0], record.get(1, ""), base * SECOND + offset, record[2] if 2 in record else record[3]


def _series(samples: Iterator[_Sample], encode: Callable[[list[Series]], bytes], data: bytes) -> list[Series]:
    found: dict[str, Series] = {}
    try:
        for name, unit, time, value in samples:
            if name not in found:
                found[name] = Series(Channel(name, unit), array.array("q"), array.array("d"))
                check_channel(found[name].channel)
            found[name].times.append(time)
            found[name].values.append(float(value))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise MalformedError(f"{_PACK} that cannot be read: {error}") from error
    series = [found[name] for name in sorted(found)]
    if not all(ascending(one.times) for one in series) or encode(series) != data:
        raise MalformedError(f"{_PACK} that is not written as edgenode writes it")
    return series

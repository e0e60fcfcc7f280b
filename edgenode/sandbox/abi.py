"""The ``step`` ABI's request and reply (docs/step-abi.md): bytes <-> values, pure.

    context, params, state, frame --request_head--> head + frame --guest--> reply --decode_reply--> Reply, or the Outcome of a bad one

A reply is written by a guest, and is hostile: work on it stays within the limits on its sections, whatever it claims.
"""

from __future__ import annotations

import operator
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from edgenode.errors import MalformedError
from edgenode.records import Capabilities, Completeness, Limits, Outcome, OutcomeKind, StepContext, Window

CONTEXT, PARAMS, STATE_IN, SERIES = 1, 2, 3, 16
SUMMARY, STATE, DERIVED, ALERT = 32, 33, 34, 35

UNKNOWN: Final = 2**64 - 1  # samples expected, when the channels' rates are not known
SEED_BYTES: Final = 32
REQUEST_BYTES: Final = 2**32 - 1  # the longest that an i32 can tell a guest

# RFC 8428 §4.5.1 for names; units are those of its registry (§12.1) and others like them. As formats.frame has them.
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9:./_-]{0,127}")
_UNIT = re.compile(rb"[A-Za-z0-9%/.*^_+-]{0,32}")

_SECTION = struct.Struct("<II")  # tag, length
_CONTEXT = struct.Struct("<qqQIIQQQQ32s")
_SERIES = struct.Struct("<IHH")  # samples, length of the name, length of the unit

Bytes: TypeAlias = bytes | memoryview


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """The most bytes that each part of a reply may have; of the derived series, their section headers and padding included."""

    summary: int
    state: int
    derived: int
    alerts: int

    @classmethod
    def of(cls, capabilities: Capabilities, limits: Limits) -> OutputLimits:
        return cls(capabilities.summary, limits.state, capabilities.derived, capabilities.alerts)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a guest answered. ``state`` is None when it leaves the state as it was; ``derived`` holds series sections (tag 16)."""

    summary: bytes = b""
    state: bytes | None = None
    derived: bytes = b""
    alerts: bytes = b""


def request_head(context: StepContext, params: bytes, state: bytes, frame: bytes) -> bytes:
    """Everything of a request that stands before the snapshot's ``frame``; the request is this, then the frame.

    Raises MalformedError for a frame that is not series sections, and ValueError for a seed that is not 32 bytes.
    """
    if len(context.seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(context.seed)}")
    complete = context.completeness
    body = _CONTEXT.pack(
        context.window.start_ns,
        context.window.end_ns,
        context.step,
        context.revision,
        _count_series(frame),
        UNKNOWN if complete.expected is None else complete.expected,
        complete.received,
        complete.late,
        complete.dropped,
        context.seed,
    )
    return section(CONTEXT, body) + (section(PARAMS, params) if params else b"") + (section(STATE_IN, state) if state else b"")


class Head(NamedTuple):
    """A request taken apart again; ``frame`` is the snapshot's series sections. ``context`` is what request_head was given."""

    context: StepContext
    params: memoryview
    state: memoryview
    frame: memoryview


def split_request(request: Bytes) -> Head:
    """The parts of a request. Raises MalformedError for what request_head and a frame do not make up."""
    view = memoryview(request)
    found: dict[int, memoryview] = {}
    at = 0
    try:
        for tag, body in _sections(view):
            if tag == SERIES:
                break
            found[tag] = body
            at += _SECTION.size + _padded(len(body))
        start, end, step, revision, _, expected, received, late, dropped, seed = _CONTEXT.unpack(found[CONTEXT])
    except (_BrokenError, KeyError, struct.error) as error:
        raise MalformedError(f"a request breaks the ABI: {error}") from error
    complete = Completeness(expected=None if expected == UNKNOWN else expected, received=received, late=late, dropped=dropped)
    context = StepContext(window=Window(start_ns=start, end_ns=end), step=step, revision=revision, seed=seed, completeness=complete)
    return Head(context, found.get(PARAMS, view[:0]), found.get(STATE_IN, view[:0]), view[at:])


DERIVED_SERIES: Final = 1024  # in one reply


def decode_reply(reply: Bytes, limits: OutputLimits) -> Reply | Outcome:
    """A guest's reply, or the outcome of one that breaks the ABI (``reply``) or is too large (``output``).

    Sections are judged in their order and the first fault decides, so every host gives the same outcome.
    """
    single: dict[int, bytes] = {}
    largest = {SUMMARY: limits.summary, STATE: limits.state, ALERT: limits.alerts}
    derived = bytearray()
    series = 0
    try:
        for tag, body in _sections(reply):
            if tag == DERIVED:
                # Before the body is looked at: the limit bounds the work. No section is free, so it bounds their number too.
                series += 1
                if series > DERIVED_SERIES or len(derived) + _SECTION.size + _padded(len(body)) > limits.derived:
                    return _too_large("derived")
                _check_series(body)
                derived += section(SERIES, body)
            elif tag not in largest:
                return _broken("tag")
            elif tag in single:
                return _broken("duplicate")
            elif len(body) > largest[tag]:
                return _too_large(_PART[tag])
            else:
                single[tag] = bytes(body)
    except _BrokenError as error:
        return _broken(error.detail)
    return Reply(single.get(SUMMARY, b""), single.get(STATE), bytes(derived), single.get(ALERT, b""))


def check_derived(derived: Bytes) -> None:
    """Raises MalformedError unless these are well-formed series sections, as decode_reply makes them."""
    try:
        for tag, body in _sections(derived):
            if tag != SERIES:
                raise _BrokenError("tag")
            _check_series(body)
    except _BrokenError as error:
        raise MalformedError(f"derived series break the ABI: {error.detail}") from error


def derived_channels(derived: Bytes) -> set[str]:
    """The names of the channels in derived series that check_derived has seen."""
    names = set()
    for _, body in _sections(derived):
        length = _SERIES.unpack_from(body)[1]
        names.add(str(body[_SERIES.size : _SERIES.size + length], "utf-8"))
    return names


def section(tag: int, body: Bytes) -> bytes:
    """One section, padded with zero bytes to a multiple of 8."""
    return _SECTION.pack(tag, len(body)) + body + bytes(_padded(len(body)) - len(body))


_PART: Final = {SUMMARY: "summary", STATE: "state", ALERT: "alerts"}


class _BrokenError(Exception):
    """Bytes that break the ABI; ``detail`` is what a receipt says of them."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def _sections(data: Bytes) -> Iterator[tuple[int, memoryview]]:
    view = memoryview(data)
    if len(view) % 8:
        raise _BrokenError("length")
    at = 0
    while at < len(view):
        tag, length = _SECTION.unpack_from(view, at)
        start = at + _SECTION.size
        end, at = start + length, start + _padded(length)
        if at > len(view):
            raise _BrokenError("length")
        if any(view[end:at]):
            raise _BrokenError("padding")
        yield tag, view[start:end]


def _check_series(body: memoryview) -> None:
    if len(body) < _SERIES.size:
        raise _BrokenError("series")
    count, name_length, unit_length = _SERIES.unpack_from(body)
    name_end = _SERIES.size + name_length
    unit_end = name_end + unit_length
    columns = _padded(unit_end)
    if len(body) != columns + 16 * count or any(body[unit_end:columns]):
        raise _BrokenError("series")
    if not _NAME.fullmatch(body[_SERIES.size : name_end]) or not _UNIT.fullmatch(body[name_end:unit_end]):
        raise _BrokenError("series-name")
    times = body[columns : columns + 8 * count].cast("q")  # little-endian, as every machine that the engine runs on
    if not all(map(operator.le, times, islice(times, 1, None))):
        raise _BrokenError("series-times")


def _count_series(frame: bytes) -> int:
    count = 0
    try:
        for tag, _ in _sections(frame):
            if tag != SERIES:
                raise _BrokenError("tag")
            count += 1
    except _BrokenError as error:
        raise MalformedError(f"the snapshot is not a list of series: {error.detail}") from error
    return count


def _padded(length: int) -> int:
    return -(-length // 8) * 8


def _broken(detail: str) -> Outcome:
    return Outcome(kind=OutcomeKind.REPLY, detail=detail)


def _too_large(part: str) -> Outcome:
    return Outcome(kind=OutcomeKind.OUTPUT, detail=part)

"""Fewer data segments for the same memory: thousands of them take the engine's compiler time that grows with their square.

Go's linker cuts its data at each run of zeros, into 37,000 segments for a program that prints a line: 27 s of compiling, and 2 s when they
are joined. A memory holds zeros before its segments are laid into it, so a gap between two of them is zeros written over zeros.

WebAssembly core specification 2.0, §5.5.14 (data section) and §4.5.4 (instantiation).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgenode.formats.wasm import Reader, signed, unsigned

MOST: Final = 1_000  # segments that are left as they are
GAP_BYTES: Final = 4_096  # that two joined segments may be apart

_DATA, _DATA_COUNT = 11, 12
_PREAMBLE_BYTES = 8
_ACTIVE = b"\0\x41"  # in memory 0, at a place that i32.const says
_END = 0x0B


def joined(wasm: bytes) -> bytes:
    """A binary that makes the same instances, for one that the engine has found valid; most come back as they are.

    Left alone is also what a program could tell apart: segments that ``memory.init`` may name (there is a data count section), whose
    place is no constant, or that lie one over another. Nothing before the data section moves, so that the places of
    traps stay true.
    """
    sections = {kind: (start, end) for kind, start, end in _sections(wasm)}
    if _DATA not in sections or _DATA_COUNT in sections:
        return wasm
    start, end = sections[_DATA]
    body = Reader(wasm, start + 1)
    body.u32()  # the section's size
    count = body.u32()
    if count <= MOST:
        return wasm
    found = []
    for _ in range(count):
        if body.take(2) != _ACTIVE:
            return wasm
        place = body.i32() % 2**32
        if body.byte() != _END:
            return wasm
        found.append((place, body.take(body.u32())))
    segments: list[tuple[int, bytearray]] = []
    after = 0
    for place, data in sorted(found):
        if place < after:
            return wasm
        if segments and place - after <= GAP_BYTES:
            segments[-1][1].extend(bytes(place - after))
        else:
            segments.append((place, bytearray()))
        segments[-1][1].extend(data)
        after = place + len(data)
    section = unsigned(len(segments)) + b"".join(_segment(place, data) for place, data in segments)
    return wasm[:start] + bytes([_DATA]) + unsigned(len(section)) + section + wasm[end:]


def _sections(wasm: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, and where it starts and ends."""
    reader = Reader(wasm, _PREAMBLE_BYTES)
    while reader.at < len(wasm):
        start = reader.at
        kind = reader.byte()
        reader.take(reader.u32())
        yield kind, start, reader.at


def _segment(place: int, data: bytearray) -> bytes:
    return _ACTIVE + signed(place - 2**32 if place >= 2**31 else place) + bytes([_END]) + unsigned(len(data)) + data

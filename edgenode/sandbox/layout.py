"""What the engine's type information leaves out of a module: the tables that it does not export.

Reads the table section (WebAssembly core specification §5.5.7) of a binary that the engine has validated against its Config; without
that, its answer means nothing.
"""

from __future__ import annotations

_TABLE_SECTION = 4
_PREAMBLE_BYTES = 8


def table_sizes(wasm: bytes) -> list[int]:
    """The initial number of elements of each table that the module defines, imported ones left out."""
    at = _PREAMBLE_BYTES
    while at < len(wasm):
        section, (size, at) = wasm[at], _unsigned(wasm, at + 1)
        if section == _TABLE_SECTION:
            return _tables(wasm, at)
        at += size
    return []


def _tables(wasm: bytes, at: int) -> list[int]:
    sizes = []
    count, at = _unsigned(wasm, at)
    for _ in range(count):
        bounded = wasm[at + 1] & 1  # after the one byte of the element type
        least, at = _unsigned(wasm, at + 2)
        if bounded:
            _, at = _unsigned(wasm, at)
        sizes.append(least)
    return sizes


def _unsigned(wasm: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number (§5.2.2), and where it ends."""
    value = shift = 0
    while True:
        byte = wasm[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

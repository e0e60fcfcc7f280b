"""What a program finds when it starts, as the bytes that the WASI module stages: settings, arguments, environment, files, stdin.

Records, each at a multiple of 8: kind u32, length of the name u32, length of the content u64, name, content, both padded with zeros
(wasi/README.md). Parts of it are handed on as they are: a large input is never joined to the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

SEED_BYTES: Final = 32
STDERR_BYTES: Final = 64 * 1024
"""Kept of a step's stderr while it runs. What is kept costs fuel and room in the file system, so it is the same on every node."""

_RECORD = struct.Struct("<IIQ")
_SETTINGS = struct.Struct(f"<Q{SEED_BYTES}sII")


class Kind(IntEnum):
    SETTINGS = 0
    ARGUMENT = 1
    VARIABLE = 2
    PREOPEN = 3  # a root directory of its own; the paths after it are below it
    DIRECTORY = 4
    FILE = 5
    SYMLINK = 6
    STDIN = 7


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    name: bytes = b""
    content: bytes | memoryview = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``clock_ns``: where the guest's clock starts, ns since 1970. ``stdout`` and ``stderr``: bytes that are kept of each stream."""

    clock_ns: int
    seed: bytes
    stdout: int
    stderr: int

    def record(self) -> Record:
        return Record(Kind.SETTINGS, content=_SETTINGS.pack(self.clock_ns, self.seed, self.stdout, self.stderr))


def encode(records: Iterable[Record]) -> list[bytes | memoryview]:
    """The image in parts, to be laid one after another."""
    return list(_parts(records))


def size(parts: Iterable[bytes | memoryview]) -> int:
    """Bytes of all parts together."""
    return sum(map(len, parts))


def _parts(records: Iterable[Record]) -> Iterator[bytes | memoryview]:
    for record in records:
        name, content = record.name, record.content
        yield _RECORD.pack(record.kind, len(name), len(content)) + name + bytes(-len(name) % 8)
        yield content
        if padding := -len(content) % 8:
            yield bytes(padding)

"""Any wasip1 program on this machine: the same worker, operating system and limits as a node's, with folders copied into its memory.

arguments, environment, folders, stdin --image--> worker --> stdout, stderr, outcome
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgenode.errors import ConfigError, LimitError
from edgenode.files import read_document
from edgenode.records import Abi, Limits, ProgramResult
from edgenode.sandbox.image import SEED_BYTES, Kind, Record, Settings, encode, size
from edgenode.trust.verify import unsigned_module
from edgenode_sdk import local

START_NS: Final = 946_684_800_000_000_000  # 2000-01-01T00:00:00Z: where the clock of every program starts, so that each run is the same
STREAM_BYTES: Final = 64 << 20  # kept of stdout and of stderr
MOST_BYTES: Final = 2**31 - 1  # of all that is copied into it: the greatest file system there is
FILES: Final = 256 << 20  # the file system's size beside what is copied into it


@dataclass(frozen=True, slots=True)
class Program:
    """``folders``: what the guest calls them -> where they are here; ``name`` is argv[0]."""

    wasm: bytes
    name: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    stdin: bytes = b""


def run(program: Program, *, fuel: int, memory: int, wall_ms: int) -> tuple[ProgramResult, str]:
    """Run it in a worker of its own: what it came to, and the engine's name. Blocks.

    Raises ConfigError for a folder or file that cannot be read, ModuleError for what is no program, LimitError, and FaultError when the
    worker died or hung.
    """
    parts = encode(_records(program))
    if size(parts) > MOST_BYTES:
        raise LimitError("files", MOST_BYTES, size(parts), hint="a program's folders and stdin lie in its memory: give it less")
    limits = Limits(fuel=fuel, memory=memory, files=min(FILES + 2 * size(parts), 2**31), wall_ms=wall_ms)
    manifest = local.widest_manifest(program.wasm, limits, Abi.WASI_COMMAND)
    with local.sandbox(limits) as pool:
        module = unsigned_module(program.wasm, manifest)
        return pool.execute(module, image=parts, limits=limits, streams=STREAM_BYTES), pool.engine.version


def _records(program: Program) -> Iterator[Record]:
    yield Settings(clock_ns=START_NS, seed=bytes(SEED_BYTES), stdout=STREAM_BYTES, stderr=STREAM_BYTES).record()
    for argument in (program.name, *program.arguments):
        yield Record(Kind.ARGUMENT, content=_text(argument))
    for name, value in program.environment.items():
        yield Record(Kind.VARIABLE, content=_text(f"{name}={value}"))
    for name, folder in program.folders.items():
        yield Record(Kind.PREOPEN, _text(name))
        yield from _tree(folder)
    yield Record(Kind.STDIN, content=program.stdin)


def _tree(folder: Path) -> Iterator[Record]:
    """What is in a folder, by name, so that two copies of it are numbered alike. What is no file, folder or link is left out."""
    waiting = [(folder, "")]
    try:
        while waiting:
            place, below = waiting.pop()
            for path in sorted(place.iterdir(), key=lambda path: os.fsencode(path.name)):
                name = below + path.name
                if path.is_symlink():
                    target = os.readlink(os.fsencode(path))  # noqa: PTH115 - a Path would take away from it
                    yield Record(Kind.SYMLINK, _text(name), target)
                elif path.is_dir():
                    yield Record(Kind.DIRECTORY, _text(name))
                    waiting.append((path, f"{name}/"))
                elif path.is_file():
                    yield Record(
                        Kind.FILE, _text(name), read_document(path, "it is too large to be copied into a program's memory", MOST_BYTES)
                    )
    except OSError as error:
        hint = "--dir names a folder of this machine first, then what the program calls it"
        raise ConfigError(f"cannot read {error.filename or folder}: {error.strerror}", hint=hint) from error


def _text(value: str) -> bytes:
    data = os.fsencode(value)
    if b"\0" in data:
        raise ConfigError(f"{value!r:.80} has a zero byte in it", hint="no argument, variable or path can have one")
    return data

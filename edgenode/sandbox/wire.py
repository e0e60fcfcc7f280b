"""What passes between the agent and the processes of the sandbox: messages with workers, and exit statuses.

Over a stream socket, one request and one response at a time; nothing is parsed but these structs.

    worker -> agent   hello, once
    agent -> worker   LOAD: header, then one byte that carries the code's memfd          no response
    agent -> worker   STEP or PROGRAM: header; its ``length`` bytes lie in the shared area (shared.py)
    worker -> agent   response: header, detail, location, summary, state, derived, alerts, log

A STEP is a request of the ``step`` ABI, also for a command, whose arguments, files and stdin the worker makes of it (stdio.py). A
PROGRAM is an image (image.py), and is answered with its two streams as summary and log.

The agent takes every byte that a worker sends for hostile: a guest may have broken out. So each length is checked before it is read,
and nothing is ever unpickled.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import Final, NamedTuple

from edgenode.records import DIGEST_BYTES, Abi, Engine, OutcomeKind

LOAD: Final = 1
STEP: Final = 2
PROGRAM: Final = 3

REQUEST: Final = struct.Struct("<BBBxIQQQIIIIIxxxxQ")
RESPONSE: Final = struct.Struct("<BBBBIQQIIIII")
HELLO: Final = struct.Struct(f"<32s{DIGEST_BYTES}s{DIGEST_BYTES}s{DIGEST_BYTES}sI??x")

OUTCOMES: Final = tuple(OutcomeKind)
HAS_FUEL: Final = 1
HAS_STATE: Final = 2

# Exit statuses. Of a worker: it was handed code that its engine does not take, as after a change of CPU.
UNLOADABLE: Final = 65
# Or a limit on its memory, which would show in results, could not be lifted.
LIMITED: Final = 70
# Of the compiling child: not a module of the ABI (its output says why); out of memory; more code than may be kept; no machine code here.
REFUSED: Final = 66
NO_MEMORY: Final = 67
TOO_LARGE: Final = 68
NOT_EXECUTABLE: Final = 69


PULLEY: Final = "pulley64"  # the engine's name of its portable interpreter, as the target of compiling


class Kind(StrEnum):
    """What code is: a module of one of the ABIs, or a part of the operating system that commands run on."""

    STEP = "step"
    COMMAND = "command"
    SYSTEM = "system"

    @classmethod
    def of(cls, abi: Abi) -> Kind:
        return cls.COMMAND if abi is Abi.WASI_COMMAND else cls.STEP


KINDS: Final = tuple(Kind)

WASI, BRIDGE, FIRST_SLOT = 0, 1, 2  # slots of the operating system, and the first of the others


class Request(NamedTuple):
    """``slot``: where the worker keeps the code. LOAD uses it and ``kind``, an index in KINDS, alone.

    ``input`` is an index in formats.stdin.MEDIA_TYPES, of a command; the five limits after ``files`` are bytes of output.
    """

    op: int
    kind: int
    input: int
    slot: int
    fuel: int = 0
    memory: int = 0
    files: int = 0
    summary: int = 0
    state: int = 0
    derived: int = 0
    alerts: int = 0
    log: int = 0
    length: int = 0


class Response(NamedTuple):
    """``outcome`` is an index in OUTCOMES, ``flags`` of HAS_FUEL and HAS_STATE; those after ``wall_ns`` are lengths in bytes."""

    outcome: int
    flags: int
    detail: int
    location: int
    exit_code: int
    fuel: int
    wall_ns: int
    summary: int
    state: int
    derived: int
    alerts: int
    log: int


class Confinement(NamedTuple):
    """What a worker gave up: the version of Landlock in force (0: none), a seccomp filter, and the making of executable memory."""

    landlock: int
    seccomp: bool
    no_new_code: bool


def pack_hello(engine: Engine, confinement: Confinement) -> bytes:
    version = engine.version.encode().ljust(32, b"\0")
    return HELLO.pack(version, engine.step_config, engine.command_config, engine.library_digest, *confinement)


def unpack_hello(data: bytes) -> tuple[Engine, Confinement]:
    """Raises ValueError."""
    version, step, command, library, *confinement = HELLO.unpack(data)
    return Engine(version.rstrip(b"\0").decode("ascii"), step, command, library), Confinement(*confinement)

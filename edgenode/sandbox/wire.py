"""What passes between the agent and the processes of the sandbox: messages with workers, and exit statuses.

Over a stream socket, one request and one response at a time; nothing is parsed but these structs.

    worker -> agent   hello, once
    agent -> worker   LOAD: header, then one byte that carries the code's memfd          no response
    agent -> worker   STEP: header, then ``length`` bytes of request
    worker -> agent   response: header, detail, location, summary, state, derived, alerts

The agent takes every byte that a worker sends for hostile: a guest may have broken out. So each length is checked before it is read,
and nothing is ever unpickled.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from edgenode.records import DIGEST_BYTES, Engine, OutcomeKind

LOAD: Final = 1
STEP: Final = 2

REQUEST: Final = struct.Struct("<BxxxIQQIIIIQ")
RESPONSE: Final = struct.Struct("<BBBBIQQIIII")
HELLO: Final = struct.Struct(f"<32s{DIGEST_BYTES}s{DIGEST_BYTES}s")

KINDS: Final = tuple(OutcomeKind)
HAS_FUEL: Final = 1
HAS_STATE: Final = 2

# Exit statuses. Of a worker: it was handed code that its engine does not take, as after a change of CPU.
UNLOADABLE: Final = 65
# Of the compiling child: not a module of the ABI (its output says why); out of memory; more code than may be kept.
REFUSED: Final = 66
NO_MEMORY: Final = 67
TOO_LARGE: Final = 68


class Request(NamedTuple):
    """``slot``: where the worker keeps the module. The four limits are those of abi.OutputLimits. LOAD uses only op and slot."""

    op: int
    slot: int
    fuel: int = 0
    memory: int = 0
    summary: int = 0
    state: int = 0
    derived: int = 0
    alerts: int = 0
    length: int = 0


class Response(NamedTuple):
    """``kind`` is an index in KINDS, ``flags`` of HAS_FUEL and HAS_STATE; the rest are lengths in bytes, ``fuel`` and ``wall_ns`` apart."""

    kind: int
    flags: int
    detail: int
    location: int
    zero: int
    fuel: int
    wall_ns: int
    summary: int
    state: int
    derived: int
    alerts: int


def pack_hello(engine: Engine) -> bytes:
    return HELLO.pack(engine.version.encode().ljust(32, b"\0"), engine.config_digest, engine.library_digest)


def unpack_hello(data: bytes) -> Engine:
    version, config_digest, library_digest = HELLO.unpack(data)
    return Engine(version.rstrip(b"\0").decode("ascii"), config_digest, library_digest)

"""A worker that a guest took over: whatever it sends, the agent gets a fault or a result within its limits."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenode.clock import SystemClock
from edgenode.errors import FaultError, WorkerDiedError
from edgenode.records import OutcomeKind
from edgenode.sandbox import process, wire
from edgenode.sandbox.abi import OutputLimits
from edgenode.sandbox.artifacts import Artifact, Code
from edgenode.sandbox.process import Call, WorkerProcess

from .guests import LIMITS, section, series

OUTPUT = OutputLimits(summary=64, state=1 << 20, derived=256, alerts=32)
HELLO = wire.HELLO.pack(b"50.0.1", bytes(32), bytes(32), bytes(32), 0, False, False)
CODE = Code(bytes(32), wire.Kind.STEP)


def call(artifact: Artifact) -> Call:
    return Call(
        op=wire.STEP,
        code=(CODE, artifact),
        system={},
        input=0,
        request=(bytes(8),),
        limits=LIMITS,
        output=OUTPUT,
        log=16,
        wall_ms=200,
        resident=1 << 30,
    )


class Impostor:
    """Starts a process that does nothing in the worker's place, and speaks for it at its end of the link."""

    def __init__(self) -> None:
        self.link: socket.socket | None = None

    def launch(self, module: str, arguments: list[int | str], *, inherit: list[int]) -> subprocess.Popen[bytes]:
        self.link = socket.socket(fileno=os.dup(inherit[0]))
        self.link.sendall(HELLO)
        return subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])

    def answer(self, data: bytes) -> WorkerProcess:
        worker = WorkerProcess(SystemClock(), 4, target="", deep=False)
        assert self.link
        self.link.sendall(data)
        return worker


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return Artifact(b"code")


@pytest.fixture
def impostor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Impostor]:
    one = Impostor()
    monkeypatch.setattr(process, "launch", one.launch)
    yield one
    if one.link:
        one.link.close()


def response(kind: OutcomeKind = OutcomeKind.OK, *, flags: int = wire.HAS_FUEL, fuel: int = 5, body: bytes = b"", **lengths: Any) -> bytes:
    names = ("detail", "location", "exit_code", "wall_ns", "summary", "state", "derived", "alerts", "log")
    fields = dict.fromkeys(names, 0) | lengths
    return wire.RESPONSE.pack(*wire.Response(outcome=wire.OUTCOMES.index(kind), flags=flags, fuel=fuel, **fields)) + body


UNSORTED = section(16, series("a", "", [2, 1], [0, 0]))


@pytest.mark.parametrize(
    "data",
    [
        response(summary=65, body=bytes(65)),
        response(state=2**32 - 1),
        response(body=b"more than it said"),
        response(exit_code=1),
        response(log=17, body=bytes(17)),
        response(flags=4),
        response(flags=0),
        response(fuel=LIMITS.fuel + 1),
        response(wall_ns=2**63),
        response(OutcomeKind.FUEL, fuel=5),
        response(OutcomeKind.TRAP, flags=wire.HAS_FUEL),
        response(OutcomeKind.TRAP, flags=0, detail=4, body=b"BAD!"),
        response(OutcomeKind.TRAP, flags=0, detail=4, body=b"a\xff\n\0"),
        response(OutcomeKind.TRAP, flags=0, location=3, body=b"1:x"),
        response(OutcomeKind.TRAP, flags=0, summary=1, body=b"x"),
        response(OutcomeKind.TRAP, flags=wire.HAS_STATE, state=1, body=b"x"),
        response(OutcomeKind.EXIT, flags=0),
        response(derived=8, body=bytes(8)),
        response(derived=len(UNSORTED), body=UNSORTED),
        bytes([255]) + response()[1:],
    ],
)
def test_answer_outside_the_protocol_is_a_fault(impostor: Impostor, artifact: Artifact, data: bytes) -> None:
    worker = impostor.answer(data)
    try:
        with pytest.raises(WorkerDiedError, match="broke the protocol"):
            worker.run(call(artifact))
    finally:
        worker.stop()


def test_answer_inside_it_is_taken(impostor: Impostor, artifact: Artifact) -> None:
    worker = impostor.answer(response(summary=2, body=b"ok"))
    try:
        result = worker.run(call(artifact))
    finally:
        worker.stop()
    assert (result.reply.summary, result.reply.state, result.fuel) == (b"ok", None, 5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=120))
def test_any_bytes_are_a_fault_or_a_result(impostor: Impostor, artifact: Artifact, data: bytes) -> None:
    worker = impostor.answer(data)
    assert impostor.link
    impostor.link.shutdown(socket.SHUT_WR)
    worker.kill()
    try:
        worker.run(call(artifact))
    except FaultError:
        return
    finally:
        worker.stop()
        impostor.link.close()

"""A worker: runs steps, one after another, for the agent at the other end of its socket. It has no keys, no network and no file.

Started by launch.py with the descriptors of the socket and of the shared area, the agent's process id, how much code it is to keep
loaded, the engine's target, and whether it is to have a replayer's stack. It ends when the socket closes, or with the agent.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Final, NamedTuple

import wasmtime

from edgenode.clock import Clock, SystemClock
from edgenode.formats.stdin import MEDIA_TYPES
from edgenode.records import Outcome, OutcomeKind
from edgenode.sandbox import command, confine, engine, image, stdio, step, wire
from edgenode.sandbox.abi import OutputLimits, Reply
from edgenode.sandbox.shared import open_area

FILES: Final = 12  # open at once, beside each piece of code, which the engine keeps open while it is mapped


def main() -> None:
    descriptor, area, agent, slots = (int(argument) for argument in sys.argv[1:5])
    target, deep = sys.argv[5] or None, bool(int(sys.argv[6]))
    confine.die_with(agent)
    if not confine.lift_memory_limits():
        sys.exit(wire.LIMITED)
    with socket.socket(fileno=descriptor) as link:
        described, native, requests = engine.describe(), engine.create(target, deep=deep), open_area(area)
        confinement = confine.confine(files=FILES + slots, file_bytes=0, executable=target is None)
        link.sendall(wire.pack_hello(described, confinement))
        _Worker(link, requests, native, SystemClock()).serve()


class _Answer(NamedTuple):
    outcome: Outcome
    fuel: int | None
    reply: Reply = Reply()
    log: bytes = b""


class _Worker:
    def __init__(self, link: socket.socket, requests: memoryview, native: wasmtime.Engine, clock: Clock) -> None:
        self._link, self._requests, self._native, self._clock = link, requests, native, clock
        self._parts: dict[int, wasmtime.Module] = {}  # of the operating system
        self._steps: dict[int, step.StepModule] = {}
        self._commands: dict[int, command.CommandModule] = {}
        self._system: command.System | None = None  # made when the first command runs

    def serve(self) -> None:
        """Answer requests until the agent closes the socket. Any exception ends the worker: the agent starts another."""
        header = bytearray(wire.REQUEST.size)
        while self._link.recv_into(header, flags=socket.MSG_WAITALL) == len(header):
            request = wire.Request(*wire.REQUEST.unpack(header))
            if request.op == wire.LOAD:
                self._load(request.slot, wire.KINDS[request.kind])
            else:
                self._answer(request)

    def _load(self, slot: int, kind: wire.Kind) -> None:
        """Keep the code in the memfd that comes next. It is mapped, so workers share its pages."""
        self._steps.pop(slot, None)
        self._commands.pop(slot, None)
        _, (code, *_), _, _ = socket.recv_fds(self._link, 1, 1)
        try:
            module = wasmtime.Module.deserialize_file(self._native, f"/proc/self/fd/{code}")
        except wasmtime.WasmtimeError:
            sys.exit(wire.UNLOADABLE)
        finally:
            os.close(code)
        if kind is wire.Kind.STEP:
            self._steps[slot] = step.StepModule(self._native, module)
        elif kind is wire.Kind.COMMAND:
            self._commands[slot] = command.CommandModule(module)
        else:
            self._parts[slot] = module

    def _answer(self, request: wire.Request) -> None:
        body = self._requests[: request.length]
        began = self._clock.monotonic_ns()
        answer = self._program(request, body) if request.op == wire.PROGRAM else self._step(request, body)
        took = self._clock.monotonic_ns() - began
        outcome, fuel, reply, log = answer
        detail, location = outcome.detail.encode(), outcome.location.encode()
        header = wire.RESPONSE.pack(
            wire.OUTCOMES.index(outcome.kind),
            (wire.HAS_FUEL if fuel is not None else 0) | (wire.HAS_STATE if reply.state is not None else 0),
            len(detail),
            len(location),
            outcome.exit_code or 0,
            fuel or 0,
            took,
            len(reply.summary),
            len(reply.state or b""),
            len(reply.derived),
            len(reply.alerts),
            len(log),
        )
        self._link.sendall(b"".join((header, detail, location, reply.summary, reply.state or b"", reply.derived, reply.alerts, log)))

    def _step(self, request: wire.Request, body: memoryview) -> _Answer:
        limits = OutputLimits(request.summary, request.state, request.derived, request.alerts)
        if code := self._steps.get(request.slot):
            return _Answer(*step.run(code, body, step.Budget(request.fuel, request.memory, limits)))
        records = stdio.records(body, MEDIA_TYPES[request.input], stdout=request.summary)
        ended = self._command(request, image.encode(records))
        log = ended.stderr.data[: request.log]  # now, and not in the image: what the node keeps may not show in a result
        if not ended.outcome.ok:
            return _Answer(ended.outcome, ended.fuel, log=log)
        answer = stdio.reply(ended, limits)
        if isinstance(answer, Outcome):
            return _Answer(answer, None, log=log)
        return _Answer(ended.outcome, ended.fuel, answer, log)

    def _program(self, request: wire.Request, body: memoryview) -> _Answer:
        ended = self._command(request, [body])
        whole = ended.outcome.kind in (OutcomeKind.OK, OutcomeKind.EXIT)
        lost = whole and (ended.stdout.lost or ended.stderr.lost)
        outcome = Outcome(kind=OutcomeKind.OUTPUT, detail="streams") if lost else ended.outcome
        return _Answer(outcome, None if lost else ended.fuel, Reply(ended.stdout.data), ended.stderr.data)

    def _command(self, request: wire.Request, staged: list[bytes | memoryview]) -> command.Ended:
        if self._system is None:
            self._system = command.System(self._native, self._parts[wire.WASI], self._parts[wire.BRIDGE])
        limits = OutputLimits(request.summary, request.state, request.derived, request.alerts)
        budget = stdio.budget(request.fuel, request.memory, request.files, limits)
        return command.run(self._system, self._commands[request.slot], staged, budget)

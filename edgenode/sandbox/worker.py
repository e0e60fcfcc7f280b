"""A worker: runs steps, one after another, for the agent at the other end of its socket. It has no keys, no network and no file.

Started by launch.py with the socket's descriptor, the agent's process id, and how many modules it is to keep loaded. It ends when the
socket closes, or with the agent.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Final

import wasmtime

from edgenode.clock import Clock, SystemClock
from edgenode.sandbox import confine, engine, step, wire
from edgenode.sandbox.abi import OutputLimits

FILES: Final = 12  # open at once, beside the code of each module, which the engine keeps open while it is mapped


def main() -> None:
    descriptor, agent, modules = (int(argument) for argument in sys.argv[1:4])
    confine.die_with(agent)
    with socket.socket(fileno=descriptor) as link:
        hello = wire.pack_hello(engine.describe())
        native = engine.create()
        confine.confine(files=FILES + modules, file_bytes=0)
        link.sendall(hello)
        serve(link, native, SystemClock())


def serve(link: socket.socket, native: wasmtime.Engine, clock: Clock) -> None:
    """Answer requests until the agent closes the socket. Any exception ends the worker: the agent starts another."""
    modules: dict[int, step.StepModule] = {}
    header = bytearray(wire.REQUEST.size)
    while _receive(link, header):
        request = wire.Request(*wire.REQUEST.unpack(header))
        if request.op == wire.LOAD:
            modules.pop(request.slot, None)
            modules[request.slot] = _load(link, native)
        else:
            body = bytearray(request.length)
            if not _receive(link, body):
                return
            _answer(link, modules[request.slot], request, body, clock)


def _answer(link: socket.socket, module: step.StepModule, request: wire.Request, body: bytearray, clock: Clock) -> None:
    limits = OutputLimits(request.summary, request.state, request.derived, request.alerts)
    began = clock.monotonic_ns()
    outcome, fuel, reply = step.run(module, body, step.Budget(request.fuel, request.memory, limits))
    took = clock.monotonic_ns() - began
    detail, location = outcome.detail.encode(), outcome.location.encode()
    header = wire.RESPONSE.pack(
        wire.KINDS.index(outcome.kind),
        (wire.HAS_FUEL if fuel is not None else 0) | (wire.HAS_STATE if reply.state is not None else 0),
        len(detail),
        len(location),
        0,
        fuel or 0,
        took,
        len(reply.summary),
        len(reply.state or b""),
        len(reply.derived),
        len(reply.alerts),
    )
    link.sendall(b"".join((header, detail, location, reply.summary, reply.state or b"", reply.derived, reply.alerts)))


def _load(link: socket.socket, native: wasmtime.Engine) -> step.StepModule:
    """The module whose compiled code is in the memfd that comes next. It is mapped, so workers share its pages."""
    _, (code, *_), _, _ = socket.recv_fds(link, 1, 1)
    try:
        return step.StepModule(native, wasmtime.Module.deserialize_file(native, f"/proc/self/fd/{code}"))
    except wasmtime.WasmtimeError:
        sys.exit(wire.UNLOADABLE)
    finally:
        os.close(code)


def _receive(link: socket.socket, into: bytearray) -> bool:
    """Fill ``into``; False when the agent has closed the socket."""
    return link.recv_into(into, flags=socket.MSG_WAITALL) == len(into)

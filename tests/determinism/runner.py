"""Runs steps where it stands, with the node's own code: a JSON line in, a JSON line out. ``python -m tests.determinism.runner [TARGET]``

In: ``wasm`` and ``request`` (hex), ``fuel``, ``memory`` and ``files`` (bytes), which is more than 0 for a command: it reads CSV. Out: a
Result. Beside Python it needs only wasmtime, so that it can be run wherever a node can.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NamedTuple

import wasmtime

from edgenode.records import Outcome, digest
from edgenode.sandbox import command, engine, image, stdio, wasi
from edgenode.sandbox.abi import OutputLimits, Reply
from edgenode.sandbox.compile import compile_command, compile_step, compile_system
from edgenode.sandbox.step import Budget, Ran, StepModule, run

# Room for every golden reply; the ending ``output`` is over it.
_OUTPUT = OutputLimits(summary=4_000, state=4_000, derived=4_000, alerts=4_000)


class Result(NamedTuple):
    """All of a step that is signed. Of the parts of its reply, the SHA-256 in hex; "" for an empty one."""

    kind: str
    detail: str
    location: str
    fuel: int | None
    summary: str
    state: str | None
    derived: str
    alerts: str


class _Place:
    """One engine, and the operating system of its commands."""

    def __init__(self, target: str | None) -> None:
        self._target, self._engine = target, engine.create(target)
        self._system: command.System | None = None

    def step(self, task: dict[str, Any]) -> Ran:
        module = self._load(compile_step(bytes.fromhex(task["wasm"]), self._target))
        return run(StepModule(self._engine, module), bytes.fromhex(task["request"]), Budget(task["fuel"], task["memory"], _OUTPUT))

    def command(self, task: dict[str, Any]) -> Ran:
        if self._system is None:
            parts = wasi.parts()
            self._system = command.System(self._engine, *(self._load(compile_system(parts[name], self._target)) for name in parts))
        program = command.CommandModule(self._load(compile_command(bytes.fromhex(task["wasm"]), self._target)))
        staged = image.encode(stdio.records(bytes.fromhex(task["request"]), "text/csv", stdout=_OUTPUT.summary))
        ended = command.run(self._system, program, staged, stdio.budget(task["fuel"], task["memory"], task["files"], _OUTPUT))
        answer = stdio.reply(ended, _OUTPUT) if ended.outcome.ok else Reply()
        return Ran(answer, None, Reply()) if isinstance(answer, Outcome) else Ran(ended.outcome, ended.fuel, answer)

    def _load(self, code: bytearray) -> wasmtime.Module:
        return wasmtime.Module.deserialize(self._engine, code)


def main() -> None:
    place = _Place(sys.argv[1] if len(sys.argv) > 1 else None)
    for line in sys.stdin:
        task = json.loads(line)
        outcome, fuel, reply = place.command(task) if task["files"] else place.step(task)
        state = None if reply.state is None else _named(reply.state)
        parts = (_named(reply.summary), state, _named(reply.derived), _named(reply.alerts))
        print(json.dumps(Result(outcome.kind.value, outcome.detail, outcome.location, fuel, *parts)), flush=True)


def _named(part: bytes) -> str:
    return digest(part).hex() if part else ""


if __name__ == "__main__":
    main()

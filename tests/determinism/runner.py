"""Runs steps where it stands, with the node's own code: a JSON line in, a JSON line out. ``python -m tests.determinism.runner [TARGET]``

In: ``wasm`` and ``request`` (hex), ``fuel``, ``memory`` (bytes). Out: a Result. Beside Python it needs only wasmtime, so that it can be run
wherever a node can.
"""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

import wasmtime

from edgenode.records import digest
from edgenode.sandbox import engine
from edgenode.sandbox.abi import OutputLimits
from edgenode.sandbox.compile import compile_step
from edgenode.sandbox.step import Budget, StepModule, run

_OUTPUT = OutputLimits(
    summary=4_000, state=4_000, derived=4_000, alerts=4_000
)  # room for every golden reply; the ending ``output`` is over it


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


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else None
    native = engine.create(target)
    for line in sys.stdin:
        task = json.loads(line)
        module = wasmtime.Module.deserialize(native, compile_step(bytes.fromhex(task["wasm"]), target))
        budget = Budget(task["fuel"], task["memory"], _OUTPUT)
        outcome, fuel, reply = run(StepModule(native, module), bytes.fromhex(task["request"]), budget)
        state = None if reply.state is None else _named(reply.state)
        parts = (_named(reply.summary), state, _named(reply.derived), _named(reply.alerts))
        print(json.dumps(Result(outcome.kind.value, outcome.detail, outcome.location, fuel, *parts)), flush=True)


def _named(part: bytes) -> str:
    return digest(part).hex() if part else ""


if __name__ == "__main__":
    main()

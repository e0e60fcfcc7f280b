"""One step of the ``step`` ABI in a fresh instance: a pure function of module, request and budget.

store -> instantiate -> _initialize -> edgenode_alloc -> write request -> edgenode_step -> decode reply
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import wasmtime

from edgenode.records import Outcome, OutcomeKind
from edgenode.sandbox.abi import REQUEST_BYTES, OutputLimits, Reply, decode_reply
from edgenode.sandbox.engine import TABLE_ELEMENTS, TABLES
from edgenode.sandbox.instance import PAGE_BYTES, Instance, trapped

_U32: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Budget:
    """``fuel`` as the engine counts it, from instantiation on; ``memory`` in bytes of linear memory."""

    fuel: int
    memory: int
    output: OutputLimits


class Ran(NamedTuple):
    """``fuel`` is None where it may not be signed; ``reply`` is empty unless the outcome is ok."""

    outcome: Outcome
    fuel: int | None
    reply: Reply


class StepModule:
    """Compiled code, ready to be instantiated many times. Raises KeyError or TypeError for a module that compile.py refuses."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        exports = {export.name: export.type for export in module.exports}
        memory = exports["memory"]
        if not isinstance(memory, wasmtime.MemoryType):
            raise TypeError("the export memory is not a memory")
        self.engine = engine
        self.initial_memory = memory.limits.min * PAGE_BYTES
        self.has_initialize = "_initialize" in exports
        self.ready = wasmtime.Linker(engine).instantiate_pre(module)


def run(module: StepModule, request: bytes | bytearray | memoryview, budget: Budget) -> Ran:
    """Run one step. Whatever the guest does ends in an outcome; an exception means that this process cannot be trusted any more."""
    if module.initial_memory > budget.memory:
        return Ran(Outcome(kind=OutcomeKind.MEMORY), None, Reply())
    with wasmtime.Store(module.engine) as store:
        store.set_fuel(budget.fuel)
        store.set_limits(memory_size=budget.memory, table_elements=TABLE_ELEMENTS, instances=1, tables=TABLES, memories=1)
        try:
            answer = _exchange(module, store, request, budget.output)
        except wasmtime.Trap as trap:
            outcome = trapped(trap)
            return Ran(outcome, budget.fuel if outcome.kind is OutcomeKind.FUEL else None, Reply())
        if isinstance(answer, Outcome):
            return Ran(answer, None, Reply())
        return Ran(Outcome(kind=OutcomeKind.OK), budget.fuel - store.get_fuel(), answer)


def _exchange(module: StepModule, store: wasmtime.Store, request: bytes | bytearray | memoryview, limits: OutputLimits) -> Reply | Outcome:
    guest = Instance.of_prepared(store, module.ready)
    memory = guest.export(b"memory")
    length = len(request)
    if module.has_initialize:
        guest.call(guest.export(b"_initialize"))
    if length > REQUEST_BYTES:
        return _refused("alloc")  # no memory can hold it
    guest.values[0].i32 = length
    guest.call(guest.export(b"edgenode_alloc"))
    at = int(guest.values[0].i32) & _U32
    with guest.view(memory) as view:
        if at == 0 or at % 8 or at + length > len(view):
            return _refused("alloc")
        view[at : at + length] = request
    guest.values[0].i32, guest.values[1].i32 = at, length
    guest.call(guest.export(b"edgenode_step"))
    packed = int(guest.values[0].i64)
    at, length = packed >> 32 & _U32, packed & _U32
    with guest.view(memory) as view:
        if at + length > len(view):
            return _refused("bounds")
        with view[at : at + length] as reply:
            return decode_reply(reply, limits)


def _refused(detail: str) -> Outcome:
    return Outcome(kind=OutcomeKind.REPLY, detail=detail)

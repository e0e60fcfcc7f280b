"""One step of the ``step`` ABI in a fresh instance: a pure function of module, request and budget.

    store -> instantiate -> _initialize -> edgenode_alloc -> write request -> edgenode_step -> decode reply

It calls the engine's C API for what is done in every step: the Python classes look up a function's type on each call, which takes
longer than the call.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final, NamedTuple

import wasmtime
from wasmtime import _ffi as ffi

from edgenode.records import Outcome, OutcomeKind
from edgenode.sandbox.abi import REQUEST_BYTES, OutputLimits, Reply, decode_reply
from edgenode.sandbox.engine import TABLE_ELEMENTS, TABLES

PAGE_BYTES: Final = 65536

_ALLOC, _STEP, _INITIALIZE, _MEMORY = b"edgenode_alloc", b"edgenode_step", b"_initialize", b"memory"
_WRITABLE: Final = 0x200  # PyBUF_WRITE
_U32: Final = 2**32 - 1

_Extern = ffi.wasmtime_extern_t
_Instance = ffi.wasmtime_instance_t
_Values = ffi.wasmtime_val_raw_t * 2  # the most arguments or results of any call of the ABI
_TrapPointer = ctypes.POINTER(ffi.wasm_trap_t)

_memory_view = ctypes.pythonapi.PyMemoryView_FromMemory
_memory_view.restype = ctypes.py_object
_memory_view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)


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
        self._ready = wasmtime.Linker(engine).instantiate_pre(module)

    def instantiate(self, store: wasmtime.Store) -> ffi.wasmtime_instance_t:
        """A fresh instance. Raises wasmtime.Trap when the start section or a data segment traps."""
        instance, trap = _Instance(), _TrapPointer()
        error = ffi.wasmtime_instance_pre_instantiate(self._ready.ptr(), store._context(), ctypes.byref(instance), ctypes.byref(trap))
        _raise(error, trap)
        return instance


def run(module: StepModule, request: bytes | bytearray, budget: Budget) -> Ran:
    """Run one step. Whatever the guest does ends in an outcome; an exception means that this process cannot be trusted any more."""
    if module.initial_memory > budget.memory:
        return _failed(OutcomeKind.MEMORY)
    with wasmtime.Store(module.engine) as store:
        store.set_fuel(budget.fuel)
        store.set_limits(memory_size=budget.memory, table_elements=TABLE_ELEMENTS, instances=1, tables=TABLES, memories=1)
        try:
            answer = _exchange(_Guest(module, store), request, budget.output)
        except wasmtime.Trap as trap:
            return _trapped(trap, budget.fuel)
        if isinstance(answer, Outcome):
            return Ran(answer, None, Reply())
        return Ran(Outcome(kind=OutcomeKind.OK), budget.fuel - store.get_fuel(), answer)


def _exchange(guest: _Guest, request: bytes | bytearray, limits: OutputLimits) -> Reply | Outcome:
    length = len(request)
    guest.initialize()
    if length > REQUEST_BYTES:
        return _refused("alloc")  # no memory can hold it
    at = guest.alloc(length)
    with guest.memory() as memory:
        if at == 0 or at % 8 or at + length > len(memory):
            return _refused("alloc")
        memory[at : at + length] = request
    packed = guest.step(at, length)
    at, length = packed >> 32 & _U32, packed & _U32
    with guest.memory() as memory:
        if at + length > len(memory):
            return _refused("bounds")
        with memory[at : at + length] as reply:
            return decode_reply(reply, limits)


class _Guest:
    """One instance, and the calls of the ABI on it. The types of its exports were checked when it was compiled."""

    __slots__ = ("_context", "_has_initialize", "_instance", "_memory", "_values")

    def __init__(self, module: StepModule, store: wasmtime.Store) -> None:
        self._context = store._context()
        self._has_initialize = module.has_initialize
        self._instance = module.instantiate(store)
        self._memory = self._export(_MEMORY).of.memory
        self._values = _Values()

    def initialize(self) -> None:
        if self._has_initialize:
            self._call(_INITIALIZE)

    def alloc(self, length: int) -> int:
        self._values[0].i32 = length
        self._call(_ALLOC)
        return int(self._values[0].i32) & _U32

    def step(self, at: int, length: int) -> int:
        self._values[0].i32 = at
        self._values[1].i32 = length
        self._call(_STEP)
        return int(self._values[0].i64)

    def memory(self) -> memoryview:
        """The guest's linear memory as it is now: a call may grow it. Release it before the store goes."""
        start = ffi.wasmtime_memory_data(self._context, ctypes.byref(self._memory))
        size = ffi.wasmtime_memory_data_size(self._context, ctypes.byref(self._memory))
        view: memoryview = _memory_view(ctypes.cast(start, ctypes.c_void_p), size, _WRITABLE)
        return view

    def _call(self, name: bytes) -> None:
        function, trap = self._export(name).of.func, _TrapPointer()
        error = ffi.wasmtime_func_call_unchecked(self._context, ctypes.byref(function), self._values, len(self._values), ctypes.byref(trap))
        _raise(error, trap)

    def _export(self, name: bytes) -> ffi.wasmtime_extern_t:
        found = _Extern()
        if not ffi.wasmtime_instance_export_get(self._context, ctypes.byref(self._instance), name, len(name), ctypes.byref(found)):
            raise KeyError(name)
        return found


def _raise(error: ctypes._Pointer[ffi.wasmtime_error_t] | None, trap: ctypes._Pointer[ffi.wasm_trap_t]) -> None:
    if error:
        raise wasmtime.WasmtimeError._from_ptr(error)
    if trap:
        raise wasmtime.Trap._from_ptr(trap)


def _trapped(trap: wasmtime.Trap, budget: int) -> Ran:
    code = trap.trap_code
    if code is wasmtime.TrapCode.OUT_OF_FUEL:
        return _failed(OutcomeKind.FUEL, fuel=budget)
    if code is wasmtime.TrapCode.STACK_OVERFLOW:
        return _failed(OutcomeKind.STACK)  # where it overflowed depends on the CPU, so no location
    if code is None:
        raise trap  # no host function is there to raise one
    innermost = trap.frames[:1]  # none when a data segment does not fit
    location = "".join(f"{frame.func_index}:{frame.module_offset}" for frame in innermost)
    return _failed(OutcomeKind.TRAP, detail=code.name.lower().replace("_", "-"), location=location)


def _failed(kind: OutcomeKind, *, detail: str = "", location: str = "", fuel: int | None = None) -> Ran:
    return Ran(Outcome(kind=kind, detail=detail, location=location), fuel, Reply())


def _refused(detail: str) -> Outcome:
    return Outcome(kind=OutcomeKind.REPLY, detail=detail)

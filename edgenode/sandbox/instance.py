"""One instance of a module, by the engine's C API, and what a trap in it means.

The Python classes of the engine look up a function's type on each call, which takes longer than the call; here the types of exports
were checked when the module was compiled.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

import wasmtime
from wasmtime import _ffi as ffi

from edgenode.records import Outcome, OutcomeKind

PAGE_BYTES: Final = 65536
UNMETERED: Final = 2**62  # fuel for the host's own work in a store

Extern = ffi.wasmtime_extern_t

_WRITABLE: Final = 0x200  # PyBUF_WRITE
_Instance = ffi.wasmtime_instance_t
_Values = ffi.wasmtime_val_raw_t * 2  # the most arguments or results of any call that the host makes
_TrapPointer = ctypes.POINTER(ffi.wasm_trap_t)

_memory_view = ctypes.pythonapi.PyMemoryView_FromMemory
_memory_view.restype = ctypes.py_object
_memory_view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)


class Instance:
    __slots__ = ("_context", "_instance", "values")

    def __init__(self, store: wasmtime.Store, instance: ffi.wasmtime_instance_t) -> None:
        self._context = store._context()
        self._instance = instance
        self.values = _Values()  # arguments before a call, results after it

    @classmethod
    def of_prepared(cls, store: wasmtime.Store, prepared: wasmtime.InstancePre) -> Instance:
        """A fresh instance of a module that imports nothing. Raises wasmtime.Trap when its start section or a data segment traps."""
        instance, trap = _Instance(), _TrapPointer()
        error = ffi.wasmtime_instance_pre_instantiate(prepared.ptr(), store._context(), ctypes.byref(instance), ctypes.byref(trap))
        _raise(error, trap)
        return cls(store, instance)

    @classmethod
    def of_module(cls, store: wasmtime.Store, module: wasmtime.Module, imports: Sequence[ffi.wasmtime_extern_t]) -> Instance:
        """The same of a module with imports, in their order."""
        instance, trap = _Instance(), _TrapPointer()
        given = (Extern * len(imports))(*imports)
        error = ffi.wasmtime_instance_new(store._context(), module.ptr(), given, len(imports), ctypes.byref(instance), ctypes.byref(trap))
        _raise(error, trap)
        return cls(store, instance)

    def export(self, name: bytes) -> ffi.wasmtime_extern_t:
        """Raises KeyError."""
        found = Extern()
        if not ffi.wasmtime_instance_export_get(self._context, ctypes.byref(self._instance), name, len(name), ctypes.byref(found)):
            raise KeyError(name)
        return found

    def call(self, function: ffi.wasmtime_extern_t) -> None:
        """Call it with ``values``, which then hold its results. Raises wasmtime.Trap."""
        trap = _TrapPointer()
        values = self.values
        error = ffi.wasmtime_func_call_unchecked(self._context, ctypes.byref(function.of.func), values, len(values), ctypes.byref(trap))
        _raise(error, trap)

    def view(self, memory: ffi.wasmtime_extern_t) -> memoryview:
        """A linear memory as it is now: a call may grow it. Release it before the store goes."""
        pointer = ctypes.byref(memory.of.memory)
        start = ffi.wasmtime_memory_data(self._context, pointer)
        found: memoryview = _memory_view(
            ctypes.cast(start, ctypes.c_void_p), ffi.wasmtime_memory_data_size(self._context, pointer), _WRITABLE
        )
        return found

    def grow(self, memory: ffi.wasmtime_extern_t, pages: int) -> None:
        """Raises wasmtime.WasmtimeError beyond the store's limit."""
        before = ctypes.c_uint64()
        _raise(ffi.wasmtime_memory_grow(self._context, ctypes.byref(memory.of.memory), pages, ctypes.byref(before)), None)

    def global_i32(self, name: bytes) -> int:
        """The value of an exported global of type i32, as unsigned."""
        value = ffi.wasmtime_val_t()
        ffi.wasmtime_global_get(self._context, ctypes.byref(self.export(name).of.global_), ctypes.byref(value))
        return int(value.of.i32) & 0xFFFF_FFFF


def trapped(trap: wasmtime.Trap) -> Outcome:
    """What a trap in a guest is signed as. Raises the trap if no guest can have caused it."""
    code = trap.trap_code
    if code is wasmtime.TrapCode.OUT_OF_FUEL:
        return Outcome(kind=OutcomeKind.FUEL)
    if code is wasmtime.TrapCode.STACK_OVERFLOW:
        return Outcome(kind=OutcomeKind.STACK)  # where it overflowed depends on the CPU, so no location
    if code is None:
        raise trap  # no host function is there to raise one
    # None when a data segment does not fit. The operating system's own frames say nothing about the guest.
    innermost = next((frame for frame in trap.frames if frame.module_name not in SYSTEM), None)
    # The function, and not the offset: x86-64 joins a load with its use and says that the use trapped, where aarch64 names the load.
    location = str(innermost.func_index) if innermost else ""
    return Outcome(kind=OutcomeKind.TRAP, detail=code.name.lower().replace("_", "-"), location=location)


SYSTEM: Final = frozenset({"edgenode:wasi", "edgenode:bridge"})
"""The names that the parts of the guest's operating system have in their name sections."""


def _raise(error: ctypes._Pointer[ffi.wasmtime_error_t] | None, trap: ctypes._Pointer[ffi.wasm_trap_t] | None) -> None:
    if error:
        raise wasmtime.WasmtimeError._from_ptr(error)
    if trap:
        raise wasmtime.Trap._from_ptr(trap)

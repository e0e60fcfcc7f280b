"""One run of a command, a program with ``_start``, over an operating system that is wasm itself: a pure function of program and image.

    wasi -> stage image -> | fuel from here | -> guest, importing wasi -> bridge between their memories -> _start -> collect

The guest sees no host function, and no path of the host is ever opened. The WASI module has its own memory, made as large as ``files``
allows before the guest is there and never grown again; it reaches the guest's memory through the bridge, whose three functions take
their places in its table only once the guest exists (wasi/README.md; docs/adr/0010). So a guest whose start section makes a call that
needs its memory traps.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import wasmtime
from wasmtime import _ffi as ffi

from edgenode.records import Outcome, OutcomeKind
from edgenode.sandbox import image
from edgenode.sandbox.engine import TABLE_ELEMENTS, TABLES
from edgenode.sandbox.instance import PAGE_BYTES, UNMETERED, Instance, trapped

_MEMORIES: Final = 3  # of the operating system, of the guest, and an empty one for a guest that has none
_NO_MEMORY: Final = 48  # errno nomem (preview 1)
_OVER_LIMIT: Final = "exceeds memory limits"  # the engine tells it in words alone
_RESULT: Final = struct.Struct("<14I")


@dataclass(frozen=True, slots=True)
class CommandBudget:
    """``fuel`` from the guest's instantiation on; ``memory`` of the guest and ``files`` of its operating system, bytes.

    ``state`` and ``derived``: bytes that are read of the two files that it leaves, and one more, so that a longer one is seen to be.
    """

    fuel: int
    memory: int
    files: int
    state: int
    derived: int


class System:
    """The operating system's compiled parts, ready to be joined to guests."""

    def __init__(self, engine: wasmtime.Engine, wasi: wasmtime.Module, bridge: wasmtime.Module) -> None:
        self.engine = engine
        self.wasi = wasmtime.Linker(engine).instantiate_pre(wasi)
        self.bridge = bridge


class CommandModule:
    """A program's compiled code. Raises KeyError for a module that compile.py refuses."""

    def __init__(self, module: wasmtime.Module) -> None:
        self.module = module
        self.imports = [(one.name or "").encode() for one in module.imports]
        exports = {export.name: export.type for export in module.exports}
        self.has_initialize = "_initialize" in exports
        self.has_memory = isinstance(exports.get("memory"), wasmtime.MemoryType)


class Stream(NamedTuple):
    """``lost``: more was written than is kept."""

    data: bytes = b""
    lost: bool = False


class Ended(NamedTuple):
    """``fuel`` is None where it may not be signed. ``state`` and ``derived`` are the files that were left, None where there are none."""

    outcome: Outcome
    fuel: int | None
    stdout: Stream = Stream()
    stderr: Stream = Stream()
    state: bytes | None = None
    derived: bytes | None = None


def run(system: System, program: CommandModule, staged: Sequence[bytes | memoryview], budget: CommandBudget) -> Ended:
    """Run a program over the image whose parts are ``staged``. Whatever it does ends in an outcome, as step.run."""
    with wasmtime.Store(system.engine) as store:
        store.set_fuel(UNMETERED)
        own = _OperatingSystem(store, system)
        if not own.stage(staged, budget.files):
            return Ended(Outcome(kind=OutcomeKind.MEMORY, detail="files"), None)
        store.set_limits(memory_size=budget.memory, table_elements=TABLE_ELEMENTS, tables=TABLES + 1, memories=_MEMORIES)
        store.set_fuel(budget.fuel)
        try:
            guest = own.join(program)
            if guest is None:
                return Ended(Outcome(kind=OutcomeKind.MEMORY), None)
            if program.has_initialize:
                guest.call(guest.export(b"_initialize"))
            guest.call(guest.export(b"_start"))
        except wasmtime.Trap as trap:
            outcome = own.exit() or trapped(trap)
        else:
            outcome = Outcome(kind=OutcomeKind.OK)
        fuel = _used(outcome, budget.fuel, store)
        return own.left(outcome, fuel, budget)


def _used(outcome: Outcome, budget: int, store: wasmtime.Store) -> int | None:
    if outcome.kind is OutcomeKind.FUEL:
        return budget
    return budget - store.get_fuel() if outcome.kind in (OutcomeKind.OK, OutcomeKind.EXIT) else None


class _OperatingSystem:
    """The WASI module of one store. What is read from its memory is hostile: the guest may have found a fault in it."""

    def __init__(self, store: wasmtime.Store, system: System) -> None:
        self._store, self._system = store, system
        self._wasi = Instance.of_prepared(store, system.wasi)
        self._memory = self._wasi.export(b"memory")

    def stage(self, parts: Sequence[bytes | memoryview], files: int) -> bool:
        """Lay the image into a memory of ``files`` bytes; False when that is too small for it."""
        start = -(-self._wasi.global_i32(b"__heap_base") // 8) * 8
        length = image.size(parts)
        if length > files:
            return False
        with self._wasi.view(self._memory) as view:
            missing = -(-(start + files - len(view)) // PAGE_BYTES)
        if missing > 0:
            self._wasi.grow(self._memory, missing)
        with self._wasi.view(self._memory) as view:
            at = start
            for part in parts:
                view[at : at + len(part)] = part
                at += len(part)
        values = self._wasi.values
        values[0].i32, values[1].i32 = start, length
        self._wasi.call(self._wasi.export(b"stage"))
        if values[0].i32 not in (0, _NO_MEMORY):
            raise RuntimeError(f"the WASI module refused the image with errno {values[0].i32}")
        return bool(values[0].i32 == 0)

    def join(self, program: CommandModule) -> Instance | None:
        """The guest, with the bridge to its memory; None when its initial memory is over the store's limit."""
        calls = {name: self._wasi.export(name) for name in dict.fromkeys(program.imports)}
        try:
            guest = Instance.of_module(self._store, program.module, [calls[name] for name in program.imports])
        except wasmtime.WasmtimeError as error:
            if _OVER_LIMIT not in str(error):  # this machine's memory ran out: a fault, and nothing to be signed
                raise
            return None
        memory = guest.export(b"memory") if program.has_memory else _empty_memory(self._store)
        Instance.of_module(self._store, self._system.bridge, [self._memory, memory, self._wasi.export(b"__indirect_function_table")])
        return guest

    def exit(self) -> Outcome | None:
        """How the guest ended itself, if it did: proc_exit traps, having noted the code."""
        exited, code, *_ = self._result()
        if not exited:
            return None
        return Outcome(kind=OutcomeKind.EXIT, exit_code=code) if code else Outcome(kind=OutcomeKind.OK)

    def left(self, outcome: Outcome, fuel: int | None, budget: CommandBudget) -> Ended:
        if outcome.ok and not self._result()[0]:  # it returned; proc_exit has collected already
            self._store.set_fuel(UNMETERED)
            self._wasi.call(self._wasi.export(b"finish"))
        _, _, *streams, state_at, state, has_state, derived_at, derived, has_derived = self._result()
        out_at, out, out_lost, err_at, err, err_lost = streams
        with self._wasi.view(self._memory) as view:
            return Ended(
                outcome,
                fuel,
                Stream(_cut(view, out_at, out), bool(out_lost)),
                Stream(_cut(view, err_at, err), bool(err_lost)),
                _cut(view, state_at, min(state, budget.state + 1)) if outcome.ok and has_state else None,
                _cut(view, derived_at, min(derived, budget.derived + 1)) if outcome.ok and has_derived else None,
            )

    def _result(self) -> tuple[int, ...]:
        at = self._wasi.global_i32(b"result")
        with self._wasi.view(self._memory) as view:
            return _RESULT.unpack_from(view, at)


def _cut(view: memoryview, at: int, length: int) -> bytes:
    if at + length > len(view):
        raise RuntimeError("the WASI module points out of its memory")
    return bytes(view[at : at + length])


def _empty_memory(store: wasmtime.Store) -> ffi.wasmtime_extern_t:
    memory = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(0, 0)))
    return memory._as_extern()

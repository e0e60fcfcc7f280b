"""Runs scripts of the core specification's test suite where it stands: the path of a .json a line in, its Answers as a JSON line out.

``python -m tests.determinism.spec_runner SPECTEST [TARGET]``; SPECTEST is the .wasm that the scripts import from. Beside Python it needs
only wasmtime. A script is what wast2json makes of a .wast: commands, and the .wasm files that they name.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import wasmtime
from wasmtime import _ffi as ffi

from edgenode.errors import ModuleError
from edgenode.formats.data_segments import joined
from edgenode.formats.wasm import read
from edgenode.records import OutcomeKind
from edgenode.sandbox import engine
from edgenode.sandbox.instance import Instance, trapped

FUEL = 10**9  # of one call or instantiation
MEMORY = 64 << 20  # bytes; a script grows one to 803 pages

_BYTES = {"i32": 4, "i64": 8, "f32": 4, "f64": 8, "v128": 16, "funcref": 8}
_TrapPointer = ctypes.POINTER(ffi.wasm_trap_t)


class Answer(NamedTuple):
    """``kind``, ``detail`` and ``location`` are those of an Outcome, or ``kind`` is what became of the module: "refused" by validation,
    "unlinkable" or "text", with the engine's reason in ``detail``. ``fuel`` is None where it may not be signed. ``values`` are the bits of
    results; of a funcref, 0 for null and 1 for another, since its bits are an address."""

    kind: str
    detail: str = ""
    location: str = ""
    fuel: int | None = None
    values: tuple[int, ...] = ()


class RefusedError(Exception):
    """A module that could not be made into an instance; ``answer`` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class _Place:
    """Modules are validated and compiled as those of guests are (sandbox/compile.py)."""

    def __init__(self, spectest: bytes, target: str | None) -> None:
        self._guest, self.engine = engine.create(target, flags=engine.GUEST), engine.create(target)
        self.spectest = wasmtime.Module(self.engine, spectest)

    def validate(self, wasm: bytes) -> None:
        """Raises RefusedError."""
        try:
            wasmtime.Module.validate(self._guest, wasm)
            read(wasm)  # what is too long for 32 bits, the engine lets pass in the sizes of memories
        except (wasmtime.WasmtimeError, ModuleError) as error:
            raise RefusedError(Answer("refused", " ".join(str(error).split()))) from error

    def load(self, wasm: bytes) -> wasmtime.Module:
        self.validate(wasm)
        return wasmtime.Module(self.engine, joined(wasm))


class _Room:
    """A store, and the instances in it that have a name."""

    def __init__(self, place: _Place) -> None:
        self.store = wasmtime.Store(place.engine)
        self.store.set_limits(memory_size=MEMORY, table_elements=engine.TABLE_ELEMENTS)
        self.linker = wasmtime.Linker(place.engine)
        self.linker.allow_shadowing = True
        self._spectest: wasmtime.Module | None = place.spectest  # until it is there

    def instantiate(self, module: wasmtime.Module, wasm: bytes) -> wasmtime.Instance:
        """Raises RefusedError and wasmtime.Trap."""
        self.store.set_fuel(FUEL)
        if self._spectest and b"spectest" in wasm:
            self.linker.define_instance(self.store, "spectest", self.linker.instantiate(self.store, self._spectest))
            self._spectest = None
            self.store.set_fuel(FUEL)
        try:
            return self.linker.instantiate(self.store, module)
        except wasmtime.WasmtimeError as error:
            raise RefusedError(Answer("unlinkable", " ".join(str(error).split()))) from error

    def ended(self, *values: int) -> Answer:
        return Answer(OutcomeKind.OK.value, fuel=FUEL - self.store.get_fuel(), values=values)


class _Made(NamedTuple):
    room: _Room
    instance: wasmtime.Instance


class _Script:
    """Each module has a store of its own unless the script links some: an emulator has addresses for few memories at once.

    Stores are closed, not left to the collector: what the engine's wrapper raises is in a cycle with frames that know the store.
    """

    def __init__(self, place: _Place, path: Path) -> None:
        self._place, self._folder = place, path.parent
        self._commands: list[dict[str, Any]] = json.loads(path.read_bytes())["commands"]
        linked = any(one["type"] == "register" or "module" in one.get("action", {}) for one in self._commands)
        self._shared = _Room(place) if linked else None
        self._modules: dict[str | None, _Made | Answer] = {}  # None: the last one

    def answers(self) -> list[Answer]:
        answers = [self._answer(command) for command in self._commands]
        if self._shared:
            self._shared.store.close()
        return answers

    def _answer(self, command: dict[str, Any]) -> Answer:
        try:
            match command["type"]:
                case "module":
                    return self._module(command)
                case "register":
                    made = self._made(command.get("name"))
                    made.room.linker.define_instance(made.room.store, command["as"], made.instance)
                    return Answer(OutcomeKind.OK.value)
                case "assert_invalid" | "assert_malformed":
                    if command["module_type"] == "text":
                        return Answer("text")
                    self._place.validate(self._wasm(command))
                    return Answer(OutcomeKind.OK.value)
                case "assert_uninstantiable" | "assert_unlinkable":
                    made = self._instantiate(command)
                    return made.room.ended()
                case _:
                    return self._act(command)
        except RefusedError as refused:
            return refused.answer
        except wasmtime.Trap as trap:
            outcome = trapped(trap)
            fuel = FUEL if outcome.kind is OutcomeKind.FUEL else None
            return Answer(outcome.kind.value, outcome.detail, outcome.location, fuel)

    def _wasm(self, command: dict[str, Any]) -> bytes:
        return self._folder.joinpath(command["filename"]).read_bytes()

    def _module(self, command: dict[str, Any]) -> Answer:
        names = {None, command.get("name")}
        try:
            made = self._instantiate(command)
        except RefusedError as refused:
            self._modules |= dict.fromkeys(names, refused.answer)
            raise
        self._modules |= dict.fromkeys(names, made)
        return made.room.ended()

    def _instantiate(self, command: dict[str, Any]) -> _Made:
        wasm = self._wasm(command)
        module = self._place.load(wasm)
        room = self._shared or _Room(self._place)
        try:
            return _Made(room, room.instantiate(module, wasm))
        except (RefusedError, wasmtime.Trap):
            if room is not self._shared:
                room.store.close()
            raise

    def _made(self, name: str | None) -> _Made:
        found = self._modules[name]
        if isinstance(found, Answer):
            raise RefusedError(found)
        return found

    def _act(self, command: dict[str, Any]) -> Answer:
        action = command["action"]
        room, instance = self._made(action.get("module"))
        export = Instance(room.store, instance._instance).export(action["field"].encode())
        types = [one["type"] for one in command["expected"]]
        room.store.set_fuel(FUEL)
        if action["type"] == "get":
            value = ffi.wasmtime_val_t()
            ffi.wasmtime_global_get(room.store._context(), ctypes.byref(export.of.global_), ctypes.byref(value))
            return room.ended(_bits(types[0], value.of.v128))
        return room.ended(*_call(room.store, export, action["args"], types))


def _call(store: wasmtime.Store, function: ffi.wasmtime_extern_t, given: list[dict[str, Any]], types: list[str]) -> list[int]:
    """By raw values: the class Func asks for the function's type, which aborts the process when v128 is in it. Raises wasmtime.Trap."""
    values = (ffi.wasmtime_val_raw_t * max(len(given), len(types)))()
    for place, argument in zip(values, given, strict=False):
        place.v128[:] = _argument(argument).to_bytes(16, "little")
    trap = _TrapPointer()
    error = ffi.wasmtime_func_call_unchecked(store._context(), ctypes.byref(function.of.func), values, len(values), ctypes.byref(trap))
    if error:
        raise wasmtime.WasmtimeError._from_ptr(error)
    if trap:
        raise wasmtime.Trap._from_ptr(trap)
    return [_bits(kind, place.v128) for kind, place in zip(types, values, strict=False)]


def _argument(value: dict[str, Any]) -> int:
    if value["type"] == "v128":
        width = 128 // len(value["value"])
        return sum(int(lane) << width * at for at, lane in enumerate(value["value"]))
    return 0 if value["value"] == "null" else int(value["value"])


def _bits(kind: str, place: Any) -> int:
    bits = int.from_bytes(bytes(place)[: _BYTES[kind]], "little")
    return min(bits, 1) if kind == "funcref" else bits


def main() -> None:
    place = _Place(Path(sys.argv[1]).read_bytes(), sys.argv[2] if len(sys.argv) > 2 else None)
    for line in sys.stdin:
        print(json.dumps(_Script(place, Path(line.rstrip("\n"))).answers()), flush=True)


if __name__ == "__main__":
    main()

"""The compiling child: wasm on stdin, code on stdout, then it ends. Compilers are large and modules hostile, so it is killable.

Started by compiler.py, which reads its exit status: 0 and code, REFUSED and one line that says why, or one of the others below.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import wasmtime

from edgenode.errors import ModuleError
from edgenode.formats.data_segments import joined
from edgenode.formats.wasm import Outside, read
from edgenode.sandbox import confine, engine, preview1
from edgenode.sandbox.wire import NO_MEMORY, NOT_EXECUTABLE, REFUSED, TOO_LARGE, Kind

FILES: Final = 8  # open at once
MOST_IMPORTS: Final = 1_000  # looked up again for each step, which no fuel pays for

_OUT_OF_MEMORY = f"os error {errno.ENOMEM}"
_NOT_EXECUTABLE = "make memory executable"
_MAGIC = b"\0asm"
_CORE_VERSION = b"\x01\0\0\0"

_STEP: Final = {"edgenode_alloc": "(i32) -> i32", "edgenode_step": "(i32, i32) -> i64", "_initialize": "()"}
_COMMAND: Final = {"_start": "()", "_initialize": "()"}
_OPTIONAL: Final = {"_initialize"}


def main() -> None:
    kind, target = sys.argv[1:3]
    agent, cpu_seconds, address_space, code_bytes = (int(argument) for argument in sys.argv[3:7])
    confine.die_with(agent)
    confine.limit_compiling(cpu_seconds=cpu_seconds, address_space=address_space)
    confine.confine(files=FILES, file_bytes=code_bytes, executable=not target)
    sys.exit(_compile_to(sys.stdout.fileno(), code_bytes, Kind(kind), target or None))


def _compile_to(descriptor: int, code_bytes: int, kind: Kind, target: str | None) -> int:
    try:
        code: bytes | bytearray = _COMPILE[kind](sys.stdin.buffer.read(), target)
        status = 0
    except ModuleError as error:
        code, status = error.what.encode(), REFUSED
    except MemoryError:
        return NO_MEMORY
    except PermissionError:
        return NOT_EXECUTABLE
    if len(code) > code_bytes:
        return TOO_LARGE
    with open(descriptor, "wb", closefd=False) as out:
        out.write(code)
    return status


def compile_step(wasm: bytes, target: str | None = None) -> bytearray:
    """Code of a module for the ``step`` ABI, as wasmtime serialises it. Raises ModuleError, naming the first thing wrong."""
    module, outside = _compile_guest(wasm, target)
    for forbidden in outside.imports[:1]:
        raise ModuleError(f"it imports {forbidden}, and a step module imports nothing")
    if "memory memory" not in outside.exports:
        raise ModuleError("it exports no memory named memory")
    _check_functions(outside.exports, _STEP)
    return module.serialize()


def compile_command(wasm: bytes, target: str | None = None) -> bytearray:
    """The same for the ``wasi-command`` ABI: ``_start``, and imports of WASI preview 1 alone."""
    module, outside = _compile_guest(wasm, target)
    if len(outside.imports) > MOST_IMPORTS:
        raise ModuleError(f"it has {len(outside.imports)} imports, and a program may have {MOST_IMPORTS}")
    for one in outside.imports:
        if one not in preview1.IMPORTS:
            raise ModuleError(f"it imports {one}, and there are only the calls of {preview1.MODULE}, with their types")
    _check_functions(outside.exports, _COMMAND)
    return module.serialize()


def compile_system(wasm: bytes, target: str | None = None) -> bytearray:
    """The same of a part of the guest's operating system, which is ours."""
    return wasmtime.Module(engine.create(target), wasm).serialize()


_COMPILE: Final = {Kind.STEP: compile_step, Kind.COMMAND: compile_command, Kind.SYSTEM: compile_system}


def _compile_guest(wasm: bytes, target: str | None) -> tuple[wasmtime.Module, Outside]:
    if not wasm.startswith(_MAGIC):
        raise ModuleError(f"not WebAssembly: it starts with {wasm[:4].hex() or 'nothing'}, not with {_MAGIC.hex()}")
    if wasm[4:8] not in (_CORE_VERSION, _CORE_VERSION[: len(wasm) - 4]):
        raise ModuleError(f"not a core module: its version bytes are {wasm[4:8].hex()}, not {_CORE_VERSION.hex()}")
    try:
        wasmtime.Module.validate(engine.create(target, flags=engine.GUEST), wasm)
        outside = read(wasm)  # not the engine's own list of exports: to ask it for the types of some, such as v128, aborts the process
        _check_tables(outside.tables)
        return wasmtime.Module(engine.create(target), joined(wasm)), outside
    except wasmtime.WasmtimeError as error:
        if _OUT_OF_MEMORY in str(error):  # the engine tells these two in words alone
            raise MemoryError from error
        if _NOT_EXECUTABLE in str(error):
            raise PermissionError from error
        raise ModuleError(f"not a valid module: {' '.join(str(error).split())}") from error


def _check_tables(sizes: Sequence[int]) -> None:
    if len(sizes) > engine.TABLES:
        raise ModuleError(f"it has {len(sizes)} tables, and a step may have {engine.TABLES}")
    if max(sizes, default=0) > engine.TABLE_ELEMENTS:
        raise ModuleError(f"it has a table of {max(sizes)} elements, and a step may have {engine.TABLE_ELEMENTS}")


def _check_functions(exports: Sequence[str], wanted: Mapping[str, str]) -> None:
    for name, signature in wanted.items():
        start = f"func {name}("
        found = next((export.removeprefix(f"func {name}") for export in exports if export.startswith(start)), None)
        if found is None and name in _OPTIONAL:
            continue
        if found is None:
            raise ModuleError(f"it exports no function {name}")
        if found != signature:
            raise ModuleError(f"its {name} is {found}, not {signature}")

"""The compiling child: wasm on stdin, native code on stdout, then it ends. Compilers are large and modules hostile, so it is killable.

Started by compiler.py, which reads its exit status: 0 and code, REFUSED and one line that says why, or one of the others below.
"""

from __future__ import annotations

import sys
from typing import Final

import wasmtime

from edgenode.errors import ModuleError
from edgenode.sandbox import confine, engine
from edgenode.sandbox.layout import table_sizes
from edgenode.sandbox.wire import NO_MEMORY, REFUSED, TOO_LARGE

FILES: Final = 8  # open at once

_MAGIC = b"\0asm"
_CORE_VERSION = b"\x01\0\0\0"

_FUNCTIONS: Final = {
    "edgenode_alloc": (["i32"], ["i32"]),
    "edgenode_step": (["i32", "i32"], ["i64"]),
    "_initialize": ([], []),
}
_OPTIONAL: Final = {"_initialize"}


def main() -> None:
    agent, cpu_seconds, address_space, code_bytes = (int(argument) for argument in sys.argv[1:5])
    confine.die_with(agent)
    confine.confine(files=FILES, file_bytes=code_bytes)
    confine.limit_compiling(cpu_seconds=cpu_seconds, address_space=address_space)
    sys.exit(_compile_to(sys.stdout.fileno(), code_bytes))


def _compile_to(descriptor: int, code_bytes: int) -> int:
    try:
        code: bytes | bytearray = compile_step(sys.stdin.buffer.read())
        status = 0
    except ModuleError as error:
        code, status = error.what.encode(), REFUSED
    except MemoryError:
        return NO_MEMORY
    if len(code) > code_bytes:
        return TOO_LARGE
    with open(descriptor, "wb", closefd=False) as out:
        out.write(code)
    return status


def compile_step(wasm: bytes, target: str | None = None) -> bytearray:
    """Native code of a module for the ``step`` ABI, as wasmtime serialises it. Raises ModuleError, naming the first thing wrong."""
    if not wasm.startswith(_MAGIC):
        raise ModuleError(f"not WebAssembly: it starts with {wasm[:4].hex() or 'nothing'}, not with {_MAGIC.hex()}")
    if wasm[4:8] not in (_CORE_VERSION, _CORE_VERSION[: len(wasm) - 4]):
        raise ModuleError(f"not a core module: its version bytes are {wasm[4:8].hex()}, not {_CORE_VERSION.hex()}")
    native = engine.create(target)
    try:
        wasmtime.Module.validate(native, wasm)
        _check_tables(wasm)
        module = wasmtime.Module(native, wasm)
    except wasmtime.WasmtimeError as error:
        raise ModuleError(f"not a valid module: {' '.join(str(error).split())}") from error
    _check_imports(module)
    _check_exports(module)
    return module.serialize()


def _check_tables(wasm: bytes) -> None:
    sizes = table_sizes(wasm)
    if len(sizes) > engine.TABLES:
        raise ModuleError(f"it has {len(sizes)} tables, and a step may have {engine.TABLES}")
    if max(sizes, default=0) > engine.TABLE_ELEMENTS:
        raise ModuleError(f"it has a table of {max(sizes)} elements, and a step may have {engine.TABLE_ELEMENTS}")


def _check_imports(module: wasmtime.Module) -> None:
    for forbidden in module.imports[:1]:
        raise ModuleError(f"it imports {forbidden.module}.{forbidden.name}, and a step module imports nothing")


def _check_exports(module: wasmtime.Module) -> None:
    exports = {export.name: export.type for export in module.exports}
    if not isinstance(exports.get("memory"), wasmtime.MemoryType):
        raise ModuleError("it exports no memory named memory")
    for name, wanted in _FUNCTIONS.items():
        found = exports.get(name)
        if found is None and name in _OPTIONAL:
            continue
        if not isinstance(found, wasmtime.FuncType):
            raise ModuleError(f"it exports no function {name}")
        signature = [str(one) for one in found.params], [str(one) for one in found.results]
        if signature != wanted:
            raise ModuleError(f"its {name} is {_arrow(*signature)}, not {_arrow(*wanted)}")


def _arrow(params: list[str], results: list[str]) -> str:
    return f"({', '.join(params)}) -> ({', '.join(results)})"

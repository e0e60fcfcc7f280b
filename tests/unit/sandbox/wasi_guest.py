"""The WASI module joined to a guest that has a memory and passes on every call of preview 1, so that a test is the program."""

from __future__ import annotations

import functools
import struct
from enum import IntEnum
from typing import Any, NamedTuple

import wasmtime

from edgenode.sandbox import engine, image, wasi
from edgenode.sandbox.image import Kind, Record

PAGE = 65536
MODULE = "wasi_snapshot_preview1"
CLOCK = 1_700_000_000_000_000_000
SEED = bytes(range(32))
FUEL = 2**62


SIGNATURES = {
    name: (tuple("i64" if kind == "I" else "i32" for kind in kinds), () if name == "proc_exit" else ("i32",))
    for name, kinds in {
        "args_get": "ii",
        "args_sizes_get": "ii",
        "clock_res_get": "ii",
        "clock_time_get": "iIi",
        "environ_get": "ii",
        "environ_sizes_get": "ii",
        "fd_advise": "iIIi",
        "fd_allocate": "iII",
        "fd_close": "i",
        "fd_datasync": "i",
        "fd_fdstat_get": "ii",
        "fd_fdstat_set_flags": "ii",
        "fd_fdstat_set_rights": "iII",
        "fd_filestat_get": "ii",
        "fd_filestat_set_size": "iI",
        "fd_filestat_set_times": "iIIi",
        "fd_pread": "iiiIi",
        "fd_prestat_dir_name": "iii",
        "fd_prestat_get": "ii",
        "fd_pwrite": "iiiIi",
        "fd_read": "iiii",
        "fd_readdir": "iiiIi",
        "fd_renumber": "ii",
        "fd_seek": "iIii",
        "fd_sync": "i",
        "fd_tell": "ii",
        "fd_write": "iiii",
        "path_create_directory": "iii",
        "path_filestat_get": "iiiii",
        "path_filestat_set_times": "iiiiIIi",
        "path_link": "iiiiiii",
        "path_open": "iiiiiIIii",
        "path_readlink": "iiiiii",
        "path_remove_directory": "iii",
        "path_rename": "iiiiii",
        "path_symlink": "iiiii",
        "path_unlink_file": "iii",
        "poll_oneoff": "iiii",
        "proc_exit": "i",
        "proc_raise": "i",
        "random_get": "ii",
        "sched_yield": "",
        "sock_accept": "iii",
        "sock_recv": "iiiiii",
        "sock_send": "iiiii",
        "sock_shutdown": "ii",
    }.items()
}
"""Name -> types of the parameters and of the results, of all 46 calls."""


class Errno(IntEnum):
    SUCCESS = 0
    BADF = 8
    BUSY = 10
    EXIST = 20
    FAULT = 21
    FBIG = 22
    INVAL = 28
    ISDIR = 31
    LOOP = 32
    MFILE = 33
    NAMETOOLONG = 37
    NOENT = 44
    NOMEM = 48
    NOSPC = 51
    NOTDIR = 54
    NOTEMPTY = 55
    NOTSOCK = 57
    NOTSUP = 58
    OVERFLOW = 61
    PERM = 63
    SPIPE = 70
    NOTCAPABLE = 76


class Result(NamedTuple):
    """What the host reads: see wasi/stage.h."""

    exited: int
    exit_code: int
    stdout: bytes
    stdout_lost: int
    stderr: bytes
    stderr_lost: int
    state: bytes | None
    derived: bytes | None


def settings(*, stdout: int = 4096, stderr: int = 4096) -> Record:
    return image.Settings(clock_ns=CLOCK, seed=SEED, stdout=stdout, stderr=stderr).record()


def argument(value: bytes) -> Record:
    return Record(Kind.ARGUMENT, content=value)


def variable(value: bytes) -> Record:
    return Record(Kind.VARIABLE, content=value)


def stdin(content: bytes) -> Record:
    return Record(Kind.STDIN, content=content)


def preopen(name: bytes = b"/") -> Record:
    return Record(Kind.PREOPEN, name)


def folder(name: bytes) -> Record:
    return Record(Kind.DIRECTORY, name)


def file(name: bytes, content: bytes = b"") -> Record:
    return Record(Kind.FILE, name, content)


def symlink(name: bytes, target: bytes) -> Record:
    return Record(Kind.SYMLINK, name, target)


@functools.cache
def _compiled() -> tuple[wasmtime.Engine, wasmtime.Module, wasmtime.Module, wasmtime.Module]:
    created = engine.create()
    imports, exports = [], []
    for name, (parameters, results) in SIGNATURES.items():
        kind = f"(param {' '.join(parameters)}) (result {' '.join(results)})"
        imports.append(f'(import "{MODULE}" "{name}" (func ${name} {kind}))')
        exports.append(f'(export "{name}" (func ${name}))')
    text = f'(module {" ".join(imports)} (memory (export "memory") 2) {" ".join(exports)})'
    parts = wasi.parts()
    guest = bytes(wasmtime.wat2wasm(text))
    return created, wasmtime.Module(created, parts["wasi"]), wasmtime.Module(created, parts["bridge"]), wasmtime.Module(created, guest)


class Guest:
    """The raw interface: numbers in, errno out, and the bytes of its memory.

    A fresh store with everything joined as sandbox/command.py joins it, but for the limits. ``files``: bytes for image and heap.
    """

    def __init__(self, *records: Record, files: int = 1 << 20, bridged: bool = True) -> None:
        created, system, bridge, guest = _compiled()
        self.store = store = wasmtime.Store(created)
        store.set_fuel(FUEL)
        self.system: Any = wasmtime.Instance(store, system, []).exports(store)
        self.files = files
        if records:
            assert self.stage(b"".join(image.encode(records))) == 0
        calls = [self.system[one.name] for one in guest.imports if one.name]
        self._guest: Any = wasmtime.Instance(store, guest, calls).exports(store)
        self.memory: Any = self._guest["memory"]
        if bridged:
            wasmtime.Instance(store, bridge, [self.system["memory"], self.memory, self.system["__indirect_function_table"]])

    @property
    def end(self) -> int:
        """The first address beyond the guest's memory."""
        return int(self.memory.data_len(self.store))

    def stage(self, encoded: bytes) -> int:
        start = -(-self.system["__heap_base"].value(self.store) // 8) * 8
        memory = self.system["memory"]
        missing = -(-(start + self.files - memory.data_len(self.store)) // PAGE)
        memory.grow(self.store, max(missing, 0))
        memory.write(self.store, encoded, start)
        return int(self.system["stage"](self.store, start, len(encoded)))

    def call(self, name: str, *arguments: int) -> Errno:
        """Arguments may be signed or unsigned. Raises wasmtime.Trap."""
        types = SIGNATURES[name][0]
        signed = [_signed(value, kind) for value, kind in zip(arguments, types, strict=True)]
        return Errno(self._guest[name](self.store, *signed) or 0)

    def write(self, at: int, data: bytes) -> None:
        self.memory.write(self.store, data, at)

    def read(self, at: int, length: int) -> bytes:
        return bytes(self.memory.read(self.store, at, at + length))

    def numbers(self, at: int, form: str) -> tuple[Any, ...]:
        """What lies at an address, as the struct module calls it."""
        return struct.unpack("<" + form, self.read(at, struct.calcsize("<" + form)))

    def finish(self) -> Result:
        self.system["finish"](self.store)
        return self.result()

    def result(self) -> Result:
        memory = self.system["memory"]
        at = self.system["result"].value(self.store)
        exited, code, *rest = struct.unpack("<14I", memory.read(self.store, at, at + 56))
        out, err, state, derived = (rest[i : i + 3] for i in range(0, 12, 3))

        def content(at: int, length: int) -> bytes:
            assert at + length <= memory.data_len(self.store)
            return bytes(memory.read(self.store, at, at + length))

        return Result(
            exited,
            code,
            content(out[0], out[1]),
            out[2],
            content(err[0], err[1]),
            err[2],
            content(state[0], state[1]) if state[2] else None,
            content(derived[0], derived[1]) if derived[2] else None,
        )

    def fuel(self) -> int:
        return FUEL - self.store.get_fuel()


def _signed(value: int, kind: str) -> int:
    bits = 64 if kind == "i64" else 32
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)

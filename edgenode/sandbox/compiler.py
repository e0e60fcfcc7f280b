"""The agent's side of compiling: start the child, bound it, and say in an error what became of it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from typing import Final

from edgenode.config import SandboxConfig
from edgenode.errors import EdgenodeError, FaultError, LimitError, ModuleError
from edgenode.sandbox.launch import launch
from edgenode.sandbox.wire import NO_MEMORY, NOT_EXECUTABLE, REFUSED, TOO_LARGE, Kind

_WALL_FACTOR: Final = 4  # of the CPU time: a busy machine is slow to give it
_REASON_BYTES: Final = 300
_BUILD_HINT: Final = "split its largest function, or raise {} where you run the node"


def compile_module(wasm: bytes, kind: Kind, target: str, config: SandboxConfig) -> bytes:
    """Code for ``target`` (empty: this machine's own). Blocks for up to four times ``compile_seconds``.

    Raises ModuleError for what is not a module of its ABI, LimitError for one that takes too much time or memory to compile or
    becomes too much code, FaultError when the child failed by no fault of the module.
    """
    with _memory_file("wasm") as source, _memory_file("code") as result:
        source.write(wasm)
        source.seek(0)
        limits = (config.compile_seconds, config.compile_memory, config.cache_bytes)
        with launch("compile", (kind.value, target, os.getpid(), *limits), stdin=source, stdout=result) as child:
            try:
                status = child.wait(timeout=_WALL_FACTOR * config.compile_seconds)
            except subprocess.TimeoutExpired:
                status = -signal.SIGXCPU
            finally:
                child.kill()
        result.seek(0)
        if status != 0:
            raise _failure(status, result.read(_REASON_BYTES), config)
        return result.read(min(os.fstat(result.fileno()).st_size, config.cache_bytes))  # not more: it allocates what it is asked for


def _failure(status: int, reason: bytes, config: SandboxConfig) -> EdgenodeError:
    if status == REFUSED:
        text = reason.decode("utf-8", errors="replace")
        return ModuleError("".join(c if c.isprintable() else "?" for c in text))
    if status == -signal.SIGXCPU:
        return _limit("sandbox.compile_seconds", config.compile_seconds, "seconds")
    if status in (NO_MEMORY, -signal.SIGABRT):  # the compiler aborts when an allocation fails
        return _limit("sandbox.compile_memory", config.compile_memory, "bytes")
    if status == TOO_LARGE:
        return _limit("sandbox.cache_bytes", config.cache_bytes, "bytes")
    if status == NOT_EXECUTABLE:
        return FaultError("this machine lets no process make memory executable", hint='set mode = "pulley" in the node\'s table [sandbox]')
    if status == -signal.SIGSEGV:
        return ModuleError("the compiler crashed on it")
    return FaultError(f"the compiling process ended with status {status}", hint="look for what killed it: too little memory, most often")


def _limit(name: str, limit: int, unit: str) -> LimitError:
    return LimitError(name, limit, "more while compiling", unit=unit, hint=_BUILD_HINT.format(name))


def _memory_file(name: str) -> io.FileIO:
    # Files in memory rather than pipes: nothing can block, and RLIMIT_FSIZE bounds what a hostile child writes.
    return io.FileIO(os.memfd_create(name, os.MFD_CLOEXEC), "r+b")

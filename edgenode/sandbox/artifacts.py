"""Compiled code in sealed memory files, ready to hand to a worker: from memory, else from the cache, else from the compiler."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Final, NamedTuple

from edgenode.config import SandboxConfig
from edgenode.records import Engine, digest
from edgenode.sandbox import wasi
from edgenode.sandbox.cache import Cache, code_identity
from edgenode.sandbox.compiler import compile_module
from edgenode.sandbox.wire import Kind
from edgenode.trust.verify import VerifiedModule

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Artifact:
    """Code that nobody can change any more (memfd_create(2), F_ADD_SEALS). ``descriptor`` closes with the last reference."""

    __slots__ = ("__weakref__", "descriptor", "size")

    def __init__(self, code: bytes) -> None:
        self.descriptor = os.memfd_create("code", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.descriptor)
        self.size = len(code)
        with open(self.descriptor, "wb", closefd=False) as file:
            file.write(code)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)


class Code(NamedTuple):
    """Which code is meant: the digest of the wasm, and as what it is compiled."""

    digest: bytes
    kind: Kind


class Artifacts:
    """The code in use. Safe in many threads; what many ask for at once is compiled once.

    ``target``: empty for this machine's own code, else the engine's name of it.
    """

    def __init__(self, config: SandboxConfig, cache: Cache | None, engine: Engine, target: str) -> None:
        self._config, self._cache, self._engine, self._target = config, cache, engine, target
        self._lock = threading.Lock()
        self._ready: OrderedDict[Code, Artifact] = OrderedDict()  # least recently used first
        self._pending: dict[Code, Future[Artifact]] = {}

    def module(self, module: VerifiedModule) -> tuple[Code, Artifact]:
        """The module's code. Raises as compiler.compile_module does."""
        code = Code(module.digest, Kind.of(module.manifest.abi))
        return code, self._get(code, module.wasm)

    def system(self) -> Mapping[str, tuple[Code, Artifact]]:
        """The code of the operating system that commands run on, by the names of its parts."""
        found = {}
        for name, wasm in wasi.parts().items():
            code = Code(digest(wasm), Kind.SYSTEM)
            found[name] = (code, self._get(code, wasm))
        return found

    def forget(self, code: Code) -> None:
        """Have it compiled again when it is next asked for."""
        with self._lock:
            self._ready.pop(code, None)
        if self._cache:
            with contextlib.suppress(OSError):
                self._cache.discard(self._identity(code))

    def clear(self) -> None:
        with self._lock:
            self._ready.clear()

    def _get(self, code: Code, wasm: bytes) -> Artifact:
        with self._lock:
            if found := self._ready.get(code):
                self._ready.move_to_end(code)
                return found
            if pending := self._pending.get(code):
                mine = None
            else:
                pending = mine = self._pending[code] = Future()
        if mine is None:
            return pending.result()
        try:
            artifact = Artifact(self._compiled(code, wasm))
        except BaseException as error:
            with self._lock:
                del self._pending[code]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._pending[code]
            self._keep(code, artifact)
        mine.set_result(artifact)
        return artifact

    def _keep(self, code: Code, artifact: Artifact) -> None:
        self._ready[code] = artifact
        total = sum(one.size for one in self._ready.values())
        while len(self._ready) > 1 and (len(self._ready) > self._config.modules_per_worker or total > self._config.cache_bytes):
            total -= self._ready.popitem(last=False)[1].size

    def _compiled(self, code: Code, wasm: bytes) -> bytes:
        # A disk that fails costs time, never a step: everything that the cache holds can be made again.
        identity = self._identity(code)
        if self._cache:
            with contextlib.suppress(OSError):
                if found := self._cache.get(identity):
                    return found
        made = compile_module(wasm, code.kind, self._target, self._config)
        if self._cache:
            with contextlib.suppress(OSError):
                self._cache.put(identity, made)
        return made

    def _identity(self, code: Code) -> bytes:
        return code_identity(code.digest, code.kind, self._engine, self._target or platform.machine())

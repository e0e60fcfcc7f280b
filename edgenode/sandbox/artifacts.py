"""Compiled code in sealed memory files, ready to hand to a worker: from memory, else from the cache, else from the compiler."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import threading
import weakref
from collections import OrderedDict
from concurrent.futures import Future
from typing import Final

from edgenode.config import SandboxConfig
from edgenode.records import Engine
from edgenode.sandbox.cache import Cache, code_identity
from edgenode.sandbox.compiler import compile_module
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


class Artifacts:
    """The modules in use, by digest. Safe in many threads; a module that many ask for at once is compiled once."""

    def __init__(self, config: SandboxConfig, cache: Cache | None, engine: Engine) -> None:
        self._config, self._cache, self._engine = config, cache, engine
        self._lock = threading.Lock()
        self._ready: OrderedDict[bytes, Artifact] = OrderedDict()  # least recently used first
        self._pending: dict[bytes, Future[Artifact]] = {}

    def get(self, module: VerifiedModule) -> Artifact:
        """The module's code. Raises as compiler.compile_module does."""
        with self._lock:
            if found := self._ready.get(module.digest):
                self._ready.move_to_end(module.digest)
                return found
            if pending := self._pending.get(module.digest):
                mine = None
            else:
                pending = mine = self._pending[module.digest] = Future()
        if mine is None:
            return pending.result()
        try:
            artifact = Artifact(self._code(module))
        except BaseException as error:
            with self._lock:
                del self._pending[module.digest]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._pending[module.digest]
            self._keep(module.digest, artifact)
        mine.set_result(artifact)
        return artifact

    def forget(self, module: VerifiedModule) -> None:
        """Have it compiled again when it is next asked for."""
        with self._lock:
            self._ready.pop(module.digest, None)
        if self._cache:
            with contextlib.suppress(OSError):
                self._cache.discard(self._identity(module))

    def clear(self) -> None:
        with self._lock:
            self._ready.clear()

    def _keep(self, digest: bytes, artifact: Artifact) -> None:
        self._ready[digest] = artifact
        total = sum(one.size for one in self._ready.values())
        while len(self._ready) > 1 and (len(self._ready) > self._config.modules_per_worker or total > self._config.cache_bytes):
            total -= self._ready.popitem(last=False)[1].size

    def _code(self, module: VerifiedModule) -> bytes:
        # A disk that fails costs time, never a step: everything that the cache holds can be made again.
        if self._cache:
            with contextlib.suppress(OSError):
                if code := self._cache.get(self._identity(module)):
                    return code
        code = compile_module(module.wasm, self._config)
        if self._cache:
            with contextlib.suppress(OSError):
                self._cache.put(self._identity(module), code)
        return code

    def _identity(self, module: VerifiedModule) -> bytes:
        return code_identity(module.digest, self._engine, platform.machine())

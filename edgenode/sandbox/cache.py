"""Compiled code on disk. It is native code, and running it is trusting it: each file is MACed under a key that only the agent has."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import threading
from pathlib import Path
from typing import Final

from edgenode.records import Engine
from edgenode.sandbox.wire import Kind

MAC_BYTES: Final = 32
_LEAST_KEY_BYTES: Final = 16
_SUFFIX: Final = ".code"


def code_identity(module_digest: bytes, kind: Kind, engine: Engine, target: str) -> bytes:
    """What a piece of code was compiled from, as what, and by what, unambiguously: all but the texts at the end have a fixed length."""
    texts = f"{engine.version}\0{kind}\0{target}".encode()
    return b"edgenode code 2\0" + module_digest + engine.step_config + engine.library_digest + texts


class Cache:
    """A folder (0700) of files (0600), at most ``limit`` bytes in all; the ones used longest ago go first.

    ``key``: 16 to 64 bytes. Methods are safe in many threads, and raise OSError when the disk fails.
    """

    def __init__(self, folder: Path, key: bytes, limit: int) -> None:
        if not _LEAST_KEY_BYTES <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError(f"the cache's key has {len(key)} bytes: {_LEAST_KEY_BYTES} to {hashlib.blake2b.MAX_KEY_SIZE} are needed")
        self._folder, self._key, self._limit = folder, key, limit
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for leftover in folder.glob("*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)

    def get(self, identity: bytes) -> bytes | None:
        """The code, or None. A file that this key did not make is deleted."""
        path = self._path(identity)
        try:
            with path.open("rb") as file:
                data = file.read(MAC_BYTES + self._limit)
        except FileNotFoundError:
            return None
        mac, code = data[:MAC_BYTES], data[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(identity, code)):
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)  # used now
        return code

    def put(self, identity: bytes, code: bytes) -> None:
        """Keep ``code``, atomically. Not fsynced: a torn file fails its MAC. What is larger than the whole cache is not kept."""
        if MAC_BYTES + len(code) > self._limit:
            return
        path = self._path(identity)
        part = path.with_suffix(f".{os.getpid()}.tmp")
        with self._lock:
            try:
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                    file.write(self._mac(identity, code))
                    file.write(code)
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
                raise
            self._trim()

    def discard(self, identity: bytes) -> None:
        self._path(identity).unlink(missing_ok=True)

    def _trim(self) -> None:
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _path(self, identity: bytes) -> Path:
        return self._folder / (hashlib.sha256(identity).hexdigest() + _SUFFIX)

    def _mac(self, identity: bytes, code: bytes) -> bytes:
        mac = hashlib.blake2b(key=self._key, digest_size=MAC_BYTES, person=b"edgenode code")  # RFC 7693 §2.5
        mac.update(len(identity).to_bytes(8, "little") + identity)
        mac.update(code)
        return mac.digest()

"""Bytes by digest, as files: modules, and the snapshots and states that a replay needs."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from edgenode.errors import DigestError, LimitError, StorageError
from edgenode.files import write_document
from edgenode.records import DIGEST_BYTES, digest

_NAME = re.compile(rf"[0-9a-f]{{{2 * DIGEST_BYTES}}}")


class Blobs:
    """A bounded folder of files named by their SHA-256.

    With ``evict`` the least recently used bytes go when ``limit`` bytes are exceeded, and a lost file is only a missed replay, so it is
    not synced; without it ``put`` raises LimitError instead, and what was put is durable.
    """

    def __init__(self, folder: Path, limit: int, limit_name: str, *, evict: bool) -> None:
        self._folder, self._limit, self._limit_name, self._evict = folder, limit, limit_name, evict
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = [(path.stat(), path) for path in folder.iterdir() if path.is_file()]
        except OSError as error:
            raise StorageError(f"cannot use {folder}: {error.strerror}") from error
        for _, path in found:
            if path.suffix == ".new":
                _remove(path)  # a write that was cut off
        oldest_first = sorted((stat.st_mtime_ns, path.name, stat.st_size) for stat, path in found if _NAME.fullmatch(path.name))
        self._sizes = OrderedDict((bytes.fromhex(name), size) for _, name, size in oldest_first)
        self._total = sum(self._sizes.values())

    def __contains__(self, name: bytes) -> bool:
        return name in self._sizes

    def put(self, data: bytes) -> bytes:
        """Keep these bytes; their digest. Raises LimitError (nothing is evicted for it) or StorageError."""
        name = digest(data)
        with self._lock:
            if name in self._sizes:
                self._sizes.move_to_end(name)
                return name
            self._make_room(len(data))
            self._write(self._folder / name.hex(), data)
            self._sizes[name] = len(data)
            self._total += len(data)
        return name

    def get(self, name: bytes) -> bytes | None:
        """The bytes of this digest, or None. Raises DigestError when the disk has changed them."""
        with self._lock:
            if name not in self._sizes:
                return None
            self._sizes.move_to_end(name)
        try:
            data = (self._folder / name.hex()).read_bytes()
        except FileNotFoundError:
            self._forget(name)
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self._folder / name.hex()}: {error.strerror}") from error
        if digest(data) != name:
            self._forget(name)
            raise DigestError(f"{self._folder / name.hex()} was changed on the disk", hint="bring the bytes again")
        return data

    def keep_only(self, names: Collection[bytes]) -> int:
        """Remove all other bytes; how many that were."""
        with self._lock:
            others = [name for name in self._sizes if name not in names]
            freed = 0
            for name in others:
                _remove(self._folder / name.hex())
                size = self._sizes.pop(name)
                self._total -= size
                freed += size
            return freed

    def _forget(self, name: bytes) -> None:
        """These bytes are not there after all: whoever brings them again has them written again."""
        with self._lock:
            self._total -= self._sizes.pop(name, 0)

    def _make_room(self, size: int) -> None:
        if size > self._limit or (not self._evict and self._total + size > self._limit):
            raise LimitError(self._limit_name, self._limit, self._total + size)
        while self._total + size > self._limit:
            name = next(iter(self._sizes))
            _remove(self._folder / name.hex())
            self._total -= self._sizes.pop(name)

    def _write(self, path: Path, data: bytes) -> None:
        if not self._evict:
            write_document(path, data)
            return
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)  # somebody may have cleared it away
            path.write_bytes(data)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}") from error

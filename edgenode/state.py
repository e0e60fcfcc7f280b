"""A state folder: where a node or hub keeps its key, documents and databases, and nothing else does.

edgenode.toml or hub.toml   configuration
key.pem  cert.pem           the key made here, and its certificate for TLS
trust.cbor  node.cbor       the fleet's trust document, and what a registrar signed for this node
ledger.db  samples.db       a node's databases; hub.db a hub's
blobs/  cache/              modules, snapshots and states by digest; compiled modules
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from edgenode.errors import ConfigError, EdgenodeError, StorageError
from edgenode.files import read_document, write_document
from edgenode.trust.identity import Identity, create, load
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedTrust, reload_trust, verify_trust


class State:
    """Paths in a state folder, and the lock that keeps a second process out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key.pem"
        self.certificate = folder / "cert.pem"
        self.trust = folder / "trust.cbor"
        self.node = folder / "node.cbor"
        self._lock: int | None = None

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make the folder (mode 0700) with a new key. Raises StorageError; an existing key is never overwritten."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the state folder {folder}: {error.strerror}") from error
        state = cls(folder)
        create(state.key)
        return state

    def lock(self) -> None:
        """Take the folder for this process. Raises StorageError when it is missing, not writable, or another process has it."""
        try:
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.unlock()
            raise StorageError(f"another process runs on {self.folder}", hint="end it, or use another state folder") from error
        except OSError as error:
            raise StorageError(f"cannot use the state folder {self.folder}: {error.strerror}") from error

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def identity(self) -> Identity:
        return load(self.key)

    def load_trust(self) -> VerifiedTrust:
        """The trust document that was put here. It may have expired: what was admitted before goes on. Raises ConfigError."""
        data = read_document(self.trust, "put the fleet's trust document there")
        try:
            return reload_trust(data)
        except EdgenodeError as error:
            raise ConfigError(f"{self.trust}: {error.what}", hint="put the fleet's trust document there again") from error

    def keyring(self) -> Keyring:
        return Keyring(self.load_trust().trust)

    def take_trust(self, data: bytes, now: int) -> VerifiedTrust:
        """Verify a trust document against the one that is here, then persist it."""
        current = self.load_trust() if self.trust.exists() else None
        verified = verify_trust(data, current, now)
        write_document(self.trust, data)
        return verified

"""Small files that must survive a power cut whole: either the old bytes or the new ones."""

from __future__ import annotations

import os
from pathlib import Path

from edgenode.errors import ConfigError, StorageError


def read_document(path: Path, hint: str) -> bytes:
    """A document's bytes. Raises ConfigError when the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint=hint) from error


def write_document(path: Path, data: bytes) -> None:
    """Replace a file so that after a power cut either the old or the new bytes are there. Raises StorageError."""
    whole = path.with_name(path.name + ".new")
    try:
        with whole.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        whole.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

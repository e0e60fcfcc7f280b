"""Small files that must survive a power cut whole: either the old bytes or the new ones."""

from __future__ import annotations

import os
from pathlib import Path

from edgenode.errors import ConfigError, StorageError

MOST_BYTES = 96 * 1024 * 1024  # of any file that is read whole


def read_document(path: Path, hint: str, most: int = MOST_BYTES) -> bytes:
    """A document's bytes. Raises ConfigError when the file cannot be read, or has more than ``most`` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    if len(data) > most:
        raise ConfigError(f"{path} has more than {most} bytes", hint=hint)
    return data


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

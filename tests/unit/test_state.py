"""A state folder: one process, one key, and files that are whole whatever happens."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgenode.errors import ConfigError, StorageError
from edgenode.files import read_document, write_document
from edgenode.state import State

_LOCK = """
import sys; from pathlib import Path; from edgenode.state import State
State(Path(sys.argv[1])).lock(); print("locked", flush=True); input()
"""


def descriptors() -> set[str]:
    """What this process has open."""
    return {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.exists()}


def test_a_folder_and_its_key_are_its_owners_alone(tmp_path: Path) -> None:
    state = State.create(tmp_path / "a" / "b")
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(state.key.stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    public = State.create(tmp_path / "node").identity().public
    with pytest.raises(StorageError, match="there already"):
        State.create(tmp_path / "node")
    assert State(tmp_path / "node").identity().public == public


def test_the_lock_keeps_a_second_process_out_until_the_first_ends(tmp_path: Path) -> None:
    folder = State.create(tmp_path / "node").folder
    command = [sys.executable, "-c", _LOCK, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "locked\n"
        second = State(folder)
        for _ in range(2):
            with pytest.raises(StorageError, match="another process"):
                second.lock()
        first.kill()  # it has no chance to tidy up
        first.communicate()
        second.lock()
        second.unlock()
        second.unlock()


def test_a_lock_that_failed_leaves_no_descriptor_open(tmp_path: Path) -> None:
    folder = State.create(tmp_path / "node").folder
    holder, other = State(folder), State(folder)
    holder.lock()
    open_before = descriptors()
    with pytest.raises(StorageError):
        other.lock()
    assert descriptors() == open_before
    holder.unlock()


def test_a_folder_that_is_missing_or_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot use the state folder"):
        State(tmp_path / "nowhere").lock()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the state folder"):
        State.create(tmp_path / "file" / "node")


def test_a_trust_document_that_is_missing_or_garbage_is_a_configuration_error(tmp_path: Path) -> None:
    state = State.create(tmp_path / "node")
    with pytest.raises(ConfigError, match=r"cannot read .*trust\.cbor"):
        state.load_trust()
    state.trust.write_bytes(b"garbage")
    with pytest.raises(ConfigError, match=r"trust\.cbor"):
        state.load_trust()


def test_a_document_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "trust.cbor"
    write_document(path, b"old")
    write_document(path, b"new" * 1000)
    assert path.read_bytes() == b"new" * 1000
    assert [one.name for one in tmp_path.iterdir()] == ["trust.cbor"]


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")], ids=["fsync", "replace"])
def test_whatever_fails_the_old_document_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str) -> None:
    path = tmp_path / "trust.cbor"
    write_document(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, fail)
        with pytest.raises(StorageError, match="No space left"):
            write_document(path, b"new")
    assert path.read_bytes() == b"old"
    write_document(path, b"new")
    assert read_document(path, "") == b"new"


def test_the_bytes_are_on_the_disk_before_they_have_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        calls.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        calls.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_document(tmp_path / "trust.cbor", b"new")
    assert calls == ["sync file", "replace", "sync folder"]


def test_a_document_that_cannot_be_read_gives_the_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        read_document(tmp_path / "node.cbor", "have a registrar sign one")
    assert caught.value.hint == "have a registrar sign one"

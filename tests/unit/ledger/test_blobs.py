"""Bytes by digest: bounded, checked when they are read, and durable where they must be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgenode.errors import DigestError, LimitError, StorageError
from edgenode.ledger.blobs import Blobs
from edgenode.records import digest


def blobs(folder: Path, limit: int = 100, *, evict: bool = True) -> Blobs:
    return Blobs(folder, limit, "ledger.blob_bytes", evict=evict)


def test_what_is_put_is_found_by_its_digest_also_by_the_next_process(tmp_path: Path) -> None:
    name = blobs(tmp_path / "blobs").put(b"bytes")
    again = blobs(tmp_path / "blobs")
    assert name == digest(b"bytes")
    assert name in again
    assert again.get(name) == b"bytes"
    assert again.get(bytes(32)) is None
    assert bytes(32) not in again


def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    store = blobs(tmp_path, 30)
    first, second, third = (store.put(bytes([number]) * 10) for number in range(3))
    store.get(first)
    store.put(b"\1" * 10)  # the second again: it counts as used
    fourth = store.put(b"\3" * 10)
    assert [one in store for one in (first, second, third, fourth)] == [True, True, False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(one.hex() for one in (first, second, fourth))


def test_the_same_bytes_count_once(tmp_path: Path) -> None:
    store = blobs(tmp_path, 20)
    for _ in range(5):
        store.put(b"x" * 10)
    store.put(b"y" * 10)
    assert len(list(tmp_path.iterdir())) == 2


def test_bytes_beyond_the_whole_limit_evict_nothing(tmp_path: Path) -> None:
    store = blobs(tmp_path, 30)
    name = store.put(b"x" * 10)
    with pytest.raises(LimitError, match=r"ledger\.blob_bytes is 30"):
        store.put(b"y" * 31)
    assert name in store


def test_a_store_that_evicts_nothing_refuses(tmp_path: Path) -> None:
    store = blobs(tmp_path, 30, evict=False)
    name = store.put(b"x" * 20)
    with pytest.raises(LimitError):
        store.put(b"y" * 11)
    assert store.put(b"x" * 20) == name
    store.put(b"z" * 10)
    assert store.get(name) == b"x" * 20


def test_the_order_of_use_outlives_a_restart(tmp_path: Path) -> None:
    store = blobs(tmp_path, 30)
    names = [store.put(bytes([number]) * 10) for number in range(3)]
    for age, name in enumerate(names):
        os.utime(tmp_path / name.hex(), (100 - age, 100 - age))
    again = blobs(tmp_path, 30)
    again.put(b"\7" * 10)
    assert [name in again for name in names] == [True, True, False]


def test_a_write_that_was_cut_off_goes_at_the_start(tmp_path: Path) -> None:
    name = blobs(tmp_path).put(b"bytes")
    (tmp_path / f"{digest(b'cut').hex()}.new").write_bytes(b"cu")
    again = blobs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name.hex()]
    assert again.get(digest(b"cut")) is None


def test_changed_bytes_are_told_and_never_given_out(tmp_path: Path) -> None:
    store = blobs(tmp_path)
    name = store.put(b"bytes")
    (tmp_path / name.hex()).write_bytes(b"bytez")
    with pytest.raises(DigestError):
        store.get(name)


def test_a_file_that_somebody_deleted_is_not_there(tmp_path: Path) -> None:
    store = blobs(tmp_path)
    name = store.put(b"bytes")
    (tmp_path / name.hex()).unlink()
    assert store.get(name) is None


def test_bytes_that_were_lost_or_damaged_can_be_brought_again(tmp_path: Path) -> None:
    store = blobs(tmp_path, evict=False)
    lost, damaged = store.put(b"lost"), store.put(b"damaged")
    (tmp_path / lost.hex()).unlink()
    (tmp_path / damaged.hex()).write_bytes(b"other")
    assert store.get(lost) is None
    with pytest.raises(DigestError):
        store.get(damaged)
    store.put(b"lost")
    store.put(b"damaged")
    assert (store.get(lost), store.get(damaged)) == (b"lost", b"damaged")


def test_a_stray_file_does_not_keep_the_node_from_starting(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("put here by a person")
    store = blobs(tmp_path)
    assert store.get(store.put(b"bytes")) == b"bytes"


@pytest.mark.parametrize("evict", [True, False])
def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path, evict: bool) -> None:
    folder = tmp_path / "blobs"
    store = blobs(folder, evict=evict)
    folder.rmdir()
    folder.write_text("in its place")
    with pytest.raises(StorageError):
        store.put(b"bytes")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        blobs(tmp_path / "file" / "blobs", evict=evict)

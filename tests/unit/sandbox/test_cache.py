"""Compiled code on disk: believed only with its MAC, bounded in bytes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.records import Engine
from edgenode.sandbox.cache import MAC_BYTES, Cache, code_identity
from edgenode.sandbox.wire import Kind

KEY = b"k" * 32
ENGINE = Engine("50.0.1", b"c" * 32, b"w" * 32, b"l" * 32)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "code", KEY, 1000)


def only_file(folder: Path) -> Path:
    (path,) = (folder / "code").iterdir()
    return path


def test_code_comes_back(cache: Cache) -> None:
    assert cache.get(b"one") is None
    cache.put(b"one", b"code")
    assert cache.get(b"one") == b"code"
    cache.discard(b"one")
    assert cache.get(b"one") is None
    cache.discard(b"one")


def test_modes_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir(mode=0o755)
    old = os.umask(0)
    try:
        Cache(folder, KEY, 1000).put(b"one", b"code")
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only_file(tmp_path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("at", [0, MAC_BYTES - 1, MAC_BYTES, -1])
def test_changed_file_is_deleted(cache: Cache, tmp_path: Path, at: int) -> None:
    cache.put(b"one", b"code")
    path = only_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert cache.get(b"one") is None
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 1, MAC_BYTES, MAC_BYTES + 2])
def test_torn_file_is_deleted(cache: Cache, tmp_path: Path, size: int) -> None:
    cache.put(b"one", b"code")
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    assert cache.get(b"one") is None
    assert not path.exists()


def test_file_of_another_key_or_module_is_not_believed(cache: Cache, tmp_path: Path) -> None:
    cache.put(b"one", b"code")
    assert Cache(tmp_path / "code", b"x" * 32, 1000).get(b"one") is None
    cache.put(b"one", b"code")
    stolen = only_file(tmp_path).read_bytes()
    cache.put(b"two", b"other")
    for path in (tmp_path / "code").iterdir():
        path.write_bytes(stolen)
    assert (cache.get(b"one"), cache.get(b"two")) == (b"code", None)


def test_least_recently_used_goes_first(cache: Cache, tmp_path: Path) -> None:
    for index, name in enumerate((b"a", b"b", b"c")):
        cache.put(name, bytes(268))  # 300 with its MAC
        newest = max((tmp_path / "code").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, ns=(index, index))
    assert cache.get(b"a")  # used again, so b is the oldest
    cache.put(b"d", bytes(268))
    assert [cache.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert sum(path.stat().st_size for path in (tmp_path / "code").iterdir()) <= 1000


def test_code_larger_than_the_cache_is_not_kept(cache: Cache, tmp_path: Path) -> None:
    cache.put(b"one", b"code")
    cache.put(b"big", bytes(1000))
    assert cache.get(b"big") is None
    assert cache.get(b"one") == b"code"


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "ab.77.tmp").write_bytes(b"half")
    Cache(tmp_path / "code", KEY, 1000)
    assert not list((tmp_path / "code").iterdir())


def test_short_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key"):
        Cache(tmp_path, b"short", 1000)


def test_identity_depends_on_every_part() -> None:
    digest = b"m" * 32
    others = [
        code_identity(b"n" * 32, Kind.STEP, ENGINE, "x86_64"),
        code_identity(digest, Kind.COMMAND, ENGINE, "x86_64"),
        code_identity(digest, Kind.STEP, replace(ENGINE, version="50.0.2"), "x86_64"),
        code_identity(digest, Kind.STEP, replace(ENGINE, step_config=b"d" * 32), "x86_64"),
        code_identity(digest, Kind.STEP, replace(ENGINE, library_digest=b"m" * 32), "x86_64"),
        code_identity(digest, Kind.STEP, ENGINE, "aarch64"),
    ]
    assert len({code_identity(digest, Kind.STEP, ENGINE, "x86_64"), *others}) == 7

"""A program over the WASI module, as a C library would be for it: arguments are laid out in memory, and an errno is raised."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag
from typing import NamedTuple

from .wasi_guest import PAGE, Errno, Guest


class Right(IntFlag):
    DATASYNC = 1 << 0
    READ = 1 << 1
    SEEK = 1 << 2
    SET_FLAGS = 1 << 3
    SYNC = 1 << 4
    TELL = 1 << 5
    WRITE = 1 << 6
    ADVISE = 1 << 7
    ALLOCATE = 1 << 8
    CREATE_FILE = 1 << 10
    PATH_OPEN = 1 << 13
    READDIR = 1 << 14
    PATH_SET_SIZE = 1 << 19
    STAT = 1 << 21
    SET_SIZE = 1 << 22
    SET_TIMES = 1 << 23
    POLL = 1 << 27


REGULAR_RIGHTS = Right(0b1000_1110_0000_0000_0001_1111_1111)
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
APPEND, NONBLOCK = 1, 4
UNKNOWN, FOLDER, REGULAR, SYMLINK = 0, 3, 4, 7  # file types


class Failed(Exception):
    def __init__(self, errno: Errno) -> None:
        super().__init__(errno.name)
        self.errno = errno


@contextmanager
def fails(*errnos: Errno) -> Iterator[None]:
    try:
        yield
    except Failed as failed:
        assert failed.errno in errnos, f"{failed.errno.name}, not {' or '.join(one.name for one in errnos)}"
    else:
        raise AssertionError(f"did not fail, where {' or '.join(one.name for one in errnos)} was due")


class Stat(NamedTuple):
    device: int
    inode: int
    type: int
    links: int
    size: int
    accessed: int
    modified: int
    changed: int


class Descriptor(NamedTuple):
    type: int
    flags: int
    base: int
    inheriting: int


class Entry(NamedTuple):
    name: bytes
    type: int
    inode: int
    cookie: int


class Event(NamedTuple):
    userdata: int
    errno: int
    type: int
    bytes: int


ANSWER, VECTOR, PATH, OTHER, DATA = 0, 256, 1024, 8192, 16384  # where arguments lie in the guest's memory

ROOT = 3
"""The first preopen's descriptor."""


class Program(Guest):
    """Every method names a call, and raises ``Failed``."""

    def ask(self, name: str, *arguments: int) -> None:
        errno = self.call(name, *arguments)
        if errno:
            raise Failed(errno)

    def _path(self, path: bytes, at: int = PATH) -> tuple[int, int]:
        self.write(at, path)
        return at, len(path)

    def open(
        self,
        path: bytes,
        oflags: int = 0,
        rights: int = REGULAR_RIGHTS & ~Right.WRITE,
        *,
        inheriting: int = 0,
        flags: int = 0,
        at: int = ROOT,
        follow: bool = False,
    ) -> int:
        self.ask("path_open", at, follow, *self._path(path), oflags, rights, inheriting, flags, ANSWER)
        return int(self.numbers(ANSWER, "I")[0])

    def create(self, path: bytes, content: bytes = b"", *, at: int = ROOT) -> int:
        """A new file, open for everything."""
        fd = self.open(path, CREAT | EXCL, REGULAR_RIGHTS, at=at)
        if content:
            assert self.put(fd, content) == len(content)
        return fd

    def folder(self, path: bytes, *, at: int = ROOT) -> int:
        """An open directory that may do all that the one above it may."""
        rights = self.descriptor(at)
        return self.open(path, DIRECTORY, rights.base, inheriting=rights.inheriting, at=at)

    def close(self, fd: int) -> None:
        self.ask("fd_close", fd)

    def put(self, fd: int, data: bytes, *, offset: int | None = None) -> int:
        self.write(DATA, data)
        self.write(VECTOR, struct.pack("<II", DATA, len(data)))
        if offset is None:
            self.ask("fd_write", fd, VECTOR, 1, ANSWER)
        else:
            self.ask("fd_pwrite", fd, VECTOR, 1, offset, ANSWER)
        return int(self.numbers(ANSWER, "I")[0])

    def get(self, fd: int, length: int = 4096, *, offset: int | None = None) -> bytes:
        self.write(VECTOR, struct.pack("<II", DATA, length))
        if offset is None:
            self.ask("fd_read", fd, VECTOR, 1, ANSWER)
        else:
            self.ask("fd_pread", fd, VECTOR, 1, offset, ANSWER)
        return self.read(DATA, self.numbers(ANSWER, "I")[0])

    def content(self, path: bytes) -> bytes:
        """All of a file."""
        fd, pieces = self.open(path), []
        while piece := self.get(fd):
            pieces.append(piece)
        self.close(fd)
        return b"".join(pieces)

    def seek(self, fd: int, by: int, whence: int) -> int:
        self.ask("fd_seek", fd, by, whence, ANSWER)
        return int(self.numbers(ANSWER, "Q")[0])

    def tell(self, fd: int) -> int:
        self.ask("fd_tell", fd, ANSWER)
        return int(self.numbers(ANSWER, "Q")[0])

    def stat(self, path: bytes, *, follow: bool = False, at: int = ROOT) -> Stat:
        self.ask("path_filestat_get", at, follow, *self._path(path), ANSWER)
        return Stat(*self.numbers(ANSWER, "QQB7xQQQQQ"))

    def fstat(self, fd: int) -> Stat:
        self.ask("fd_filestat_get", fd, ANSWER)
        return Stat(*self.numbers(ANSWER, "QQB7xQQQQQ"))

    def descriptor(self, fd: int) -> Descriptor:
        self.ask("fd_fdstat_get", fd, ANSWER)
        return Descriptor(*self.numbers(ANSWER, "BxH4xQQ"))

    def preopen(self, fd: int) -> bytes:
        self.ask("fd_prestat_get", fd, ANSWER)
        tag, length = self.numbers(ANSWER, "II")
        assert tag == 0
        self.ask("fd_prestat_dir_name", fd, DATA, length)
        return self.read(DATA, length)

    def mkdir(self, path: bytes, *, at: int = ROOT) -> None:
        self.ask("path_create_directory", at, *self._path(path))

    def rmdir(self, path: bytes, *, at: int = ROOT) -> None:
        self.ask("path_remove_directory", at, *self._path(path))

    def unlink(self, path: bytes, *, at: int = ROOT) -> None:
        self.ask("path_unlink_file", at, *self._path(path))

    def symlink(self, target: bytes, path: bytes, *, at: int = ROOT) -> None:
        self.ask("path_symlink", *self._path(target, OTHER), at, *self._path(path))

    def readlink(self, path: bytes, room: int = 4096, *, at: int = ROOT) -> bytes:
        self.ask("path_readlink", at, *self._path(path), DATA, room, ANSWER)
        return self.read(DATA, self.numbers(ANSWER, "I")[0])

    def link(self, old: bytes, new: bytes, *, follow: bool = False, at: int = ROOT, to: int = ROOT) -> None:
        self.ask("path_link", at, follow, *self._path(old, OTHER), to, *self._path(new))

    def rename(self, old: bytes, new: bytes, *, at: int = ROOT, to: int = ROOT) -> None:
        self.ask("path_rename", at, *self._path(old, OTHER), to, *self._path(new))

    def listing(self, fd: int, cookie: int = 0, room: int = 4096) -> list[Entry]:
        """The entries that fit whole into a buffer."""
        self.ask("fd_readdir", fd, DATA, room, cookie, ANSWER)
        data, entries = self.read(DATA, self.numbers(ANSWER, "I")[0]), []
        while len(data) >= 24:
            following, inode, length, kind = struct.unpack_from("<QQIB", data)
            if len(data) >= 24 + length:
                entries.append(Entry(data[24 : 24 + length], kind, inode, following))
            data = data[24 + length :]
        return entries

    def names(self, fd: int) -> list[bytes]:
        """All names in a directory, in the order of its listing."""
        found, cookie = [], 0
        while entries := self.listing(fd, cookie, 400):
            found += [entry.name for entry in entries]
            cookie = entries[-1].cookie
        return found

    def time(self, clock: int = 0) -> int:
        self.ask("clock_time_get", clock, 0, ANSWER)
        return int(self.numbers(ANSWER, "Q")[0])

    def poll(self, *subscriptions: bytes) -> list[Event]:
        self.write(DATA, b"".join(subscriptions))
        self.ask("poll_oneoff", DATA, PAGE, len(subscriptions), ANSWER)
        return [Event(*self.numbers(PAGE + 32 * i, "QHB5xQ8x")) for i in range(self.numbers(ANSWER, "I")[0])]

    def random(self, length: int) -> bytes:
        self.ask("random_get", DATA, length)
        return self.read(DATA, length)

    def strings(self, kind: str) -> list[bytes]:
        """``args`` or ``environ``."""
        self.ask(f"{kind}_sizes_get", ANSWER, ANSWER + 4)
        count, size = self.numbers(ANSWER, "II")
        self.ask(f"{kind}_get", PATH, DATA)
        addresses = self.numbers(PATH, f"{count}I")
        whole = self.read(DATA, size)
        assert whole.count(b"\0") == count
        return [whole[at - DATA :].split(b"\0", 1)[0] for at in addresses]


def until(clock: int, timeout: int, *, absolute: bool = False, userdata: int = 1) -> bytes:
    return struct.pack("<QB7xI4xQQH6x", userdata, 0, clock, timeout, 0, absolute)


def ready(fd: int, *, write: bool = False, userdata: int = 1) -> bytes:
    return struct.pack("<QB7xI28x", userdata, 2 if write else 1, fd)

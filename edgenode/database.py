"""One SQLite file: one connection that writes and checkpoints, one that only reads, and commits that callers share.

    callers --change--> queue --> writer thread: BEGIN, change, change, …, COMMIT (one fdatasync) --> each caller's result

A single connection that writes and checkpoints is out of reach of SQLite's WAL-reset fault (3.7.0 to 3.51.2, https://sqlite.org/wal.html),
and makes group commit simple: while one commit waits for the disk, the next changes gather.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from edgenode.errors import StorageError, StorageFullError

log = logging.getLogger(__name__)

T = TypeVar("T")
Change = Callable[[sqlite3.Connection], T]

GROUP = 256  # the most changes that share one commit
_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """``schema`` is run on a new file; ``version`` is kept in user_version. ``set_aside`` is where a damaged file went, if one did."""

    def __init__(self, path: Path, schema: str, version: int, *, synchronous: str = "FULL") -> None:
        self.path = path
        self.set_aside: Path | None = None
        self._schema, self._version, self._synchronous = schema, version, synchronous
        self._writer = self._open_or_set_aside()
        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only = 1")
        self._reader.execute("PRAGMA wal_autocheckpoint = 0")
        self._reading = threading.Lock()
        self._submitting = threading.Lock()
        self._closed = False
        self._queue: queue.SimpleQueue[tuple[Change[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"write-{path.name}", daemon=True)
        self._thread.start()

    def submit(self, change: Change[T]) -> Future[T]:
        """Run ``change`` in the next transaction; the future is done once it is durable. It fails alone when ``change`` raises."""
        future: Future[T] = Future()
        with self._submitting:
            if self._closed:
                raise StorageError(f"{self.path} is closed", hint="")
            self._queue.put((change, future))
        return future

    def write(self, change: Change[T]) -> T:
        """``submit``, and wait. Raises what ``change`` raises, StorageFullError or StorageError."""
        return self.submit(change).result()

    def read(self, query: Change[T]) -> T:
        """Run ``query`` on the reading connection, which sees all that is committed."""
        with self._reading:
            try:
                return query(self._reader)
            except sqlite3.Error as error:
                raise _storage_error(self.path, error) from error

    def close(self) -> None:
        """Finish what is queued, and close."""
        with self._submitting:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        with self._reading:
            self._reader.close()
        self._writer.close()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            last = False
            while len(group) < GROUP and not last:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                last = more is None
                if more is not None:
                    group.append(more)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[tuple[Change[Any], Future[Any]]]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for change, future in group:
                if future.set_running_or_notify_cancel():  # from here on nobody can cancel it
                    self._apply(change, future, done)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                self._writer.execute("ROLLBACK")
            failure = _storage_error(self.path, error)
            for _, future in group:
                if future.running() or (not future.done() and future.set_running_or_notify_cancel()):
                    future.set_exception(failure)
            return
        for future, result in done:
            future.set_result(result)

    def _apply(self, change: Change[Any], future: Future[Any], done: list[tuple[Future[Any], Any]]) -> None:
        """Run one change in a savepoint, so that its own failure undoes it alone."""
        self._writer.execute("SAVEPOINT change")
        try:
            result = change(self._writer)
        except sqlite3.Error as error:
            if not self._writer.in_transaction or _code(error) in _DISK:
                raise  # the disk failed, and with it the whole transaction
            self._writer.execute("ROLLBACK TO change")
            future.set_exception(_storage_error(self.path, error))
        except Exception as error:
            self._writer.execute("ROLLBACK TO change")
            future.set_exception(error)
        else:
            done.append((future, result))
        self._writer.execute("RELEASE change")

    def _open_or_set_aside(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if _code(error) not in _CORRUPT:
                raise _storage_error(self.path, error) from error
            what = str(error)
        self.set_aside = _free_name(self.path)
        log.error("%s is damaged (%s): it is set aside as %s, and a new one begun", self.path, what, self.set_aside.name)
        self.path.replace(self.set_aside)
        for suffix in ("-wal", "-shm"):
            beside = self.path.with_name(self.path.name + suffix)
            if beside.exists():
                beside.replace(self.set_aside.with_name(self.set_aside.name + suffix))
        return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                damaged = sqlite3.DatabaseError(found)
                damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise damaged
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(f"BEGIN; {self._schema}; PRAGMA user_version = {self._version}; COMMIT;")
            elif version != self._version:
                raise StorageError(
                    f"{self.path} is of schema {version}, this version reads {self._version}", hint="run the version that wrote it"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=256)
        except sqlite3.Error as error:
            raise _storage_error(self.path, error) from error
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except BaseException:
            connection.close()
            raise
        return connection


def _free_name(path: Path) -> Path:
    """A name beside ``path`` that is not taken yet."""
    return next(name for count in itertools.count(1) if not (name := path.with_name(f"{path.name}.damaged-{count}")).exists())


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for the module's own errors, which have none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    if _code(error) == sqlite3.SQLITE_FULL:
        return StorageFullError(f"{path} cannot grow: {error}")
    return StorageError(f"{path}: {error}")

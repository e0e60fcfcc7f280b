"""One SQLite file: commits are shared, failures are not, and a damaged file stops nothing."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from edgenode.database import GROUP, Change, Database
from edgenode.errors import StorageError, StorageFullError

SCHEMA = "CREATE TABLE item (id INTEGER PRIMARY KEY, data BLOB)"
PATIENCE = 10.0  # s


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "test.db", SCHEMA, 1)
    yield database
    database.close()


def insert(data: bytes = b"x") -> Change[int]:
    return lambda db: int(db.execute("INSERT INTO item (data) VALUES (?)", (data,)).lastrowid or 0)


def count(database: Database) -> int:
    return int(database.read(lambda db: db.execute("SELECT count(*) FROM item").fetchone()[0]))


class Held:
    """Keeps the writer busy with one change until it is let go, so that what is submitted meanwhile stands in one group."""

    def __init__(self, database: Database) -> None:
        self._go, reached = threading.Event(), threading.Event()

        def wait(db: sqlite3.Connection) -> None:
            reached.set()
            assert self._go.wait(PATIENCE)

        self._future = database.submit(wait)
        assert reached.wait(PATIENCE)

    def let_go(self) -> None:
        self._go.set()
        self._future.result(PATIENCE)


def commits(database: Database) -> Callable[[], int]:
    """How many transactions were committed since this was called."""
    seen: list[str] = []
    database._writer.set_trace_callback(seen.append)
    return lambda: sum(statement == "COMMIT" for statement in seen)


def test_what_is_written_is_read(database: Database) -> None:
    first, second = database.write(insert(b"one")), database.write(insert(b"two"))
    assert database.read(lambda db: db.execute("SELECT id, data FROM item ORDER BY id").fetchall()) == [(first, b"one"), (second, b"two")]


def test_changes_that_gather_share_one_commit(database: Database) -> None:
    held, committed = Held(database), commits(database)
    futures = [database.submit(insert()) for _ in range(50)]
    held.let_go()
    assert len({future.result(PATIENCE) for future in futures}) == 50
    assert committed() == 2  # of the one that was held, and of all the others


def test_a_group_is_bounded(database: Database) -> None:
    held, committed = Held(database), commits(database)
    futures = [database.submit(insert()) for _ in range(2 * GROUP)]
    held.let_go()
    for future in futures:
        future.result(PATIENCE)
    assert committed() == 3


def test_a_change_that_fails_is_undone_alone(database: Database) -> None:
    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO item (data) VALUES ('half')")
        raise ZeroDivisionError

    def not_sql(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO item (data) VALUES ('half')")
        db.execute("no such statement")

    held = Held(database)
    before, failing, wrong, after = (database.submit(change) for change in (insert(b"1"), half, not_sql, insert(b"2")))
    held.let_go()
    assert (before.result(PATIENCE), after.result(PATIENCE)) == (1, 2)
    with pytest.raises(ZeroDivisionError):
        failing.result(PATIENCE)
    with pytest.raises(StorageError, match="syntax error"):
        wrong.result(PATIENCE)
    assert database.read(lambda db: db.execute("SELECT data FROM item").fetchall()) == [(b"1",), (b"2",)]


def test_a_result_comes_only_after_its_commit(database: Database) -> None:
    seen: list[int] = []

    def look(future: Future[int]) -> None:
        other = sqlite3.connect(database.path)
        seen.append(other.execute("SELECT count(*) FROM item").fetchone()[0])
        other.close()

    held = Held(database)
    future = database.submit(insert())
    future.add_done_callback(look)
    assert count(database) == 0
    held.let_go()
    future.result(PATIENCE)
    database.write(insert())  # its own turn comes after the callback's
    assert seen == [1]


def test_a_full_disk_fails_the_whole_group_and_only_that(database: Database) -> None:
    pages = database.write(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 4}").fetchone())
    held = Held(database)
    small, large, late = (database.submit(insert(data)) for data in (b"small", bytes(1 << 20), b"late"))
    held._go.set()
    for future in (small, large, late):
        with pytest.raises(StorageFullError, match=r"test\.db cannot grow"):
            future.result(PATIENCE)
    assert count(database) == 0
    database.write(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
    database.write(insert(bytes(1 << 20)))
    assert count(database) == 1


def test_a_cancelled_change_is_left_out_and_stops_nothing(database: Database) -> None:
    held = Held(database)
    cancelled, other = database.submit(insert()), database.submit(insert())
    assert cancelled.cancel()
    held.let_go()
    assert other.result(PATIENCE) == 1
    with pytest.raises(CancelledError):
        cancelled.result(PATIENCE)
    assert database.write(insert()) == 2


def test_close_finishes_what_is_queued_and_takes_no_more(tmp_path: Path) -> None:
    database = Database(tmp_path / "test.db", SCHEMA, 1)
    held = Held(database)
    futures = [database.submit(insert()) for _ in range(300)]
    closing = threading.Thread(target=database.close)
    closing.start()
    held.let_go()
    closing.join(PATIENCE)
    assert [future.result(0) for future in futures] == list(range(1, 301))
    with pytest.raises(StorageError, match="is closed"):
        database.write(insert())
    again = Database(tmp_path / "test.db", SCHEMA, 1)
    assert count(again) == 300
    again.close()


def test_many_threads_write_and_read_at_once(database: Database) -> None:
    def work(number: int) -> int:
        for _ in range(40):
            database.write(insert())
            assert count(database) >= 1
        return number

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(work, range(8))) == list(range(8))
    assert count(database) == 320


def test_the_reading_connection_changes_nothing(database: Database) -> None:
    with pytest.raises(StorageError, match="readonly"):
        database.read(insert())
    assert count(database) == 0


@pytest.mark.parametrize("damage", [b"this is not a database, and never was one.", b"\0" * 4096])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(damage)
    database = Database(path, SCHEMA, 1)
    try:
        assert database.set_aside is not None
        assert database.set_aside.read_bytes() == damage
        assert database.set_aside.parent == tmp_path
        assert database.write(insert()) == 1
        assert "is damaged" in caplog.text
    finally:
        database.close()


def test_damage_inside_the_file_is_found_at_the_start_and_each_keeps_its_name(tmp_path: Path) -> None:
    path, aside = tmp_path / "test.db", set()
    for _ in range(2):
        database = Database(path, SCHEMA, 1)
        for _ in range(50):
            database.write(insert(os.urandom(2000)))
        database.close()
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(8 * 4096))
        found = Database(path, SCHEMA, 1)
        aside.add(found.set_aside)
        assert count(found) == 0
        found.close()
    assert len(aside) == 2
    assert None not in aside


def test_a_file_of_another_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    Database(path, SCHEMA, 2).close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="schema 2, this version reads 1"):
        Database(path, SCHEMA, 1)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Database(tmp_path / "nowhere" / "test.db", SCHEMA, 1)


def test_the_writer_syncs_each_commit_and_the_log_is_a_wal(database: Database) -> None:
    assert database.write(lambda db: db.execute("SELECT 1").fetchone()) == (1,)
    assert database.read(lambda db: db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    assert database._writer.execute("PRAGMA synchronous").fetchone() == (2,)

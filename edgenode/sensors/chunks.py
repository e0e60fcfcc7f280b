"""The database of sample chunks: one connection that writes and checkpoints, one that reads.

    layout        a source and the names of the channels that it reads together
    chunk         polls of one layout: a column of times
    value_column  the values of one of its channels, in the order of the times
    applied       the steps whose derived samples are here

Where a (channel, time) stands in several chunks, the one with the highest id wins: ids go up in the order of arrival.
"""

from __future__ import annotations

import array
import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgenode.errors import StorageError, StorageFullError
from edgenode.formats.frame import column_bytes, times_from, values_from
from edgenode.records import MAX_INT, Channel, Window
from edgenode.sensors.columns import Piece, join, rows_within
from edgenode.sensors.gathered import MOST_CHANNELS

_PLAIN = 0  # codec: little-endian columns, 8 bytes a number
_RETIRED_AT_ONCE = 64  # chunks that one call of retire removes at most, so that no flush takes long
_FORGOTTEN_AT_ONCE = 1_000  # the same for keys of applied steps
_VERSION = 1

# A value column's id is its chunk's id * this + the channel's position: a column is found without an index of its own.
_POSITIONS = MOST_CHANNELS

_SCHEMA = f"""
BEGIN;
CREATE TABLE channel (name TEXT PRIMARY KEY, unit TEXT NOT NULL, interval_ns INTEGER) WITHOUT ROWID;
CREATE TABLE layout (id INTEGER PRIMARY KEY, source TEXT NOT NULL, names TEXT NOT NULL, UNIQUE (source, names));
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY, layout INTEGER NOT NULL REFERENCES layout, codec INTEGER NOT NULL, count INTEGER NOT NULL,
    first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, stored_ns INTEGER NOT NULL, times BLOB NOT NULL,
    drops BLOB -- time, count, time, count ...: readings that failed
);
CREATE INDEX chunk_time ON chunk (layout, last_ns, first_ns);
CREATE INDEX chunk_drops ON chunk (last_ns) WHERE drops IS NOT NULL;
CREATE TABLE value_column (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE applied (
    id INTEGER PRIMARY KEY, job BLOB NOT NULL, step INTEGER NOT NULL, revision INTEGER NOT NULL, stored_ns INTEGER NOT NULL,
    UNIQUE (job, step)
);
PRAGMA user_version = {_VERSION};
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk to be written; ``columns`` in the order of the channels, ``times`` each greater than the one before."""

    source: str
    channels: tuple[Channel, ...]
    times: array.array[int]
    columns: Sequence[array.array[float]]
    drops: array.array[int] = field(default_factory=lambda: array.array("q"))

    @property
    def samples(self) -> int:
        return len(self.times) * len(self.columns)


@dataclass(frozen=True, slots=True)
class StepKey:
    """Which step derived samples come from. A higher revision of a step replaces a lower one."""

    job: bytes
    step: int
    revision: int


@dataclass(frozen=True, slots=True)
class KnownChannel:
    """A channel that the store has or had samples of; times in ns since 1970, None where none are left."""

    channel: Channel
    source: str
    first_ns: int | None = None
    last_ns: int | None = None
    last_value: float | None = None


@dataclass(frozen=True, slots=True)
class _Layout:
    id: int
    source: str
    names: tuple[str, ...]


class Chunks:
    """One open database. One thread at a time may write, and one may read.

    Raises StorageFullError when the disk is full and StorageError for what else goes wrong; then nothing was changed, and ``damaged``
    says whether the file itself is at fault and can only be set aside.
    """

    def __init__(self, path: Path, full: int) -> None:
        """``full``: how many polls a chunk should hold; smaller ones are merged until they do."""
        self._path = path
        self._full = full
        self.damaged = False
        self.layouts: dict[tuple[str, tuple[str, ...]], _Layout] = {}  # replaced when it grows, never changed: a view may be using it
        self.places: dict[str, list[tuple[_Layout, int]]] = {}  # channel name -> the layouts that have it, and where; replaced likewise
        self.channels: dict[str, Channel] = {}
        self._small: dict[int, list[tuple[int, int]]] = {}  # layout -> (id, count) of the chunks that wait to be merged
        self._connections: list[sqlite3.Connection] = []
        try:
            with self.failures():
                self._db = self._connect()
                self.reader = self._connect()
                self._prepare()
        except StorageError:
            self.close()
            raise

    def close(self) -> None:
        # The writer last: the last connection to close checkpoints.
        for connection in reversed(self._connections):
            connection.close()

    def write(self, chunks: Sequence[Chunk], now_ns: int) -> None:
        """Write all of these, in their order, or none."""
        with self.failures():
            layouts = self._describe(chunks)
            with self._transaction():
                ids = [self._insert(layout, chunk, now_ns) for layout, chunk in zip(layouts, chunks, strict=True)]
        self._note_small(layouts, ids, chunks)

    def apply(self, key: StepKey, chunks: Sequence[Chunk], now_ns: int) -> bool:
        """Write these with the key of the step that they come from; False if it, or a higher revision, was applied before."""
        with self.failures():
            sql = "SELECT 1 FROM applied WHERE job = ? AND step = ? AND revision >= ?"
            if self._db.execute(sql, (key.job, key.step, key.revision)).fetchone():
                return False
            layouts = self._describe(chunks)
            with self._transaction():
                ids = [self._insert(layout, chunk, now_ns) for layout, chunk in zip(layouts, chunks, strict=True)]
                sql = "INSERT OR REPLACE INTO applied (job, step, revision, stored_ns) VALUES (?, ?, ?, ?)"
                self._db.execute(sql, (key.job, key.step, key.revision, now_ns))
        self._note_small(layouts, ids, chunks)
        return True

    def merge(self, now_ns: int) -> None:
        """Make full chunks of small ones, where there are enough of a layout."""
        for layout in self.layouts.values():
            small = self._small.get(layout.id, [])
            if sum(count for _, count in small) >= self._full:
                del self._small[layout.id]
                with self.failures(), self._transaction():
                    self._merge(layout, [chunk for chunk, _ in small], now_ns)

    def retire(self, most_bytes: int, before_ns: int) -> int:
        """Drop the chunks that arrived first: those stored before a time, and others while more than ``most_bytes`` are used.

        Removes a bounded number at a time and returns it; call it again while it is not 0.
        """
        retired = []
        with self.failures(), self._transaction():
            oldest = self._db.execute("SELECT id, layout, stored_ns FROM chunk ORDER BY id LIMIT ?", (_RETIRED_AT_ONCE,)).fetchall()
            for chunk, layout, stored_ns in oldest:
                if stored_ns >= before_ns and self._used_bytes() <= most_bytes:
                    break
                self._delete(chunk)
                retired.append((chunk, layout))
            sql = "DELETE FROM applied WHERE stored_ns < ? AND id < (SELECT MIN(id) FROM applied) + ?"
            self._db.execute(sql, (before_ns, _FORGOTTEN_AT_ONCE))
        for chunk, layout in retired:  # an id may be given again once the highest is gone
            self._small[layout] = [(kept, count) for kept, count in self._small.get(layout, []) if kept != chunk]
        return len(retired)

    def newest(self) -> int:
        """The highest id of a chunk, 0 when there is none."""
        with self.failures():
            return _newest(self._db)

    def used_bytes(self) -> int:
        """Bytes of the database in use. The file is larger by what was freed and not yet used again."""
        with self.failures():
            return self._used_bytes()

    def view(self) -> View:
        """What the database holds now, unmoved by later writes, until it is closed. One at a time."""
        with self.failures():
            self.reader.execute("BEGIN")
            try:
                return View(self, _newest(self.reader))  # it is the first read that fixes what is seen
            except sqlite3.Error:
                self.reader.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = _code(error)
            self.damaged = self.damaged or code in _DAMAGE
            if code == sqlite3.SQLITE_FULL:
                raise StorageFullError(f"no space left for {self._path}") from error
            raise StorageError(f"{self._path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connections.append(connection)
        return connection

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise StorageError(f"{self._path} is of schema {version}, this version reads {_VERSION}", hint="run the version that wrote it")
        self._db.execute("PRAGMA journal_mode = WAL")
        # With NORMAL a power cut also takes what the kernel has not written back yet, half a minute of commits: more than flush_seconds,
        # which is what the configuration promises. FULL costs one fdatasync a flush.
        self._db.execute("PRAGMA synchronous = FULL")
        self.reader.execute("PRAGMA query_only = ON")
        self.reader.execute("PRAGMA wal_autocheckpoint = 0")
        if version == 0 and not self._db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            self._db.executescript(_SCHEMA)
        with self._transaction():
            # What was retired to the last chunk.
            self._db.execute("DELETE FROM layout WHERE id NOT IN (SELECT layout FROM chunk)")
            rows = self._db.execute("SELECT id, source, names FROM layout").fetchall()
            layouts = [_Layout(layout, source, tuple(json.loads(names))) for layout, source, names in rows]
            self._use({(layout.source, layout.names): layout for layout in layouts})
            held = {name for layout in layouts for name in layout.names}
            rows = self._db.execute("SELECT name, unit, interval_ns FROM channel").fetchall()
            self.channels = {name: Channel(name, unit, interval_ns) for name, unit, interval_ns in rows if name in held}
            gone = [(name,) for name, _, _ in rows if name not in held]
            self._db.executemany("DELETE FROM channel WHERE name = ?", gone)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # some failures have rolled back already
                self._db.execute("ROLLBACK")
            raise

    def _describe(self, chunks: Iterable[Chunk]) -> list[_Layout]:
        """The layouts of these chunks; new ones, and channels that are new or changed, are written down first."""
        layouts, channels = dict(self.layouts), dict(self.channels)
        found = []
        with self._transaction():
            for chunk in chunks:
                key = chunk.source, tuple(channel.name for channel in chunk.channels)
                if key not in layouts:
                    cursor = self._db.execute("INSERT INTO layout (source, names) VALUES (?, ?)", (key[0], json.dumps(key[1])))
                    layouts[key] = _Layout(int(cursor.lastrowid or 0), *key)
                found.append(layouts[key])
                for channel in chunk.channels:
                    if channels.get(channel.name) != channel:
                        channels[channel.name] = channel
                        sql = "INSERT OR REPLACE INTO channel (name, unit, interval_ns) VALUES (?, ?, ?)"
                        self._db.execute(sql, (channel.name, channel.unit, channel.interval_ns))
        self.channels = channels
        if len(layouts) > len(self.layouts):
            self._use(layouts)
        return found

    def _use(self, layouts: dict[tuple[str, tuple[str, ...]], _Layout]) -> None:
        places: dict[str, list[tuple[_Layout, int]]] = {}
        for layout in layouts.values():
            for position, name in enumerate(layout.names):
                places.setdefault(name, []).append((layout, position))
        self.layouts, self.places = layouts, places

    def _insert(self, layout: _Layout, chunk: Chunk, now_ns: int) -> int:
        cursor = self._db.execute(
            "INSERT INTO chunk (layout, codec, count, first_ns, last_ns, stored_ns, times, drops) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                layout.id,
                _PLAIN,
                len(chunk.times),
                chunk.times[0],
                chunk.times[-1],
                now_ns,
                column_bytes(chunk.times),
                column_bytes(chunk.drops) if chunk.drops else None,
            ),
        )
        first = int(cursor.lastrowid or 0) * _POSITIONS
        columns = ((first + position, column_bytes(column)) for position, column in enumerate(chunk.columns))
        self._db.executemany("INSERT INTO value_column (id, data) VALUES (?, ?)", columns)
        return first // _POSITIONS

    def _delete(self, chunk: int) -> None:
        self._db.execute("DELETE FROM chunk WHERE id = ?", (chunk,))
        self._db.execute("DELETE FROM value_column WHERE id BETWEEN ? AND ?", (chunk * _POSITIONS, (chunk + 1) * _POSITIONS - 1))

    def _note_small(self, layouts: Sequence[_Layout], ids: Sequence[int], chunks: Sequence[Chunk]) -> None:
        for layout, id_, chunk in zip(layouts, ids, chunks, strict=True):
            if len(chunk.times) < self._full:
                self._small.setdefault(layout.id, []).append((id_, len(chunk.times)))
            else:
                self._small.pop(layout.id, None)  # the small ones before it must stay before it

    def _merge(self, layout: _Layout, ids: Sequence[int], now_ns: int) -> None:
        pieces: list[array.array[int]] = []
        columns: list[list[array.array[float]]] = [[] for _ in layout.names]
        drops = array.array("q")
        for chunk in ids:
            codec, times, dropped = self._db.execute("SELECT codec, times, drops FROM chunk WHERE id = ?", (chunk,)).fetchone()
            pieces.append(_times(codec, times))
            for position, column in enumerate(columns):
                column.append(_values(self._db, codec, chunk, position, slice(0, len(pieces[-1]))))
            if dropped is not None:
                drops.extend(times_from(dropped))
        times, pick = join(pieces)
        if self._is_rivalled(layout, ids[0], times):
            return
        channels = tuple(self.channels[name] for name in layout.names)
        self._insert(layout, Chunk(layout.source, channels, times, [pick(column) for column in columns], drops), now_ns)
        for chunk in ids:
            self._delete(chunk)

    def _is_rivalled(self, layout: _Layout, first: int, times: array.array[int]) -> bool:
        """Whether a chunk that came between has samples of the same channels and times: merged, the small ones would stand after it."""
        names = set(layout.names)
        sql = "SELECT 1 FROM chunk WHERE layout = ? AND id > ? AND last_ns >= ? AND first_ns <= ? LIMIT 1"
        return any(
            self._db.execute(sql, (other.id, first, times[0], times[-1])).fetchone()
            for other in self.layouts.values()
            if other.id != layout.id and not names.isdisjoint(other.names)
        )

    def _used_bytes(self) -> int:
        pages, free, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
        return int((pages - free) * size)


class View:
    """The database at one moment. Raises StorageError."""

    def __init__(self, chunks: Chunks, newest: int) -> None:
        self.newest = newest  # the highest id of a chunk that is seen
        self._chunks = chunks
        self._db = chunks.reader
        self._layouts, self._places = chunks.layouts, chunks.places

    def close(self) -> None:
        with self._chunks.failures():
            self._db.execute("COMMIT")

    def sources(self, names: set[str]) -> set[str]:
        """The sources that have brought any of these channels."""
        return {layout.source for name in names for layout, _ in self._places.get(name, ())}

    def pieces(self, names: set[str], window: Window) -> Iterator[Piece]:
        """What there is of these channels in the window, in the order in which it arrived; no piece is empty."""
        columns: dict[int, list[tuple[str, int]]] = {}  # layout -> names and positions
        for name in names:
            for in_layout, position in self._places.get(name, ()):
                columns.setdefault(in_layout.id, []).append((name, position))
        sql = "SELECT id, layout, codec FROM chunk WHERE layout = ? AND last_ns >= ? AND first_ns <= ?"
        with self._chunks.failures():
            heads = sorted(head for layout in columns for head in self._db.execute(sql, (layout, *_bounds(window))))
            for chunk, layout, codec in heads:
                times = _times(codec, self._db.execute("SELECT times FROM chunk WHERE id = ?", (chunk,)).fetchone()[0])
                rows = rows_within(times, window)
                if rows.start == rows.stop:
                    continue
                values = {name: _values(self._db, codec, chunk, position, rows) for name, position in columns[layout]}
                yield Piece(times if rows.stop - rows.start == len(times) else times[rows], values)

    def drops(self, sources: set[str], window: Window) -> int:
        """How many readings of these sources failed in the window."""
        of_sources = {layout.id for layout in self._layouts.values() if layout.source in sources}
        sql = "SELECT layout, drops FROM chunk WHERE drops IS NOT NULL AND last_ns >= ? AND first_ns <= ?"
        with self._chunks.failures():
            found = self._db.execute(sql, _bounds(window)).fetchall()
        return sum(drops_within(times_from(drops), window) for layout, drops in found if layout in of_sources)

    def known(self) -> Iterator[KnownChannel]:
        """Each channel of each layout; a channel that several layouts have is told several times."""
        channels = self._chunks.channels
        with self._chunks.failures():
            for layout in self._layouts.values():
                first_ns = self._db.execute("SELECT MIN(first_ns) FROM chunk WHERE layout = ?", (layout.id,)).fetchone()[0]
                sql = "SELECT id, codec, count, last_ns FROM chunk WHERE layout = ? ORDER BY last_ns DESC, id DESC LIMIT 1"
                newest = self._db.execute(sql, (layout.id,)).fetchone()
                for position, name in enumerate(layout.names):
                    if newest is None:
                        yield KnownChannel(channels[name], layout.source)
                        continue
                    chunk, codec, count, last_ns = newest
                    value = _values(self._db, codec, chunk, position, slice(count - 1, count))[0]
                    yield KnownChannel(channels[name], layout.source, first_ns, last_ns, value)


def set_aside(path: Path) -> Path:
    """Move a damaged database out of the way; the one that was set aside before goes, so that they cannot fill the disk."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        for suffix in ("", "-wal"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)  # an index of the -wal file, made again by who opens it
    except OSError as error:
        raise StorageError(f"cannot set {path} aside: {error.strerror}") from error
    return aside


def open_chunks(path: Path, full: int) -> tuple[Chunks, Path | None]:
    """Open or make the database. A damaged one is set aside, and where to is the second value. One of a later version raises."""
    try:
        return Chunks(path, full), None
    except StorageError as error:
        if not _is_damage(error.__cause__):
            raise
    aside = set_aside(path)
    return Chunks(path, full), aside


def drops_within(drops: array.array[int], window: Window) -> int:
    """The failed readings in the window; ``drops`` is time, count, time, count …"""
    pairs = zip(drops[::2], drops[1::2], strict=True)
    return sum(count for time_ns, count in pairs if window.start_ns <= time_ns < window.end_ns)


_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA)


def _is_damage(error: BaseException | None) -> bool:
    """Whether opening failed by the file itself. SQLITE_ERROR is a table or column that is not there: it is no store of ours."""
    return isinstance(error, sqlite3.Error) and (_code(error) in _DAMAGE or _code(error) == sqlite3.SQLITE_ERROR)


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF  # errors raised here have none


def _bounds(window: Window) -> tuple[int, int]:
    # SQLite's integers are i64: a window may end at 2**63.
    return window.start_ns, min(window.end_ns - 1, MAX_INT)


def _newest(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT COALESCE(MAX(id), 0) FROM chunk").fetchone()[0])


def _times(codec: int, data: bytes) -> array.array[int]:
    _check(codec, data)
    return times_from(data)


def _values(db: sqlite3.Connection, codec: int, chunk: int, position: int, rows: slice) -> array.array[float]:
    data = db.execute("SELECT data FROM value_column WHERE id = ?", (chunk * _POSITIONS + position,)).fetchone()[0]
    _check(codec, data)
    return values_from(memoryview(data)[8 * rows.start : 8 * rows.stop])


def _check(codec: int, data: bytes) -> None:
    if codec != _PLAIN or len(data) % 8:
        raise sqlite3.DatabaseError(f"a column of codec {codec} and {len(data)} bytes")

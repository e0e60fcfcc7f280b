"""A look at samples.db from outside the process that owns it: nothing is written, and nobody's way is barred."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from edgenode.errors import NotFoundError, StorageError
from edgenode.formats.frame import values_from
from edgenode.records import Channel
from edgenode.sensors.chunks import KnownChannel

_NEWEST = """
SELECT layout.source, layout.names, newest.last_ns, newest.id * 65536, (SELECT MIN(first_ns) FROM chunk WHERE chunk.layout = layout.id)
FROM layout JOIN chunk AS newest
  ON newest.id = (SELECT chunk.id FROM chunk WHERE chunk.layout = layout.id ORDER BY chunk.last_ns DESC, chunk.id DESC LIMIT 1)
ORDER BY newest.last_ns
"""  # a value column's id is its chunk's id * 65536 + the channel's position
_VALUE = "SELECT substr(data, -8) FROM value_column WHERE id = ?"


def channels(path: Path) -> list[KnownChannel]:
    """Every channel that has samples on the disk, with its last value, by name. Raises NotFoundError or StorageError."""
    if not path.is_file():
        raise NotFoundError(f"{path} is not there", hint="a node makes it when it first runs")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            newest = {one.channel.name: one for one in _known(database)}  # of several sources of a channel, the last one stays
    except sqlite3.Error as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    return [newest[name] for name in sorted(newest)]


def _known(database: sqlite3.Connection) -> Iterator[KnownChannel]:
    described = {
        name: Channel(name, unit, interval_ns)
        for name, unit, interval_ns in database.execute("SELECT name, unit, interval_ns FROM channel")
    }
    for source, names, last_ns, column, first_ns in database.execute(_NEWEST).fetchall():
        for position, name in enumerate(json.loads(names)):
            (data,) = database.execute(_VALUE, (column + position,)).fetchone()
            yield KnownChannel(described[name], source, first_ns, last_ns, values_from(data)[0])

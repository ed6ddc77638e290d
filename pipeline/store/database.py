"""The store's database: its layout, and what can be asked of it and done to it."""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

NAME = "store.sqlite"
PAGE = 16384  # bytes
WAIT_S = 30  # for another process to end its transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, stage TEXT, asked INTEGER DEFAULT 0, hits INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS kinds (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, kind INTEGER, size INTEGER, checksum BLOB, used INTEGER, value INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON entries (used);
CREATE TABLE IF NOT EXISTS bytes (id INTEGER PRIMARY KEY, value BLOB);
"""  # values stand apart, so that marking an entry as used rewrites none


class Kind(NamedTuple):
    """Entries of one sort: `size` in bytes."""

    name: str
    entries: int
    size: int


class Run(NamedTuple):
    """How many entries the latest run of a stage asked for, and found."""

    stage: str
    asked: int
    hits: int


def connect(file: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the database; make it where it is not there yet."""
    how = "mode=rwc" if writable else "mode=ro&immutable=1"
    address = f"{file.absolute().as_uri()}?{how}"
    database = sqlite3.connect(address, uri=True, timeout=WAIT_S, check_same_thread=False)
    if writable:
        database.execute(f"PRAGMA page_size={PAGE}")
        database.execute("PRAGMA auto_vacuum=INCREMENTAL")
        database.execute("PRAGMA journal_mode=WAL")
        # a power cut may lose the latest entries, never damage older ones
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(SCHEMA)
    return database


def checksum(key: bytes, value: Any) -> bytes:
    """16 bytes that hold a value to its key; damaged values need not even be bytes."""
    content = value if isinstance(value, bytes) else repr(value).encode()
    return hashlib.blake2b(content, key=key, digest_size=16).digest()


def drop(database: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    """Forget some entries and their values."""
    for key in keys:
        database.execute(
            "DELETE FROM bytes WHERE id = (SELECT value FROM entries WHERE key=?)", (key,)
        )
        database.execute("DELETE FROM entries WHERE key=?", (key,))


def used_bytes(database: sqlite3.Connection) -> int:
    """Size of all that is not free, in bytes."""
    pages, free = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count")
    )
    return int(pages - free) * PAGE


def trim(database: sqlite3.Connection, limit: int, run: int) -> int:
    """Forget the least recently used entries of runs before `run` until `limit` is kept.

    Returns:
        The size then, in bytes.
    """
    while (size := used_bytes(database)) > limit:
        oldest = database.execute(
            "SELECT key, size FROM entries WHERE used<? ORDER BY used LIMIT 1024", (run,)
        ).fetchall()
        if not oldest:
            return size
        before = itertools.accumulate((entry[1] for entry in oldest), initial=0)
        surplus = [
            key for (key, _), freed in zip(oldest, before, strict=False) if freed < size - limit
        ]
        with database:
            drop(database, surplus)
    return size


def kinds(database: sqlite3.Connection) -> list[Kind]:
    """What the store holds, by kind."""
    rows = database.execute(
        "SELECT name, count(*), sum(size) FROM entries JOIN kinds ON kinds.id = kind "
        "GROUP BY name ORDER BY name"
    )
    return [Kind(*row) for row in rows]


def last_runs(database: sqlite3.Connection) -> list[Run]:
    """The latest run of each stage that asked for anything."""
    rows = database.execute(
        "SELECT stage, asked, hits, max(id) FROM runs WHERE asked > 0 GROUP BY stage ORDER BY 4"
    )
    return [Run(*row[:3]) for row in rows]


def damaged_keys(database: sqlite3.Connection) -> Iterator[bytes]:
    """Read every entry; yield the keys of those whose value is not what was once written."""
    every = database.execute("SELECT key FROM entries").fetchall()
    for (key,) in every:
        row = database.execute(
            "SELECT checksum, bytes.value FROM entries LEFT JOIN bytes "
            "ON bytes.id = entries.value WHERE key=?",
            (key,),
        ).fetchone()
        if row and row[0] != checksum(key, row[1]):
            yield key


def shrink(database: sqlite3.Connection) -> None:
    """Give the file's free pages back to the disk."""
    database.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")

"""The store's database: its layout, and what can be asked of it and done to it."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

NAME = "store.sqlite"
DAMAGED = ".damaged"  # ending of one that was set aside
PAGE = 16384  # bytes
MISFILED = "typeof(key) <> 'blob' OR length(key) > 64 OR typeof(used) <> 'integer'"
VACUUM_PAGES = 4096
WAIT_S = 30.0  # for another process to end its transaction
BUSY_WAIT_S = 0.1  # once one did not: it may be stopped, and this run has work to do
LOGS = 1_000_000  # bytes of free disk, without which SQLite cannot make its logs

APPLICATION = 0x49545331  # by which SQLite's header says whose the file is
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


class ForeignError(sqlite3.DatabaseError):
    """A database is another program's."""


class Kind(NamedTuple):
    """Entries of one sort: `size` in bytes."""

    name: str
    entries: int
    size: int


class StageRun(NamedTuple):
    """How many entries the latest run of a stage asked for, and found."""

    stage: str
    asked: int
    hits: int


def unwritable(file: Path) -> str:
    """Why the database cannot be changed, or made; "" where it can."""
    if closed_to_writes(file):
        return "it is read-only"
    return "its disk is full" if shutil.disk_usage(file.parent).free < LOGS else ""


def closed_to_writes(file: Path) -> list[Path]:
    """Of the database and its folder those that this user may not write to."""
    return [path for path in (file.parent, file) if path.exists() and not os.access(path, os.W_OK)]


def connect(file: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the database; make it where it is not there yet.

    Raises:
        ForeignError: It is another program's.
    """
    how = "mode=rwc" if writable else "mode=ro&immutable=1"
    address = f"{file.absolute().as_uri()}?{how}"
    database = sqlite3.connect(address, uri=True, timeout=WAIT_S, check_same_thread=False)
    database.text_factory = lambda text: text.decode(errors="replace")  # damaged text is no error
    try:
        new = _is_new(database)
        if writable:
            _prepare(database, new=new)
    except BaseException:
        database.close()  # or its file could not be set aside whole
        raise
    return database


def _prepare(database: sqlite3.Connection, *, new: bool) -> None:
    if new:
        database.execute(f"PRAGMA page_size={PAGE}")
        database.execute("PRAGMA auto_vacuum=INCREMENTAL")
        database.execute(f"PRAGMA application_id={APPLICATION}")
    _write_ahead(database)
    # some systems' SQLite else writes zeros over all that is deleted, twice
    database.execute("PRAGMA secure_delete=OFF")
    # a power cut may lose the latest entries, never damage older ones
    database.execute("PRAGMA synchronous=NORMAL")
    database.executescript(SCHEMA)


def _is_new(database: sqlite3.Connection) -> bool:
    application = database.execute("PRAGMA application_id").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION and (application or tables):
        raise ForeignError("it is another program's database")
    return not application


def wait_less(database: sqlite3.Connection) -> None:
    """From now on wait `BUSY_WAIT_S` for another process."""
    database.execute(f"PRAGMA busy_timeout={int(BUSY_WAIT_S * 1000)}")


def delete(file: Path) -> None:
    """Delete a database with the logs beside it."""
    for ending in ("", "-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)


def set_aside(file: Path) -> Path:
    """Rename a damaged database and delete its logs, which nothing else could read.

    Returns:
        Its new name; what had that name is gone.
    """
    kept = file.replace(file.with_suffix(DAMAGED))
    delete(file)
    return kept


def _write_ahead(database: sqlite3.Connection) -> None:
    """Keep changes in a log beside the database, so that reads and a write do not wait."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:  # SQLite itself does not wait for this one
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def checksum(key: bytes, value: Any) -> bytes:
    """16 bytes that hold a value to its key; damaged values need not even be bytes."""
    content = value if isinstance(value, bytes) else repr(value).encode()
    return hashlib.blake2b(content, key=key, digest_size=16).digest()


def look_up(
    database: sqlite3.Connection, keys: Sequence[bytes]
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Values by key of those that are there and whole, and the keys of damaged ones."""
    marks = ",".join("?" * len(keys))
    rows = database.execute(
        "SELECT key, checksum, bytes.value FROM entries LEFT JOIN bytes "  # noqa: S608
        f"ON bytes.id = entries.value WHERE key IN ({marks})",
        keys,
    ).fetchall()
    whole = {key: value for key, sum_, value in rows if sum_ == checksum(key, value)}
    return whole, [key for key, *_ in rows if key not in whole]


def drop(database: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    """Forget some entries and their values."""
    for key in keys:
        database.execute(
            "DELETE FROM bytes WHERE id = (SELECT value FROM entries WHERE key=?)", (key,)
        )
        database.execute("DELETE FROM entries WHERE key=?", (key,))


def drop_misfiled(database: sqlite3.Connection) -> None:
    """Forget entries whose key or time of use is damaged, which nothing else would find."""
    values = f"SELECT value FROM entries WHERE {MISFILED}"  # noqa: S608
    with database:
        database.execute(f"DELETE FROM bytes WHERE id IN ({values})")  # noqa: S608
        database.execute(f"DELETE FROM entries WHERE {MISFILED}")  # noqa: S608


def count_misfiled(database: sqlite3.Connection) -> int:
    """How many entries `drop_misfiled` would forget."""
    counting = f"SELECT count(*) FROM entries WHERE {MISFILED}"  # noqa: S608
    return int(database.execute(counting).fetchone()[0])


def used_bytes(database: sqlite3.Connection) -> int:
    """Size of all that is not free, in bytes."""
    return file_bytes(database) - _count(database, "freelist_count") * PAGE


def file_bytes(database: sqlite3.Connection) -> int:
    """Size of the file, in bytes."""
    return _count(database, "page_count") * PAGE


def _count(database: sqlite3.Connection, of: str) -> int:
    return int(database.execute(f"PRAGMA {of}").fetchone()[0])


def trim(database: sqlite3.Connection, limit: int, run: int) -> int:
    """Forget the least recently used entries of runs before `run` until `limit` is kept.

    Returns:
        The size then, in bytes.
    """
    drop_misfiled(database)
    while (size := used_bytes(database)) > limit:
        oldest = database.execute(
            "SELECT key, COALESCE(CAST(size AS INTEGER), 0) FROM entries "
            "WHERE used<? ORDER BY used LIMIT 1024",
            (run,),
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


def last_runs(database: sqlite3.Connection) -> list[StageRun]:
    """The latest run of each stage that asked for anything."""
    rows = database.execute(
        "SELECT stage, CAST(asked AS INTEGER) AS many, CAST(hits AS INTEGER), max(id) FROM runs "
        "WHERE many > 0 GROUP BY stage ORDER BY 4"
    )
    return [StageRun(*row[:3]) for row in rows]


def damaged_keys(database: sqlite3.Connection) -> Iterator[bytes]:
    """Read every entry; yield the keys of those whose value is not what was once written."""
    filed = f"SELECT key FROM entries WHERE NOT ({MISFILED})"  # noqa: S608
    for (key,) in database.execute(filed).fetchall():
        yield from look_up(database, [key])[1]


def shrink(database: sqlite3.Connection, to: int = 0) -> None:
    """Give the file's free pages back to the disk until it has `to` bytes."""
    free = None
    while (left := _count(database, "freelist_count")) != free:
        free, surplus = left, -(-(file_bytes(database) - to) // PAGE)
        if surplus <= 0:
            break
        # a little at a time: others may write in between
        pages = min(VACUUM_PAGES, surplus)
        database.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

"""A machine's own store of what frozen networks said: bytes by key, in one SQLite database.

It holds only what can be computed again, so whatever is wrong with it costs time
and never a result: a damaged entry is dropped, a damaged database is set aside,
and where nothing can be written the run goes on without it.

`PIPELINE_STORE` names its folder (by default one in the user's cache; `off`: no
store), `PIPELINE_STORE_GB` its limit.  Neither is a param: no result depends on
them.  Why SQLite: docs/decisions/0011-sqlite-store.md.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from pipeline.console import say
from pipeline.errors import InputError

FOLDER, LIMIT = "PIPELINE_STORE", "PIPELINE_STORE_GB"
DEFAULT_LIMIT_GB = 20.0
NAME = "store.sqlite"
PAGE = 16384  # bytes
WAIT_S = 30  # for another process to end its transaction
ASKED_AT_ONCE = 128  # keys
TRIM_TO = 0.9  # of the limit, so that not every write has to trim

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

DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}


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


def store_folder() -> Path | None:
    """Where the store is, or None where there is to be none."""
    named = os.environ.get(FOLDER, "")
    if named.strip().lower() == "off":
        return None
    default = platformdirs.user_cache_dir("image-transfer-pipeline", appauthor=False)
    return Path(named or default).expanduser()


def store_limit() -> int:
    """The largest size that the store may have, in bytes.

    Raises:
        InputError: The environment's limit is no size.
    """
    named = os.environ.get(LIMIT, "") or str(DEFAULT_LIMIT_GB)
    try:
        gigabytes = float(named)
    except ValueError:
        gigabytes = math.nan
    if not 0 < gigabytes < math.inf:
        fix = "give a number above 0, or unset it"
        raise InputError(LIMIT, f"{named!r} is no size in GB", fix)
    return int(gigabytes * 1e9)


class Store:
    """One run's access to the store.  Reads and writes never raise for the store's own troubles.

    Several processes may use it at once; SQLite lets one write at a time.  Use it
    from the thread that made it.

    Attributes:
        asked, hits: Entries asked for and found in this run.
        damaged: Entries dropped because their bytes were not those once written.
    """

    def __init__(self, folder: Path | None, limit: int, stage: str) -> None:
        self.asked = self.hits = self.damaged = 0
        self._file = folder / NAME if folder else None
        self._limit, self._stage, self._run = limit, stage, 0
        self._writes = True
        self._database: sqlite3.Connection | None = None
        with self._troubles():
            self._open()

    def read(self, keys: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Look entries up and mark them as used.

        Args:
            keys: 32 bytes each.

        Yields:
            Position in `keys` and value, of those that are there and whole.
        """
        for start in range(0, len(keys), ASKED_AT_ONCE):
            chunk = keys[start : start + ASKED_AT_ONCE]
            self.asked += len(chunk)
            found: dict[bytes, bytes] = {}
            with self._troubles():
                found = self._read(chunk)
            for position, key in enumerate(chunk, start):
                if key in found:
                    self.hits += 1
                    yield position, found[key]

    def write(self, kind: str, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep some (key, value) in one transaction: all of them are kept, or none."""
        with self._troubles():
            if self._database and self._writes:
                self._write(self._database, kind, entries)
                self._make_room(self._database, self._limit)

    def close(self) -> None:
        """Note what this run found, and say what was damaged."""
        with self._troubles():
            if self._database and self._run:
                with self._database:
                    counts = (self.asked, self.hits, self._run)
                    self._database.execute("UPDATE runs SET asked=?, hits=? WHERE id=?", counts)
        if self._database:
            self._database.close()
        if self.damaged:
            say(f"store: {self.damaged} damaged entries were dropped and computed again")

    def _open(self) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            writable = os.access(self._file.parent, os.W_OK)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
        self._database = connect(self._file, writable=writable)
        if not writable:
            raise sqlite3.OperationalError("its folder is read-only")
        self._inode = self._file.stat().st_ino
        with self._database:
            row = self._database.execute("INSERT INTO runs (stage) VALUES (?)", (self._stage,))
            self._run = row.lastrowid or 0

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        if not self._database:
            return {}
        marks = ",".join("?" * len(keys))
        rows = self._database.execute(
            "SELECT key, checksum, bytes.value FROM entries LEFT JOIN bytes "  # noqa: S608
            f"ON bytes.id = entries.value WHERE key IN ({marks})",
            keys,
        ).fetchall()
        whole = {key: value for key, sum_, value in rows if sum_ == checksum(key, value)}
        damaged = [key for key, *_ in rows if key not in whole]
        self.damaged += len(damaged)
        if self._writes:
            with self._database:
                drop(self._database, damaged)
                self._database.execute(
                    f"UPDATE entries SET used=? WHERE used<>? AND key IN ({marks})",  # noqa: S608
                    (self._run, self._run, *keys),
                )
        return whole

    def _write(
        self, database: sqlite3.Connection, kind: str, entries: Iterable[tuple[bytes, bytes]]
    ) -> None:
        with database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT OR IGNORE INTO kinds (name) VALUES (?)", (kind,))
            number = database.execute("SELECT id FROM kinds WHERE name=?", (kind,)).fetchone()[0]
            for key, value in entries:
                drop(database, [key])
                row = database.execute("INSERT INTO bytes (value) VALUES (?)", (value,)).lastrowid
                database.execute(
                    "INSERT INTO entries VALUES (?,?,?,?,?,?)",
                    (key, number, len(value), checksum(key, value), self._run, row),
                )

    def _make_room(self, database: sqlite3.Connection, limit: int) -> None:
        if used_bytes(database) <= limit:
            return
        if trim(database, int(limit * TRIM_TO), self._run) > limit:
            self._writes = False
            say(
                f"store: this run alone needs more than {limit / 1e9:g} GB ({LIMIT}); "
                "the rest of it is not kept"
            )

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        """Turn any trouble of the store's own into a line for the user."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE and self._file:
                self._start_anew(self._file, error)
            else:
                self._writes = False
                say(f"store: {self._file}: {error}; going on without keeping anything in it")

    def _start_anew(self, file: Path, error: sqlite3.Error) -> None:
        if self._database:
            self._database.close()
        self._database, kept = None, file.with_suffix(".damaged")
        try:
            # another run may have set it aside by now
            if file.stat().st_ino == getattr(self, "_inode", file.stat().st_ino):
                file.replace(kept)
                for ending in ("-wal", "-shm"):
                    file.with_name(file.name + ending).unlink(missing_ok=True)
            say(f"store: {file} is damaged ({error}); set aside as {kept.name}, a new one begins")
            self._open()
        except (OSError, sqlite3.Error) as trouble:
            self._writes = False
            say(f"store: {file}: {trouble}; going on without a store")


def open_store(stage: str) -> Store:
    """Open the machine's store for a run of `stage`.

    Raises:
        InputError: The environment's limit is no size.
    """
    return Store(store_folder(), store_limit(), stage)


def connect(file: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the database; make it where it is not there yet."""
    how = "mode=rwc" if writable else "mode=ro&immutable=1"
    database = sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True, timeout=WAIT_S)
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

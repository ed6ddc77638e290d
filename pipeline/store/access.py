"""How a run uses the store."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.console import say, sized
from pipeline.store.database import (
    NAME,
    checksum,
    connect,
    drop,
    file_bytes,
    look_up,
    set_aside,
    shrink,
    trim,
    unwritable,
    used_bytes,
    wait_less,
)
from pipeline.store.settings import FOLDER, LIMIT, in_the_way, store_folder, store_limit

LEFT_FREE = 1_000_000_000  # bytes of the disk: the run has files of its own to write
ASKED_AT_ONCE = 32  # keys, whose values are in memory together
MARKED_AT_ONCE = 256 * ASKED_AT_ONCE  # keys, in one transaction, which costs milliseconds
TRIM_TO = 0.9  # of the limit, so that not every write has to trim
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Store:
    """One run's access to the store.  Reads and writes never raise for the store's own troubles.

    Several processes may use it at once; SQLite lets one write at a time.  Use it
    from one thread at a time.

    Attributes:
        asked, hits: Entries asked for and found in this run.
        damaged: Entries dropped because their bytes were not those once written.
    """

    def __init__(self, folder: Path | None, limit: int, stage: str) -> None:
        self.asked = self.hits = self.damaged = 0
        self._file = folder / NAME if folder else None
        self._limit, self._stage, self._run = limit, stage, 0
        self._writable = self._writes = self._waits = True
        self._database: sqlite3.Connection | None = None
        self._inode: int | None = None  # of the file that was opened
        with self._troubles():
            self._open()

    @property
    def keeps(self) -> bool:
        """Whether anything can be kept at all."""
        return self._database is not None and self._writes

    @property
    def holds(self) -> int:
        """Bytes of entries that can be kept; more would push out one another."""
        return int(self._limit * TRIM_TO)

    def has_room(self, size: int, *, again: int, beside: Path) -> bool:
        """Whether its disk can take entries of `size` bytes.

        Args:
            again: Bytes that the run will put into a file, too, ...
            beside: ... in this folder, on whatever disk.
        """
        with self._troubles():
            if self._file:
                shared = beside.stat().st_dev == self._file.parent.stat().st_dev
                free = shutil.disk_usage(self._file.parent).free
                return size + (again if shared else 0) + LEFT_FREE <= free
        return False

    def read(self, keys: Sequence[bytes], *, probing: bool = False) -> Iterator[tuple[int, bytes]]:
        """Look entries up and mark them as used.

        Args:
            keys: 32 bytes each.
            probing: Whether some may never have been written, which then do not
                count as asked for.

        Yields:
            Position in `keys` and value, of those that are there and whole.
        """
        for start in range(0, len(keys), ASKED_AT_ONCE):
            if start % MARKED_AT_ONCE == 0:
                self._mark(keys[start : start + MARKED_AT_ONCE])
            chunk = keys[start : start + ASKED_AT_ONCE]
            found: dict[bytes, bytes] = {}
            damaged: list[bytes] = []
            with self._troubles():
                if self._database:
                    found, damaged = look_up(self._database, chunk)
            self.asked += len(found) + len(damaged) if probing else len(chunk)
            self._forget(damaged)
            for position, key in enumerate(chunk, start):
                if key in found:
                    self.hits += 1
                    yield position, found[key]

    def write(self, kind: str, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep some (key, value) in one transaction: all of them are kept, or none."""
        with self._troubles():
            if self._database and self._writes and self._disk_has_room():
                self._begin(self._database)
                self._write(self._database, kind, entries)
                self._make_room(self._database)

    def close(self) -> None:
        """Note what this run found, keep the file to the limit, and say what was damaged."""
        with self._troubles():
            if self._database and self._run:
                with self._database:
                    counts = (self.asked, self.hits, self._run)
                    self._database.execute("UPDATE runs SET asked=?, hits=? WHERE id=?", counts)
                if self._writable:
                    self._give_back(self._database)
        if self._database:
            self._database.close()
        if self.damaged:
            say(f"store: {self.damaged} damaged entries were dropped and computed again")

    def _open(self) -> None:
        if self._file is None:
            return
        if blocking := in_the_way(self._file.parent):
            raise NotADirectoryError(f"{blocking} is no folder; name another with {FOLDER}")
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        obstacle = unwritable(self._file)
        self._writable = not obstacle
        self._inode = self._file.stat().st_ino if self._file.exists() else None
        if obstacle and self._inode is None:
            raise PermissionError(f"{self._file.parent} may not be written to: {obstacle}")
        if self._inode and (self._file.is_dir() or not os.access(self._file, os.R_OK)):
            kind = "is a folder" if self._file.is_dir() else "may not be read"
            raise PermissionError(f"it {kind}; name another folder with {FOLDER}")
        self._database = connect(self._file, writable=self._writable)
        if obstacle:
            raise sqlite3.OperationalError(obstacle)
        self._inode = self._inode or self._file.stat().st_ino
        self._begin(self._database)

    def _begin(self, database: sqlite3.Connection) -> None:
        """Note that this run uses the store."""
        if not self._run:
            with database:
                row = database.execute("INSERT INTO runs (stage) VALUES (?)", (self._stage,))
            self._run = row.lastrowid or 0

    def _mark(self, keys: Sequence[bytes]) -> None:
        """Note that this run uses some entries."""
        marks = ",".join("?" * len(keys))
        with self._troubles():
            if self._database and self._writes and self._run:
                with self._database as database:
                    database.execute(
                        f"UPDATE entries SET used=? WHERE used<? AND key IN ({marks})",  # noqa: S608
                        (self._run, self._run, *keys),
                    )

    def _forget(self, damaged: Sequence[bytes]) -> None:
        self.damaged += len(damaged)
        with self._troubles():
            if damaged and self._database and self._writes:
                with self._database as database:
                    drop(database, damaged)

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

    def _disk_has_room(self) -> bool:
        if self._file and shutil.disk_usage(self._file.parent).free < LEFT_FREE:
            self._writes = False
            say(
                f"store: {self._file.parent} has less than {sized(LEFT_FREE)} free on its disk; "
                "the rest of this run is not kept"
            )
        return self._writes

    def _make_room(self, database: sqlite3.Connection) -> None:
        if used_bytes(database) <= self._limit:
            return
        if trim(database, self.holds, self._run) > self._limit:
            self._writes = False
            size = f"{self._limit / 1e9:g} GB ({LIMIT})"
            say(
                f"store: this run and later ones use more than {size}; "
                "the rest of this run is not kept"
            )

    def _give_back(self, database: sqlite3.Connection) -> None:
        """Make a file smaller that has grown beyond the limit, or whose limit was lowered."""
        if used_bytes(database) > self._limit:
            trim(database, self.holds, self._run)
        surplus = file_bytes(database) - self._limit
        if surplus > LEFT_FREE:
            say(f"store: giving back {sized(surplus)}, which {LIMIT} does not allow")
        if surplus > 0:
            shrink(database, self._limit)

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        """Turn any trouble of the store's own into a line for the user."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            damaged = code in DAMAGE or (code == sqlite3.SQLITE_ERROR and not self._run)
            if code == sqlite3.SQLITE_BUSY and self._database:
                self._go_on_beside(self._database)
            elif self._file and self._writable and damaged:
                self._start_anew(self._file, error)
            else:
                self._writes = False
                if damaged and self._database:  # another user's, to set aside
                    self._database.close()
                    self._database = None
                what = "keeping anything in it" if self._database else "it"
                say(f"store: {self._file}: {error}; going on without {what}")

    def _go_on_beside(self, database: sqlite3.Connection) -> None:
        """Do without what could not be written, and try again with what comes next."""
        if self._waits:
            self._waits = False
            wait_less(database)
            say(f"store: another process holds {self._file}; keeping only what it lets through")

    def _start_anew(self, file: Path, error: Exception) -> None:
        if self._database:
            self._database.close()
        self._database, self._run = None, 0
        try:
            if file.stat().st_ino == self._inode:  # or else another run has set it aside by now
                kept = set_aside(file)
                say(f"store: {file} is damaged ({error}); set aside as {kept.name}")
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

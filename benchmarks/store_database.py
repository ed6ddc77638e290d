"""LMDB and SQLite as a store of values by key, side by side; needs `pip install lmdb`.

Keys are the SHA-256 of random values.  Both get the same values and keys in the
same order, round after round, and the medians count.  SQLite is used as
docs/decisions/0011-sqlite-store.md describes: WAL, large pages, values apart.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.project import require
from pipeline.store.database import PAGE

Item = tuple[bytes, bytes]  # key, value
MEASURES = ("write, MB/s", "read, MB/s", "read with SHA-256, MB/s", "disk / payload")
BATCH, CHUNK = 64, 128  # values in a transaction, and asked for at once
MAP_SIZE = 1 << 36  # LMDB wants its largest size named beforehand


class Lmdb:
    """One file that is mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self.lmdb: Any = import_module("lmdb")
        self.file = self.lmdb.open(str(folder / "lmdb"), subdir=False, map_size=MAP_SIZE)

    def put(self, items: Sequence[Item]) -> None:
        """Write some values in one transaction."""
        with self.file.begin(write=True) as transaction:
            for key, value in items:
                transaction.put(key, value)

    def get(self, keys: Sequence[bytes]) -> Iterator[Item]:
        """Read some values in one transaction."""
        with self.file.begin() as transaction:
            yield from ((key, transaction.get(key)) for key in keys)

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()


class Sqlite:
    """Entries in one table, values in another."""

    def __init__(self, folder: Path) -> None:
        self.file = sqlite3.connect(folder / "sqlite", isolation_level=None)
        self.file.executescript(
            f"PRAGMA page_size={PAGE}; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, key BLOB UNIQUE);"
            "CREATE TABLE IF NOT EXISTS bytes (id INTEGER PRIMARY KEY, value BLOB);"
        )

    def put(self, items: Sequence[Item]) -> None:
        """Write some values in one transaction."""
        self.file.execute("BEGIN IMMEDIATE")
        for key, value in items:
            row = self.file.execute("INSERT INTO entries (key) VALUES (?)", (key,)).lastrowid
            self.file.execute("INSERT INTO bytes VALUES (?, ?)", (row, value))
        self.file.execute("COMMIT")

    def get(self, keys: Sequence[bytes]) -> Iterator[Item]:
        """Read some values in one question."""
        marks = ",".join("?" * len(keys))
        yield from self.file.execute(
            f"SELECT key, value FROM entries JOIN bytes USING (id) WHERE key IN ({marks})",  # noqa: S608
            keys,
        )

    def close(self) -> None:
        """Empty the log into the file and let go of it."""
        self.file.close()


STORES: dict[str, Callable[[Path], Lmdb | Sqlite]] = {"LMDB": Lmdb, "SQLite": Sqlite}


def main(words: Sequence[str] | None = None) -> int:
    """Measure each size of values."""
    options = report.parser("store_database", __doc__)
    sets = ["20000x5000", "2000x250000"]
    options.add_argument("--sets", nargs="+", default=sets, metavar="COUNTxBYTES")
    options.add_argument("--rounds", type=int, default=3, help="medians are shown")
    chosen = report.parse(options, words)
    try:
        lmdb = import_module("lmdb")
    except ImportError:
        raise SystemExit("lmdb is not installed: pip install lmdb") from None
    parts = [f"py-lmdb {lmdb.__version__}, SQLite {sqlite3.sqlite_version}, warm reads."]
    for name in chosen.sets:
        count, size = map(int, name.split("x"))
        items = [(sha256(value).digest(), value) for value in map(os.urandom, [size] * count)]
        rounds: dict[str, list[list[float]]] = {store: [] for store in STORES}
        for _ in range(chosen.rounds):
            for store, found in rounds.items():
                with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
                    found.append(measure(store, items, Path(folder)))
        medians = {
            s: [statistics.median(m) for m in zip(*r, strict=True)] for s, r in rounds.items()
        }
        lines = [
            (what, one, other, f"{other / one:.2f}")
            for what, one, other in zip(MEASURES, *medians.values(), strict=True)
        ]
        header = (f"{count} values of {size} bytes", *STORES, "SQLite / LMDB")
        parts.append(report.table(header, lines))
    report.write(chosen, *parts)
    return 0


def measure(name: str, items: list[Item], folder: Path) -> list[float]:
    """The figures of MEASURES for one store."""
    megabytes = sum(len(value) for _, value in items) / 1e6
    started = time.perf_counter()
    store = STORES[name](folder)
    for at in range(0, len(items), BATCH):
        store.put(items[at : at + BATCH])
    store.close()
    written = time.perf_counter() - started
    disk = sum(file.stat().st_blocks * 512 for file in folder.iterdir()) / 1e6

    keys = [key for key, _ in items]
    random.Random(1).shuffle(keys)  # noqa: S311
    store = STORES[name](folder)

    def read(whole: Callable[[bytes, bytes], bool]) -> float:
        started, seen = time.perf_counter(), 0
        for at in range(0, len(keys), CHUNK):
            seen += sum(whole(key, value) for key, value in store.get(keys[at : at + CHUNK]))
        require(seen == len(keys), f"{name}: every value is read whole")
        return time.perf_counter() - started

    read(lambda _, value: bool(value))  # warms
    plain = read(lambda _, value: bool(value))
    checked = read(lambda key, value: sha256(value).digest() == key)
    store.close()
    return [*(megabytes / seconds for seconds in (written, plain, checked)), disk / megabytes]


if __name__ == "__main__":
    raise SystemExit(main())

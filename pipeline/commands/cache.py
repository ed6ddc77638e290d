"""Cache: show, trim, clear or verify the store of frozen layers' results and what ingest saw."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from pipeline.console import sized
from pipeline.errors import InputError
from pipeline.store.access import DAMAGE
from pipeline.store.database import (
    DAMAGED,
    NAME,
    ForeignError,
    closed_to_writes,
    connect,
    count_misfiled,
    damaged_keys,
    delete,
    drop,
    drop_misfiled,
    file_bytes,
    kinds,
    last_runs,
    shrink,
    trim,
    unwritable,
    used_bytes,
)
from pipeline.store.settings import (
    FOLDER,
    LIMIT,
    in_the_way,
    lowest_there,
    store_folder,
    store_limit,
)

ELSEWHERE = f"name another folder with {FOLDER}"
NO_RUN = 2**62  # later than any: nothing is too new to be trimmed


def main(words: list[str]) -> int:
    """Do one of the four; without a word, show."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline cache",
        description=f"{__doc__}\n\nDeleting any of it changes times, not results.",
        epilog=f"{FOLDER} names the store's folder, or is `off`; {LIMIT} is its limit in GB.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("show", help="size, entries by kind, hits of the last runs (default)")
    trimming = actions.add_parser("trim", help="forget the least recently used entries")
    trimming.add_argument("gigabytes", type=float, nargs="?", help=f"to keep (default: {LIMIT})")
    actions.add_parser("clear", help="forget all")
    actions.add_parser("verify", help="read every entry; forget and count the damaged ones")
    chosen = parser.parse_args(words)

    folder = store_folder()
    if folder is None:
        print(f"There is no store: {FOLDER} is off.")
        return 0
    file = folder / NAME
    _check_usable(folder, file)
    if chosen.action == "clear" and (aside := file.with_suffix(DAMAGED)).is_file():
        aside.unlink()
        print(f"{aside}, set aside as damaged, is deleted")
    if (aside := file.with_suffix(DAMAGED)).is_file():
        print(f"{aside}: {sized(aside.stat().st_size)}, damaged and set aside; `clear` deletes it")
    if not file.is_file():
        print(f"The store {folder} is empty.")
        return 0
    limit = store_limit() if getattr(chosen, "gigabytes", None) is None else chosen.gigabytes * 1e9
    if not 0 <= limit < math.inf:
        raise InputError("cache trim", f"{chosen.gigabytes:g} GB is no size", "give 0 or more")
    try:
        closed = unwritable(file)
        database = connect(file, writable=not closed)
        try:
            whole = chosen.action != "verify" or _verify(database, closed)
            if chosen.action in {"trim", "clear"}:
                _trim(database, int(limit) if chosen.action == "trim" else 0)
            _show(database, file)
        finally:
            database.close()
    except ForeignError as error:
        raise InputError(file, "is another program's database", ELSEWHERE) from error
    except sqlite3.Error as error:
        full = _is_full(file, error)
        if chosen.action == "clear" and (full or _code(error) in DAMAGE):
            delete(file)
            why = "its disk is full" if full else "it was damaged"
            print(f"{file} is deleted: {why}")
            return 0
        raise InputError(file, f"cannot be used: {error}", _fix(file, full=full)) from error
    return 0 if whole else 1


def _check_usable(folder: Path, file: Path) -> None:
    """Refuse a place where no run can keep anything: it would look empty."""
    if obstacle := in_the_way(folder):
        raise InputError(obstacle, "is no folder, so nothing is kept", ELSEWHERE)
    lowest = lowest_there(folder)
    if not os.access(lowest, os.R_OK | os.X_OK if lowest == folder else os.X_OK):
        raise InputError(lowest, "may not be looked into", f"allow it, or {ELSEWHERE}")
    if file.is_dir():
        raise InputError(file, "is a folder, so nothing is kept", ELSEWHERE)
    if file.is_file() and not os.access(file, os.R_OK):
        raise InputError(file, "may not be read", _opening([file]))


def _is_full(file: Path, error: sqlite3.Error) -> bool:
    """Whether it is the disk's being full that SQLite met."""
    return _code(error) == sqlite3.SQLITE_FULL or (
        bool(unwritable(file)) and not closed_to_writes(file)
    )


def _code(error: sqlite3.Error) -> int:
    """SQLite's own, or 0 of what Python's module says."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _fix(file: Path, *, full: bool) -> str:
    if full:
        return "make room on its disk; or `python -m pipeline cache clear`, which needs none"
    if closed := closed_to_writes(file):
        return _opening(closed)
    return "delete it: what it held is computed again; or wait for what uses it to end"


def _opening(closed: Sequence[Path]) -> str:
    """How to come by what this user may not read or write."""
    own = all(path.stat().st_uid == os.geteuid() for path in closed)
    words = shlex.join(["chmod", "u+rw", *map(str, closed)])
    return f"{f'`{words}`' if own else 'let its owner do that'}, or {ELSEWHERE}"


def _trim(database: sqlite3.Connection, limit: int) -> None:
    before = file_bytes(database)
    trim(database, limit, NO_RUN)
    shrink(database)
    print(f"freed {sized(before - file_bytes(database))}")


def _verify(database: sqlite3.Connection, closed: str) -> bool:
    """Read every entry; forget the damaged ones unless the store is `closed` to writes."""
    damaged = list(damaged_keys(database))
    count = len(damaged) + count_misfiled(database)
    if not closed:
        drop_misfiled(database)
        with database:
            drop(database, damaged)
    became = f"not forgotten: {closed}" if closed else "forgotten"
    print(f"{count} damaged entries, {became}" if count else "every entry is whole")
    return not count


def _show(database: sqlite3.Connection, file: Path) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    used, size, limit = used_bytes(database), file_bytes(database), store_limit()
    beyond = f", in a file of {sized(size)}" if size > limit else ""
    print(f"{file}: {sized(used)} of at most {sized(limit)}{beyond}")
    table = Table("kind", "entries", "size")
    for kind in kinds(database):
        table.add_row(kind.name, f"{kind.entries}", sized(kind.size))
    hits = Table("last run of", "asked for", "found", "hit rate")
    for run in last_runs(database):
        hits.add_row(run.stage, f"{run.asked}", f"{run.hits}", f"{run.hits / run.asked:.1%}")
    for shown in (table, hits):
        if shown.row_count:
            Console().print(shown)

"""The store gives back what was put in or nothing, and never stops a run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.__main__ import main
from pipeline.errors import InputError
from pipeline.store import database
from pipeline.store.access import Store, open_store
from pipeline.store.database import APPLICATION, NAME, connect, used_bytes
from pipeline.store.settings import store_folder
from tests.conftest import ROOT

GB = 10**9


def key(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def opened(folder: Path, limit: int = GB) -> Store:
    return Store(folder, limit, "test")


def filled_store(folder: Path, count: int = 300, size: int = 5000) -> dict[bytes, bytes]:
    entries = {key(n): os.urandom(size) for n in range(count)}
    store = opened(folder)
    store.write("noise", entries.items())
    store.close()
    return entries


def found(folder: Path, entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
    store = opened(folder)
    keys = list(entries)
    result = {keys[position]: value for position, value in store.read(keys)}
    store.close()
    return result


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.binary(max_size=40_000)))
def test_what_was_put_in_comes_back(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("store")
    store = opened(folder)
    store.write("noise", entries.items())
    store.close()

    assert found(folder, {**entries, key("never put in"): b""}) == entries


def test_an_entry_may_be_put_in_again(tmp_path):
    store = opened(tmp_path)
    store.write("one", [(key(1), b"old"), (key(1), b"new")])
    store.write("two", [(key(1), b"newest")])
    store.close()

    assert found(tmp_path, {key(1): b""}) == {key(1): b"newest"}
    database = sqlite3.connect(tmp_path / NAME)
    assert database.execute("SELECT count(*) FROM bytes").fetchone() == (1,)


def test_a_damaged_entry_is_dropped_and_reported(tmp_path, capsys):
    """Flipped bytes, a shorter value, a value of no bytes at all, and one that has gone."""
    entries = filled_store(tmp_path, 8)
    database = sqlite3.connect(tmp_path / NAME)
    values = dict(database.execute("SELECT key, value FROM entries"))
    spoilt = list(entries)[:4]
    for victim, change in zip(
        spoilt,
        ("value = zeroblob(5000)", "value = substr(value, 9)", "value = 7", "id = id + 1000"),
        strict=True,
    ):
        database.execute(f"UPDATE bytes SET {change} WHERE id = ?", (values[victim],))  # noqa: S608
    database.commit()
    database.close()

    whole = found(tmp_path, entries)

    assert whole == {k: v for k, v in entries.items() if k not in spoilt}
    assert "4 damaged entries were dropped" in capsys.readouterr().err
    found(tmp_path, entries)
    assert "damaged" not in capsys.readouterr().err  # they are gone


@pytest.mark.parametrize("damage", ["truncated", "no database", "header", "other columns"])
def test_a_damaged_database_is_set_aside(tmp_path, capsys, damage):
    entries = filled_store(tmp_path)
    file = tmp_path / NAME
    content = file.read_bytes()
    if damage == "other columns":
        file.unlink()
        database = sqlite3.connect(file)
        database.execute(f"PRAGMA application_id={APPLICATION}")
        database.execute("CREATE TABLE entries (name TEXT)")
        database.close()
    else:
        half = content[: len(content) // 2]
        spoilt = {"truncated": half, "no database": b"x" * 99, "header": b"\xff" * 100 + content}
        file.write_bytes(spoilt[damage])

    store = opened(tmp_path)
    kept = dict(store.read(list(entries)))
    store.write("noise", entries.items())
    store.close()

    keys = list(entries)
    assert all(entries[keys[position]] == value for position, value in kept.items())
    assert "set aside as store.damaged" in capsys.readouterr().err
    assert found(tmp_path, entries) == entries
    assert (tmp_path / "store.damaged").is_file()


def test_a_run_whose_database_is_set_aside_counts_anew_in_the_next(tmp_path):
    """Else its entries would look newer than those of any run to come."""
    for _ in range(5):
        filled_store(tmp_path, count=1)
    store = opened(tmp_path)
    store._start_anew(tmp_path / NAME, sqlite3.DatabaseError("malformed"))
    store.write("noise", [(key(1), b"value")])
    store.close()

    kept = sqlite3.connect(tmp_path / NAME)
    (used,) = kept.execute("SELECT max(used) FROM entries").fetchone()
    (run,) = kept.execute("SELECT max(id) FROM runs").fetchone()
    kept.close()
    assert used == run


@pytest.mark.parametrize("statement", ["CREATE TABLE runs (id, photo)", "CREATE TABLE mine (id)"])
@pytest.mark.parametrize("named", [True, False])  # a file's tables may all be named as ours are
@pytest.mark.usefixtures("shown")
def test_another_programs_database_is_left_alone(tmp_path, capsys, statement, named):
    foreign = sqlite3.connect(tmp_path / NAME)
    foreign.execute(statement)
    if named:
        foreign.execute("PRAGMA application_id=252006675")
    foreign.close()
    before = (tmp_path / NAME).read_bytes()

    store = opened(tmp_path)
    store.write("noise", [(key(1), b"value")])
    assert list(store.read([key(1)])) == []
    store.close()

    assert "it is another program's database; going on" in capsys.readouterr().err
    assert main(["cache", "clear"]) == 1
    assert "fix: name another folder with PIPELINE_STORE" in capsys.readouterr().err
    assert (tmp_path / NAME).read_bytes() == before


def test_a_store_that_another_process_holds_is_read(tmp_path, monkeypatch, capsys):
    """That may be stopped in a write, for hours."""
    entries = filled_store(tmp_path)
    monkeypatch.setattr(database, "WAIT_S", 0.2)
    holder = sqlite3.connect(tmp_path / NAME)
    holder.execute("BEGIN IMMEDIATE")

    store = opened(tmp_path)
    keys = list(entries)
    assert dict(store.read(keys)) == {n: entries[k] for n, k in enumerate(keys)}
    holder.close()
    store.write("noise", [(key(1), b"value")])
    store.close()

    assert "keeping only what it lets through" in capsys.readouterr().err
    assert found(tmp_path, {key(1): b"value"}) == {key(1): b"value"}


@pytest.mark.usefixtures("shown")
def test_a_file_that_may_be_read_but_not_written_is_read(tmp_path, capsys, monkeypatch):
    """As root every file is writable, so the question is answered for it."""
    entries = filled_store(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, how: Path(path).is_dir() or how != os.W_OK)

    assert found(tmp_path, entries) == entries
    assert main(["cache", "trim", "0"]) == 1

    said = capsys.readouterr().err
    assert "it is read-only; going on without keeping" in said
    assert f"fix: `chmod u+rw {tmp_path / NAME}`, or name another folder" in said
    monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    assert main(["cache", "clear"]) == 1
    assert "fix: let its owner do that, or name another folder" in capsys.readouterr().err


def test_flipped_bytes_anywhere_never_give_a_wrong_value(tmp_path):
    """Whatever SQLite makes of it, what is read is what was written."""
    entries = filled_store(tmp_path, 60)
    content = (tmp_path / NAME).read_bytes()
    for start in range(0, len(content) - 64, len(content) // 25):
        flipped = bytes(255 - byte for byte in content[start : start + 64])
        (tmp_path / NAME).write_bytes(content[:start] + flipped + content[start + 64 :])

        assert found(tmp_path, entries).items() <= entries.items()
        for left in tmp_path.iterdir():
            left.unlink()


def test_a_full_disk_is_a_warning(tmp_path, capsys):
    """SQLite's own limit on pages fails as a full disk does."""
    entries = filled_store(tmp_path)
    store = opened(tmp_path)
    assert store._database is not None
    store._database.execute("PRAGMA max_page_count=1")
    store.write("noise", [(key(f"more {n}"), os.urandom(90_000)) for n in range(9)])
    store.write("noise", [(key("and more"), b"more")])

    assert len(list(store.read(list(entries)))) == len(entries)
    store.close()
    said = capsys.readouterr().err
    assert said.count("database or disk is full; going on without keeping") == 1
    assert found(tmp_path, entries) == entries


@pytest.mark.usefixtures("shown")
def test_a_disk_that_lacks_the_room_for_any_log_is_read(tmp_path, capsys, monkeypatch):
    entries = filled_store(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))

    assert found(tmp_path, entries) == entries
    assert "its disk is full; going on without keeping" in capsys.readouterr().err
    assert main(["cache"]) == 0
    assert main(["cache", "trim", "0"]) == 1
    said = capsys.readouterr().err
    assert "fix: make room on its disk; or `python -m pipeline cache clear`" in said
    assert found(tmp_path, entries) == entries


def test_clear_frees_a_full_disk(tmp_path, shown, monkeypatch):
    filled_store(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))

    assert shown("clear") == (0, f"{tmp_path / NAME} is deleted: its disk is full\n")
    assert not (tmp_path / NAME).exists()


def test_a_folder_in_the_stores_place_is_named(tmp_path, capsys):
    (tmp_path / NAME).mkdir()

    store = opened(tmp_path)
    store.write("noise", [(key(1), b"value")])

    assert list(store.read([key(1)])) == []
    store.close()
    said = capsys.readouterr().err
    assert "it is a folder; name another folder with PIPELINE_STORE; going on without it" in said


def test_a_store_that_may_not_be_read_is_named(tmp_path):
    filled_store(tmp_path)
    (tmp_path / NAME).chmod(0o200)
    code = "from pipeline.store.access import open_store; open_store('test').close()"

    run = unprivileged("-c", code, store=tmp_path)
    cache = unprivileged("-m", "pipeline", "cache", store=tmp_path)

    assert "it may not be read; name another folder with PIPELINE_STORE; going on" in run
    assert f"{tmp_path / NAME}: may not be read" in cache
    assert f"fix: `chmod u+rw {tmp_path / NAME}`" in cache


def test_the_store_leaves_the_disk_room_for_the_run(tmp_path, capsys, monkeypatch):
    entries = filled_store(tmp_path)
    monkeypatch.setattr("pipeline.store.access.LEFT_FREE", 10**18)
    store = opened(tmp_path)
    for name in ("one", "two"):
        store.write("noise", [(key(name), b"value")])

    assert list(store.read([key("one"), key("two")])) == []
    store.close()
    assert capsys.readouterr().err.count("GB free on its disk; the rest of this run") == 1
    assert found(tmp_path, entries) == entries


def test_a_folder_that_vanishes_has_no_room_and_ends_no_run(tmp_path, capsys):
    store = opened(tmp_path / "store")
    assert store.has_room(1, again=1, beside=tmp_path)
    shutil.rmtree(tmp_path / "store")

    assert not store.has_room(1, again=1, beside=tmp_path)
    assert "going on without" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    store = opened(tmp_path / "file" / "store")
    store.write("noise", [(key(1), b"value")])

    assert list(store.read([key(1)])) == []
    store.close()
    said = capsys.readouterr().err
    assert f"{tmp_path / 'file'} is no folder; name another with PIPELINE_STORE; going on" in said


def test_a_read_only_folder_is_read(tmp_path, capsys, monkeypatch):
    """As root every folder is writable, so the question is answered for it."""
    entries = filled_store(tmp_path)
    before = (tmp_path / NAME).read_bytes()
    monkeypatch.setattr(os, "access", lambda _, how: how != os.W_OK)

    assert found(tmp_path, entries) == entries
    assert "it is read-only; going on without keeping" in capsys.readouterr().err
    assert (tmp_path / NAME).read_bytes() == before


def test_a_read_only_folder_without_a_store_is_named(tmp_path):
    place = tmp_path / "place"
    place.mkdir(mode=0o555)
    code = "from pipeline.store.access import open_store; open_store('test').close()"

    said = unprivileged("-c", code, store=place)

    assert f"{place} may not be written to: it is read-only; going on without it" in said


def test_the_least_recently_used_make_room(tmp_path):
    old, new = ({key((age, n)): os.urandom(5000) for n in range(100)} for age in ("old", "new"))
    for entries in (old, new):
        store = opened(tmp_path)
        store.write("noise", entries.items())
        store.close()
    found(tmp_path, dict(list(old.items())[:50]))  # used again

    store = opened(tmp_path, limit=1_000_000)
    store.write("noise", [(key("newest"), b"newest")])
    store.close()

    assert set(list(old)[:50]) <= set(found(tmp_path, old))
    assert len(found(tmp_path, new)) < len(new)
    database = sqlite3.connect(tmp_path / NAME)
    assert used_bytes(database) <= 1_000_000


@pytest.mark.parametrize("writes", ["something", "nothing", "what the disk lacks room for"])
def test_a_lowered_limit_is_that_of_the_file(tmp_path, monkeypatch, writes):
    filled_store(tmp_path, count=1000)
    if "lacks" in writes:
        monkeypatch.setattr("pipeline.store.access.LEFT_FREE", 10**18)
    store = opened(tmp_path, limit=1_000_000)
    if writes != "nothing":
        store.write("noise", [(key("newest"), b"newest")])
    store.close()

    size = (tmp_path / NAME).stat().st_size
    assert 900_000 <= size <= 1_000_000  # no more is given back than that takes
    assert found(tmp_path, {key(n): b"" for n in range(1000)})


def test_what_is_deleted_is_not_written_anew(tmp_path):
    """Some systems' SQLite writes zeros over it, unless it is told."""
    filled_store(tmp_path)
    database = connect(tmp_path / NAME, writable=True)

    assert database.execute("PRAGMA secure_delete").fetchone() == (0,)
    database.close()


def test_a_run_does_not_drive_out_its_own(tmp_path, capsys):
    store = opened(tmp_path, limit=300_000)
    for n in range(20):
        store.write("noise", [(key((n, m)), os.urandom(5000)) for m in range(10)])
    store.close()

    said = capsys.readouterr().err
    assert said.count("this run and later ones use more than 0.0003 GB") == 1
    database = sqlite3.connect(tmp_path / NAME)
    assert 250_000 < used_bytes(database) < 600_000


WRITER = """
import sys, os, hashlib
from pathlib import Path
from pipeline.store.access import Store
store = Store(Path(sys.argv[1]), 10**9, "writer")
print("ready", flush=True)
for n in range(int(sys.argv[3])):
    k = hashlib.sha256(f"{sys.argv[2]} {n}".encode()).digest()
    store.write("noise", [(k, k * 1000), (hashlib.sha256(k).digest(), k)])
    print(n, flush=True)
store.close()
"""


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path):
    both = [writer(tmp_path, name, 150) for name in "ab"]
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0

    keys = [key(f"{name} {n}") for name in "ab" for n in range(150)]
    assert found(tmp_path, dict.fromkeys(keys, b"")) == {k: k * 1000 for k in keys}


def test_a_killed_writer_loses_nothing_that_was_put_in(tmp_path):
    """And a transaction is there whole or not at all."""
    with writer(tmp_path, "a", 100_000) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        seen += [int(line) for line in process.stdout.read().split()]

    keys = [key(f"a {n}") for n in range(seen[-1] + 2)]
    firsts = found(tmp_path, dict.fromkeys(keys, b""))
    seconds = found(tmp_path, dict.fromkeys((hashlib.sha256(k).digest() for k in keys), b""))
    assert set(keys[: seen[-1] + 1]) <= set(firsts)
    assert len(firsts) == len(seconds)


def test_a_writer_waits_for_another(tmp_path):
    filled_store(tmp_path)
    process = writer(tmp_path, "a", 4000)
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    count = "SELECT count(*) FROM entries"
    written = other.execute(count).fetchone()
    time.sleep(0.5)
    assert process.poll() is None
    assert other.execute(count).fetchone() == written
    other.execute("COMMIT")
    process.communicate(timeout=60)

    last = key("a 3999")
    assert found(tmp_path, {last: b""}) == {last: last * 1000}


def test_a_first_run_waits_for_another_that_makes_the_database(tmp_path, capsys):
    """SQLite itself does not wait where a database becomes one with a log."""
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None, check_same_thread=False)
    other.execute(f"PRAGMA application_id={APPLICATION}")
    other.execute("CREATE TABLE kinds (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    other.execute("BEGIN IMMEDIATE")
    timer = Timer(1.0, other.execute, ["COMMIT"])
    timer.start()

    assert found(tmp_path, filled_store(tmp_path))

    assert "going on without" not in capsys.readouterr().err


def test_what_is_found_counts_though_it_cannot_be_marked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.store.database.WAIT_S", 0.1)
    entries = filled_store(tmp_path)
    store = opened(tmp_path)
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    assert len(list(store.read(list(entries)))) == len(entries)

    assert capsys.readouterr().err.count("keeping only what it lets through") == 1


def test_a_run_keeps_again_once_another_process_lets_it(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.store.database.WAIT_S", 0.1)
    store = opened(tmp_path)
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.write("noise", [(key(1), b"while held")])
    other.execute("COMMIT")
    store.write("noise", [(key(2), b"afterwards")])
    store.close()

    assert found(tmp_path, {key(1): b"", key(2): b""}) == {key(2): b"afterwards"}


def test_an_older_run_does_not_make_entries_look_old(tmp_path):
    entries = filled_store(tmp_path)
    older, newer = opened(tmp_path), opened(tmp_path)
    for store in (newer, older):
        list(store.read(list(entries)))
        store.close()

    database = sqlite3.connect(tmp_path / NAME)
    assert database.execute("SELECT DISTINCT used FROM entries").fetchall() == [(newer._run,)]


def test_the_environment_says_where_and_how_large(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STORE", str(tmp_path / "here"))
    assert store_folder() == tmp_path / "here"
    monkeypatch.setenv("PIPELINE_STORE", "off")
    assert store_folder() is None
    monkeypatch.delenv("PIPELINE_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store_folder() == tmp_path / "image-transfer-pipeline"
    for size in ("lots", "1e300"):
        monkeypatch.setenv("PIPELINE_STORE_GB", size)
        with pytest.raises(InputError, match=f"PIPELINE_STORE_GB: '{size}' is no size in GB"):
            open_store("test")
    monkeypatch.setenv("PIPELINE_STORE", "~nobody-of-that-name/store")
    with pytest.raises(InputError, match="PIPELINE_STORE: '~nobody-of-that-name/store'"):
        store_folder()


def test_others_may_not_look_in(tmp_path):
    opened(tmp_path / "new" / "store").close()

    assert (tmp_path / "new" / "store").stat().st_mode & 0o077 == 0


@pytest.fixture
def shown(tmp_path, monkeypatch, capsys):
    """Run the command on a store of 300 entries; give its status and what it said."""
    monkeypatch.setenv("PIPELINE_STORE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["cache", *words])
        return status, capsys.readouterr().out

    return run


def test_cache_shows_size_kinds_and_hits(tmp_path, shown):
    entries = filled_store(tmp_path)
    found(tmp_path, {**entries, **{key(f"absent {n}"): b"" for n in range(100)}})

    status, said = shown()

    assert status == 0
    assert f"{tmp_path / NAME}: " in said
    assert "MB of at most 25.00 GB" in said
    assert re.search(r"noise +│ +300 +│ +1.5 MB", said)
    assert re.search(r"test +│ +400 +│ +300 +│ +75.0%", said)


def test_cache_shows_what_a_run_under_way_has_kept(tmp_path, shown):
    """It lies in SQLite's log until that is folded in."""
    store = opened(tmp_path)
    store.write("under way", [(key(1), b"value")])

    assert "under way" in shown()[1]
    store.close()


def test_cache_trims_clears_and_gives_the_space_back(tmp_path, shown):
    filled_store(tmp_path)
    before = (tmp_path / NAME).stat().st_size

    status, said = shown("trim", "0.001")
    assert (status, "freed" in said) == (0, True)
    trimmed = (tmp_path / NAME).stat().st_size
    assert trimmed <= 1_000_000 < before

    assert shown("trim", "nan")[0] == 1
    set_aside = tmp_path / "store.damaged"
    set_aside.write_text("of an earlier run")
    assert "store.damaged: 17 bytes, damaged and set aside" in shown()[1]
    assert shown("clear")[0] == 0
    assert not set_aside.exists()
    assert (tmp_path / NAME).stat().st_size < trimmed
    assert "noise" not in shown()[1]


def test_cache_verify_counts_and_forgets_damaged_entries(tmp_path, shown):
    filled_store(tmp_path)
    status, said = shown("verify")
    assert (status, "every entry is whole" in said) == (0, True)
    database = sqlite3.connect(tmp_path / NAME)
    database.execute("UPDATE bytes SET value = zeroblob(5000) WHERE id < 4")
    database.commit()

    status, said = shown("verify")

    assert (status, "3 damaged entries, forgotten" in said) == (1, True)
    assert shown("verify")[0] == 0


def test_cache_verify_reads_what_it_may_not_write(tmp_path, shown, monkeypatch):
    filled_store(tmp_path)
    database = sqlite3.connect(tmp_path / NAME)
    database.execute("UPDATE bytes SET value = zeroblob(5000) WHERE id < 4")
    database.execute("UPDATE entries SET used = 'x' WHERE value = 9")
    database.commit()
    database.close()
    monkeypatch.setattr("pipeline.commands.cache.unwritable", lambda _: "it is read-only")

    for _ in range(2):
        status, said = shown("verify")

        assert (status, "4 damaged entries, not forgotten: it is read-only" in said) == (1, True)


def test_cache_without_a_store_says_so(tmp_path, shown, monkeypatch):
    assert shown() == (0, f"The store {tmp_path} is empty.\n")
    monkeypatch.setenv("PIPELINE_STORE", "off")
    assert shown() == (0, "There is no store: PIPELINE_STORE is off.\n")


@pytest.mark.parametrize("kind", ["file", "dead link", "below a file", "folder for the file"])
def test_cache_of_a_place_that_can_be_no_store_is_an_error(tmp_path, monkeypatch, capsys, kind):
    """It would look empty, run after run."""
    place = obstacle = tmp_path / "place"
    if kind == "dead link":
        place.symlink_to(tmp_path / "nowhere")
    elif kind == "folder for the file":
        obstacle = place / NAME
        obstacle.mkdir(parents=True)
    else:
        place.write_text("")
    monkeypatch.setenv("PIPELINE_STORE", str(place / "x" if kind == "below a file" else place))

    assert main(["cache"]) == 1

    said = capsys.readouterr().err
    assert f"{obstacle}: is " in said
    assert "nothing is kept\n  fix: name another folder with PIPELINE_STORE" in said


def unprivileged(*words: str, store: Path) -> str:
    """Run Python as one to whom files may be forbidden, as root too; return what it said."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*drop, sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PIPELINE_STORE": str(store)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


@pytest.mark.parametrize("below", [".", "x", "x/y"])
def test_cache_at_or_below_a_folder_that_may_not_be_entered_is_an_error(tmp_path, below):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o600)

    said = unprivileged("-m", "pipeline", "cache", store=locked / below)

    assert f"error: {locked}: may not be looked into\n  fix: allow it, or name" in said


def test_cache_below_a_folder_that_may_be_entered_but_not_listed_is_none_yet(tmp_path):
    (tmp_path / "others").mkdir(mode=0o311)

    assert not unprivileged("-m", "pipeline", "cache", store=tmp_path / "others/x")


def test_cache_of_what_is_no_database_is_an_error(tmp_path, shown, capsys):
    (tmp_path / NAME).write_bytes(b"no database at all" * 99)

    assert main(["cache"]) == 1

    said = capsys.readouterr().err
    assert "cannot be used: file is not a database" in said
    assert "fix: delete it" in said
    assert shown("clear") == (0, f"{tmp_path / NAME} is deleted: it was damaged\n")
    assert shown() == (0, f"The store {tmp_path} is empty.\n")


def test_cache_refuses_a_negative_size(tmp_path, shown, capsys):
    filled_store(tmp_path)

    assert main(["cache", "trim", "-1"]) == 1

    assert "cache trim: -1 GB is no size" in capsys.readouterr().err


def test_text_where_bytes_belong_is_dropped_as_damage(tmp_path):
    """Which SQLite hands over as text, and Python cannot decode."""
    filled_store(tmp_path, count=2)
    database = sqlite3.connect(tmp_path / NAME)
    database.execute("UPDATE bytes SET value = CAST(x'ff80' AS TEXT)")
    database.commit()
    database.close()

    store = opened(tmp_path)
    assert list(store.read([key(0), key(1)])) == []
    store.close()

    assert store.damaged == 2


@pytest.mark.parametrize("action", ["verify", "trim", "clear"])
@pytest.mark.parametrize(
    ("column", "damage"),
    [
        *(
            (name, "CAST(x'ff80' AS TEXT)")
            for name in ("key", "checksum", "value", "kind", "size")
        ),
        ("used", "CAST(x'ff80' AS TEXT)"),
        ("size", "NULL"),
    ],
)
def test_damage_to_a_column_of_an_entry_neither_stops_nor_stays(
    tmp_path, shown, column, damage, action
):
    """One bit of a record's header makes text of its bytes, or nothing."""
    filled_store(tmp_path, count=2)
    database = sqlite3.connect(tmp_path / NAME)
    database.execute(
        f"UPDATE entries SET {column} = {damage} WHERE key = ?",  # noqa: S608
        (min(key(0), key(1)),),  # the first to be trimmed
    )
    database.commit()
    database.close()
    seen = action == "verify" and column in {"key", "checksum", "value", "used"}

    assert shown(action, *(["0"] if action == "trim" else []))[0] == seen
    assert shown("verify")[0] == 0
    assert opened(tmp_path).keeps
    if action != "verify":
        assert "noise" not in shown()[1]


@pytest.mark.parametrize(("table", "column"), [("kinds", "name"), ("runs", "stage")])
def test_cache_shows_text_that_is_damaged(tmp_path, shown, table, column):
    filled_store(tmp_path, count=2)
    database = sqlite3.connect(tmp_path / NAME)
    database.execute("UPDATE runs SET asked = 1")
    database.execute(f"UPDATE {table} SET {column} = CAST(x'ff61' AS TEXT)")  # noqa: S608
    database.commit()
    database.close()

    status, said = shown()

    assert (status, "\N{REPLACEMENT CHARACTER}a" in said) == (0, True)
    assert shown("clear")[0] == 0

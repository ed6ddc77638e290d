"""An unchanged file is not decoded again, a changed one always is."""

from __future__ import annotations

import os
import re
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RejectedImage
from pipeline.images.decode import Limits
from pipeline.images.examine import Decoded
from pipeline.images.known import KIND, Known
from pipeline.images.measures import Measures
from pipeline.sources import found, tars
from pipeline.sources.state import file_state
from pipeline.store.access import open_store
from pipeline.store.database import NAME, connect
from tests.conftest import picture
from tests.test_ingest import outs
from tests.test_sources import members, write


@pytest.fixture
def counted(filled, capsys, monkeypatch):
    """Run ingest; give (images known, images decoded).  Files settle at once."""
    monkeypatch.setattr("pipeline.sources.state.SETTLED_NS", 0)

    def run() -> tuple[int, int]:
        capsys.readouterr()
        assert filled.run("ingest") == 0
        found = re.search(r"(\d+) images known and unchanged, (\d+)", capsys.readouterr().err)
        return int(found[1]), int(found[2])

    return run


def test_unchanged_images_are_decoded_once_and_give_the_same_bytes(filled, counted):
    assert counted() == (0, 24)
    first = outs(filled)

    assert counted() == (24, 0)

    assert outs(filled) == first


def test_only_new_and_changed_images_are_decoded(filled, counted):
    counted()
    picture(99, brightness=20).save(filled.raw / "dark/new.png")
    changed = filled.raw / "dark/003.png"
    times = changed.stat().st_atime_ns, changed.stat().st_mtime_ns
    content = bytearray(changed.read_bytes())
    picture(98, brightness=20).save(changed)
    changed.write_bytes(changed.read_bytes().ljust(len(content), b"\0"))
    os.utime(changed, ns=times)  # who sets the time back is seen all the same

    assert counted() == (23, 2)

    assert "dark/new.png" in (filled.folder / "data/manifest.csv").read_text()


def test_members_of_an_unchanged_archive_are_decoded_once(filled, counted):
    for shard in range(2):
        write(members("folders"), filled.raw / f"{shard}.tar")
    assert counted() == (0, 36)
    write(members("folders", 4), filled.raw / "2.tar")

    assert counted() == (36, 8)


@pytest.mark.parametrize("together", [5, 6, 100])  # members in an entry, of 12 in the archive
@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
def test_an_unchanged_archive_is_listed_once(filled, counted, monkeypatch, ending, together):
    """Other code that would find nothing in it is not asked."""
    monkeypatch.setattr("pipeline.listing.remembered.TOGETHER", together)
    archive = filled.raw / f"shard{ending}"
    write(members("folders", 6), archive)
    counted()
    first = outs(filled)
    monkeypatch.setitem(found.ARCHIVES, ending, lambda _: iter(()))

    assert counted() == (36, 0)
    assert outs(filled) == first

    write(members("folders", 4), archive)
    assert counted() == (24, 0)


def test_a_file_under_the_name_of_another_kind_is_another(filled, counted):
    write(members("folders"), filled.raw / "a.tar")
    counted()
    os.link(filled.raw / "a.tar", filled.raw / "b.zip")

    assert filled.run("ingest") == 1
    assert filled.run("ingest") == 1
    (filled.raw / "b.zip").unlink()
    os.link(filled.raw / "a.tar", filled.raw / "b.tar")
    os.utime(filled.raw / "a.tar", (1, 1))

    assert counted() == (24, 12)
    assert counted() == (36, 0)


def test_an_archive_of_which_only_the_beginning_is_remembered_is_listed_on(
    filled, counted, monkeypatch
):
    monkeypatch.setattr("pipeline.listing.remembered.TOGETHER", 5)
    archive = filled.raw / "shard.tar"
    write(members("folders", 6), archive)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) * 3 // 4])
    assert filled.run("ingest") == 1
    assert filled.run("ingest") == 1  # what is wrong with it is not forgotten

    archive.write_bytes(whole)

    assert counted() == (0, 36)


@pytest.mark.parametrize("archive", ["", "a.tar", "a.tar.gz"])
def test_what_cannot_be_used_is_decoded_once_and_named_each_time(filled, counted, archive):
    filled.set("ingest", max_rejected_fraction=1.0)
    bad = {"dark/half.png": (filled.raw / "dark/000.png").read_bytes()[:300]}
    bad |= {"dark/none.png": b"", "light/page.jpg": b"<html>" * 90}
    if archive:
        write(members("folders") | bad, filled.raw / archive)
    else:
        for name, content in bad.items():
            (filled.raw / name).write_bytes(content)
    every = 24 + 3 + 6 * bool(archive)

    assert counted() == (0, every)
    first = outs(filled)
    rejected = (filled.folder / "data/rejected.csv").read_text()
    assert [rejected.count(why) for why in ("damaged", "empty_file", "not_an_image")] == [1, 1, 1]

    assert counted() == (every, 0)
    assert outs(filled) == first


def test_what_may_be_gone_the_next_time_is_looked_at_again(filled, counted, monkeypatch):
    filled.set("ingest", decode_timeout_s=1.0, max_rejected_fraction=1.0)
    add = Known.add
    slow = RejectedImage("too_slow", "took more than 1 s, twice")
    monkeypatch.setattr(
        Known, "add", lambda known, number, seen: add(known, number, slow if number == 3 else seen)
    )
    assert counted() == (0, 24)
    monkeypatch.setattr(Known, "add", add)

    assert counted() == (23, 1)
    assert counted() == (24, 0)


def test_other_limits_are_other_results(filled, counted):
    counted()
    filled.set("ingest", max_pixels=2000)

    assert counted() == (0, 24)


def test_a_file_changed_just_now_is_not_trusted(tmp_path):
    file = tmp_path / "a.png"
    file.touch()
    assert file_state(file) == ""

    os.utime(file, (1, 1))
    assert file_state(file) == ""  # its other time is of now

    time.sleep(2.1)
    assert file_state(file)
    assert file_state(tmp_path / "absent") == ""


def test_what_was_decoded_of_an_archive_before_a_kill_is_known(filled, counted, monkeypatch):
    """Each image is an entry of its own here, as each second's are."""
    monkeypatch.setattr("pipeline.images.known.KEEP_EVERY_S", 0.0)
    write(members("folders", 6), filled.raw / "shard.tar")
    add, seen = Known.add, []

    def dying(known, number, result):
        add(known, number, result)
        seen.append(number)
        if len(seen) == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(Known, "add", dying)
    assert filled.run("ingest") == 130
    monkeypatch.setattr(Known, "add", add)

    assert counted() == (30, 6)
    assert counted() == (36, 0)


def test_an_entry_that_is_lost_loses_no_other(filled, counted, monkeypatch):
    """As the store may drop what is damaged, or refuse what another process keeps it from."""
    monkeypatch.setattr("pipeline.images.known.KEEP_EVERY_S", 0.0)
    write(members("folders", 6), filled.raw / "shard.tar")
    counted()
    with closing(connect(Path(os.environ["PIPELINE_STORE"]) / NAME, writable=True)) as database:
        database.execute(
            "DELETE FROM entries WHERE value IN (SELECT value FROM entries JOIN kinds ON"
            " kind = id WHERE name = ? ORDER BY value LIMIT 3 OFFSET 25)",
            (KIND,),
        )
        database.commit()

    assert counted() == (33, 3)
    assert counted() == (36, 0)


def test_two_runs_at_once_keep_what_each_found_out(project, monkeypatch):
    monkeypatch.setattr("pipeline.sources.state.SETTLED_NS", 0)
    project.raw.mkdir(parents=True)
    archive = project.raw / "shard.tar"
    write(members("folders"), archive)
    places = [place for place, _ in tars.members(archive)]
    result = Decoded("f" * 64, 40, 32, Measures("0" * 16, 1.5, 2.5, 3.5))
    with closing(open_store("ingest")) as one, closing(open_store("ingest")) as other:
        runs = [Known(store, places, Limits()) for store in (one, other)]
        for run in runs:
            run.recall()
            assert not run.rows["digest"].any()
        for number, run in enumerate(runs):
            run.add(number, result)
            run.close()

        again = Known(one, places, Limits())
        again.recall()

    assert np.flatnonzero(again.rows["digest"] != b"").tolist() == [0, 1]
    assert again.rows[1].tolist()[1:] == (b"f" * 64, 40, 32, b"0" * 16, 1.5, 2.5, 3.5)


def test_what_lay_elsewhere_while_it_was_read_is_not_known(filled, counted, monkeypatch):
    """To exchange folders changes no time of the files in them."""
    filled.set("ingest", max_rejected_fraction=1.0)  # members of the other have other sizes
    folder, other = filled.raw / "shards", filled.folder / "other"
    found = members("folders", 6)
    write(found, folder / "shard.tar")
    write(dict(zip(found, reversed(found.values()), strict=True)), other / "shard.tar")
    add = Known.add

    def exchanging(known, number, result):
        if other.exists():
            folder.rename(filled.folder / "first")
            other.rename(folder)
        add(known, number, result)

    monkeypatch.setattr(Known, "add", exchanging)
    counted()
    monkeypatch.setattr(Known, "add", add)
    folder.rename(other)
    (filled.folder / "first").rename(folder)

    assert counted() == (24, 12)


def test_a_table_that_names_other_members_finds_the_rest_known(filled, counted):
    archive = filled.raw / "shard.tar"
    write(members("folders", 6), archive)
    names = sorted(members("folders", 6))
    table = filled.raw / "labels.csv"

    def name(chosen: list[str]) -> None:
        rows = [f"shard.tar/{path},{path.split('/')[0]}" for path in chosen]
        table.write_text("\n".join(["path,label", *rows]))

    name(names[2:])
    assert counted() == (0, 10)

    name(names)

    assert counted() == (10, 2)


def test_a_stored_result_that_is_none_is_computed_again(filled, counted):
    counted()
    store = Path(os.environ["PIPELINE_STORE"]) / NAME
    database = connect(store, writable=True)
    database.execute("UPDATE bytes SET value = '[1]'")
    database.commit()
    database.close()

    assert counted() == (0, 24)

"""Ingest takes what it can, names what it cannot, and never touches the user's files."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.tables import read_manifest
from tests.conftest import fill_class_folders, picture


def manifest(project) -> pd.DataFrame:
    return pd.read_csv(project.folder / "data/manifest.csv", keep_default_na=False)


def rejected(project) -> dict[str, str]:
    with (project.folder / "data/rejected.csv").open(newline="", encoding="utf-8") as stream:
        return {row["path"]: row["reason"] for row in csv.DictReader(stream)}


def outs(project) -> list[bytes]:
    names = ("data/manifest.csv", "data/rejected.csv", "reports/ingest.json")
    return [(project.folder / name).read_bytes() for name in names]


def write_table(project, text: str, name: str = "labels.csv") -> None:
    (project.raw / name).write_text(text, encoding="utf-8")


def fill_flat(project, count: int = 6) -> None:
    project.raw.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture(index, brightness=100).save(project.raw / f"{index}.png")


def test_class_folders_become_labels(filled):
    nested = filled.raw / "dark/site 1/day, 2"
    nested.mkdir(parents=True)
    picture(77, brightness=20).save(nested / 'a "quoted"\nname é.png')

    assert filled.run("ingest") == 0

    table = manifest(filled)
    assert table["label"].value_counts().to_dict() == {"dark": 13, "light": 12}
    assert 'dark/site 1/day, 2/a "quoted"\nname é.png' in set(table["path"])
    assert set(zip(table["width"], table["height"], strict=True)) == {(40, 32)}
    assert table["path"].is_monotonic_increasing


def test_bad_files_are_rejected_by_name_and_the_run_goes_on(filled):
    (filled.raw / "dark/empty.png").write_bytes(b"")
    (filled.raw / "light/page.jpg").write_text("<html>")
    picture(1, brightness=9).save(filled.raw / "stray.png")
    filled.set("ingest", max_rejected_fraction=0.2)

    assert filled.run("ingest") == 0

    assert rejected(filled) == {
        "dark/empty.png": "empty_file",
        "light/page.jpg": "not_an_image",
        "stray.png": "no_label",
    }
    assert len(manifest(filled)) == 24
    report = json.loads((filled.folder / "reports/ingest.json").read_text())
    assert report["rejected"] == {"empty_file": 1, "no_label": 1, "not_an_image": 1}
    assert report["images"] == 24


def test_hidden_files_are_no_images(filled):
    (filled.raw / ".DS_Store").write_bytes(b"x")
    (filled.raw / "dark/.hidden.png").write_bytes(b"x")
    (filled.raw / ".cache").mkdir()
    (filled.raw / ".cache/a.png").write_bytes(b"x")

    assert filled.run("ingest") == 0

    assert rejected(filled) == {}


def test_a_file_name_that_is_not_utf8_is_rejected_readably(filled):
    source = filled.raw / "dark/000.png"
    target = os.fsencode(filled.raw) + b"/dark/caf\xe9.png"
    with open(target, "wb") as stream:  # noqa: PTH123
        stream.write(source.read_bytes())

    assert filled.run("ingest") == 0

    assert rejected(filled) == {r"dark/caf\udce9.png": "name_not_utf8"}


def test_a_link_out_of_the_folder_is_refused(filled):
    outside = filled.folder / "secret.png"
    picture(5, brightness=3).save(outside)
    (filled.raw / "dark/link.png").symlink_to(outside)
    (filled.raw / "dark/loop").symlink_to(filled.raw / "dark")

    assert filled.run("ingest") == 0

    assert rejected(filled) == {"dark/link.png": "outside", "dark/loop": "linked_folder"}


def test_outs_are_the_same_bytes_whatever_the_order_of_files(filled, monkeypatch):
    (filled.raw / "dark/empty.png").write_bytes(b"")
    filled.run("ingest")
    first = outs(filled)
    walk = os.walk

    def backwards(top, **options):
        return ((p, d[::-1], f[::-1]) for p, d, f in walk(top, **options))

    monkeypatch.setattr(os, "walk", backwards)

    filled.run("ingest")

    assert outs(filled) == first


def test_the_users_files_are_only_read(filled):
    before = {f: f.stat().st_mtime_ns for f in filled.raw.rglob("*")}
    filled.run("ingest")

    assert {f: f.stat().st_mtime_ns for f in filled.raw.rglob("*")} == before


def test_the_digest_is_of_the_pixels_not_of_the_file(filled):
    with Image.open(filled.raw / "dark/000.png") as image:
        image.save(filled.raw / "dark/copy.tif")
    filled.run("ingest")

    digests = manifest(filled).set_index("path")["digest"]

    assert digests["dark/copy.tif"] == digests["dark/000.png"]
    assert digests["dark/copy.tif"] != digests["dark/001.png"]
    assert len(digests["dark/copy.tif"]) == hashlib.sha256().digest_size * 2


TABLE = "path,label,weight,group,split,site\n" + "".join(
    f"{i}.png,{'ab'[i % 2]},{['', '0.5'][i % 2]},g{i},train,north\n" for i in range(6)
)


def table_as(project, form: str) -> None:
    if form == "parquet":
        rows = list(csv.reader(TABLE.splitlines()))
        frame = pd.DataFrame(rows[1:], columns=rows[0])
        frame["weight"] = pd.to_numeric(frame["weight"])
        frame.to_parquet(project.raw / "labels.parquet")
    else:
        text = TABLE.replace(",", "\t") if form == "tsv" else TABLE
        write_table(project, "\ufeff" + text, f"labels.{form}")


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet"])
def test_a_table_gives_labels_weights_groups_splits_and_extra_columns(project, form):
    fill_flat(project)
    table_as(project, form)

    assert project.run("ingest") == 0

    table = manifest(project)
    assert table["label"].tolist() == ["a", "b"] * 3
    assert table["weight"].tolist() == [1.0, 0.5] * 3
    assert table["group"].tolist() == [f"g{i}" for i in range(6)]
    assert set(table["split"]) == {"train"}
    assert set(table["site"]) == {"north"}


def test_a_row_that_cannot_be_used_is_rejected_with_its_number(project):
    fill_flat(project)
    picture(9, brightness=9).save(project.folder / "data/outside.png")
    bad = [",a,,,,", "0.png,,,,,", "1.png,b,-1,,,", "1.png,b,heavy,,,", "../outside.png,a,,,,"]
    write_table(project, TABLE + "\n".join(bad) + "\n/etc/passwd,a,,,,\n")
    project.set("ingest", max_rejected_fraction=0.6)

    assert project.run("ingest") == 0

    with (project.folder / "data/rejected.csv").open(newline="") as stream:
        found = [(row["reason"], row["detail"]) for row in csv.DictReader(stream)]
    reasons = sorted(reason for reason, _ in found)
    assert reasons == ["bad_weight", "bad_weight", "no_label", "no_path", "outside", "outside"]
    assert any("(row 9 of labels.csv)" in detail for _, detail in found)
    assert len(manifest(project)) == 6


def test_missing_raw_is_an_error(refused):
    assert "data/raw: does not exist" in refused("ingest")


def test_an_empty_folder_is_an_error(project, refused):
    project.raw.mkdir(parents=True)

    assert "holds no images" in refused("ingest")


def test_one_class_only_is_an_error(project, refused):
    fill_class_folders(project.raw)
    for file in (project.raw / "light").iterdir():
        file.unlink()
    (project.raw / "light").rmdir()

    assert "one class only, 'dark'" in refused("ingest")


def test_a_class_without_a_usable_image_is_an_error(filled, refused):
    (filled.raw / "empty class").mkdir()

    assert "class 'empty class' has no usable image" in refused("ingest")


def test_too_many_bad_files_are_an_error_that_leaves_their_list(filled, refused):
    for index in range(5):
        (filled.raw / f"dark/bad{index}.png").write_bytes(b"no image")

    said = refused("ingest")

    assert "5 of 29 images cannot be used (17.2%" in said
    assert "dark/bad0.png (not_an_image)" in said
    assert "5 rejected, listed in data/rejected.csv" in said
    assert len(rejected(filled)) == 5
    assert not (filled.folder / "data/manifest.csv").exists()


def test_a_table_naming_absent_files_is_an_error_or_on_request_a_rejection(project, refused):
    fill_flat(project)
    write_table(project, TABLE + "gone.png,a,,,,\n")

    assert "1 named files do not exist, such as gone.png" in refused("ingest")

    project.set("ingest", missing_files="reject", max_rejected_fraction=0.5)
    assert project.run("ingest") == 0
    assert rejected(project) == {"gone.png": "missing"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,label\n0.png,a\n", "has no column 'path', only file, label"),
        (
            "path;label\n0.png;a\n",
            "save it with commas (.csv) or tabs (.tsv): its separator is ';'",
        ),
        ("path, label\n0.png,a\n", "fix: call it 'label', not ' label'"),
        ("path,class\n0.png,a\n", "has no column 'label', only path, class"),
        ("path,label,width\n0.png,a,3\n", "column 'width' is one of the pipeline's own"),
        ("path,label,fold\n0.png,a,3\n", "column 'fold' is one of the pipeline's own"),
        ("", "labels.csv: empty_file: has 0 bytes"),
        ("\n", "has no column 'path', only none at all"),
        ("path,label\n0.png,a\n1.png,a,b\n", "line 3 has 3 cells, the header 2"),
        ("path,label\n0.png,a,\n1.png,b,\n", "line 2 has 3 cells, the header 2"),
        ("path,label\n0.png\n", "line 2 has 1 cells, the header 2"),
        ("path,label,label\n0.png,a,b\n", "has 2 columns 'label'"),
        ('path,label\n"0.png,a\n', "line 2 cannot be read: unexpected end of data"),
        ("path,label\n", "labels.csv: holds no images"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error(project, refused, text, match):
    fill_flat(project)
    write_table(project, text)

    assert match in refused("ingest")


def test_a_table_in_another_encoding_is_an_error(project, refused):
    fill_flat(project)
    (project.raw / "labels.csv").write_bytes("path,label\n0.png,caf\xe9\n".encode("latin-1"))

    assert "labels.csv: cannot be read as a table" in refused("ingest")


def test_two_tables_need_a_choice(project, refused):
    fill_flat(project)
    write_table(project, TABLE)
    write_table(project, TABLE, "other.csv")

    assert "holds 2 tables (labels.csv, other.csv)" in refused("ingest")

    project.set("ingest", sources=["other.csv"])
    assert project.run("ingest") == 0
    project.set("ingest", sources=["third.csv"])
    assert "third.csv: does not exist" in refused("ingest")


def test_a_name_with_a_carriage_return_survives_every_table(filled):
    picture(42, brightness=20).save(filled.raw / "dark/a\rb\n.png")

    assert filled.run("ingest", "split", "augment") == 0

    splits = pd.read_csv(filled.folder / "data/splits.csv", lineterminator=None)
    assert "dark/a\rb\n.png" in set(splits["path"])


def test_integer_labels_of_parquet_stay_integers_beside_an_empty_cell(project):
    fill_flat(project)
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(6)], "label": [1, 2, 1, 2, 1, None]})
    frame.astype({"label": "Int64"}).to_parquet(project.raw / "labels.parquet")
    project.set("ingest", max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    assert rejected(project) == {"5.png": "no_label"}
    table = pd.read_csv(project.folder / "data/manifest.csv", dtype=str)
    assert table["label"].tolist() == ["1", "2", "1", "2", "1"]


def test_a_parquet_column_that_is_no_text_is_left_out_and_named(project, refused, capsys):
    fill_flat(project)
    frame = pd.DataFrame({"path": ["0.png", "1.png"], "label": ["a", "b"]})
    frame.assign(boxes=[[1.0, 2.0], []]).to_parquet(project.raw / "labels.parquet")

    assert project.run("ingest") == 0

    assert "labels.parquet: column boxes left out" in capsys.readouterr().err
    assert "boxes" not in manifest(project)
    frame.assign(label=[[1.0], [2.0]]).to_parquet(project.raw / "labels.parquet")
    assert "column 'label' is of type list" in refused("ingest")


def test_splits_have_one_name_however_a_table_calls_them(project):
    fill_flat(project)
    rows = ["path,label,split", "0.png,a,Training", "1.png,b,validation ", "2.png,a,holdout"]
    (project.raw / "labels.csv").write_text("\n".join(rows))

    assert project.run("ingest") == 0

    assert manifest(project)["split"].tolist() == ["train", "val", "holdout"]


def test_a_link_to_nowhere_that_a_table_names_is_missing(project, refused):
    fill_flat(project)
    (project.raw / "gone.png").symlink_to("nowhere.png")
    rows = "\n".join(["path,label", "0.png,a", "1.png,b", "gone.png,a"])
    (project.raw / "labels.csv").write_text(rows)

    assert "1 named files do not exist, such as gone.png" in refused("ingest")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("Deep/É.PNG", "deep/é.png"),  # other capitals
        ("deep/e\u0301.png", "deep/é.png"),  # another form of the same letter
        ("deep\\é.png", "deep/é.png"),
        ("é", "deep/é.png"),  # neither folder nor ending
        ("1.2.840", "deep/1.2.840.png"),
        ("0", "0.png"),
        ("same.png", None),  # of two files of that name none is meant
        ("nothing.png", None),
    ],
)
def test_a_file_named_in_another_spelling_is_named(project, refused, path, meant):
    fill_flat(project)
    names = ("deep/é.png", "deep/1.2.840.png", "deep/same.png", "more/same.png")
    for number, file in enumerate(names):
        (project.raw / file).parent.mkdir(exist_ok=True)
        picture(90 + number, brightness=9).save(project.raw / file)
    (project.raw / "labels.csv").write_text(f"path,label\n0.png,a\n1.png,b\n{path},a\n")

    said = refused("ingest")

    hint = f"; did you mean {meant!r}?" if meant else ""
    assert f"such as {path}: does not exist{hint} (row 3 of labels.csv)\n" in said


@pytest.mark.parametrize("word", ["NA", " nan", "None", "<NA>"])
def test_a_word_for_no_value_is_no_group(project, refused, word):
    """All images without a group would be one."""
    fill_flat(project)
    table = project.raw / "labels.csv"
    table.write_text(f"path,label,group\n0.png,a,{word}\n1.png,b,{word}\n2.png,a,x\n")

    said = refused("ingest")

    assert f"2 rows have the group {word!r}" in said
    assert "leave these cells empty" in said
    table.write_text("path,label,group\n0.png,a,\n1.png,b,nano\n2.png,a,nano\n")
    assert project.run("ingest") == 0


@pytest.mark.parametrize("column", ["Group", " weight", "SPLIT"])
def test_a_column_that_misses_its_meaning_by_its_case_is_named(project, refused, column):
    fill_flat(project)
    (project.raw / "labels.csv").write_text(f"path,label,{column}\n0.png,a,1\n1.png,b,2\n")

    meant = column.strip().lower()
    assert f"has a column {column!r}, which would not count as {meant!r}" in refused("ingest")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_is_no_number_is_an_empty_cell(project, form):
    """As pandas writes what a table lacks: as a group, it would hold all other images."""
    fill_flat(project)
    frame = pd.DataFrame({"path": ["0.png", "1.png", "2.png"], "label": [1.0, 2.0, np.nan]})
    frame["group"] = np.nan
    if form == "jsonl":
        rows = frame.to_dict("records")
        text = "\n".join(json.dumps(row) for row in rows)
        assert "NaN" in text
        (project.raw / "labels.jsonl").write_text(text)
    else:
        frame.to_parquet(project.raw / "labels.parquet")
    project.set("ingest", max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    assert set(manifest(project)["group"]) == {""}
    assert rejected(project) == {"2.png": "no_label"}


@pytest.mark.parametrize(
    ("folders", "match"),
    [
        (
            ("train/a", "train/b", "test/a", "more"),
            r"folders of splits \(test, train\) beside more",
        ),
        (("val/a", "val/b", "Test/a"), r"folders of splits \(Test, val\) and none .* train"),
    ],
)
def test_folders_of_splits_beside_others_are_no_classes(project, refused, folders, match):
    for number, folder in enumerate(folders):
        (project.raw / folder).mkdir(parents=True)
        picture(number, brightness=20).save(project.raw / folder / "0.png")

    assert re.search(match, refused("ingest"))


def test_a_return_in_the_name_of_a_column_is_kept(project):
    fill_flat(project)
    (project.raw / "labels.jsonl").write_text(
        "\n".join(
            json.dumps({"path": f"{n}.png", "label": "ab"[n], "a\rb": "x"}) for n in range(2)
        )
    )

    assert project.run("ingest") == 0

    assert read_manifest(project.folder / "data/manifest.csv")["a\rb"].tolist() == ["x", "x"]


def test_a_damaged_parquet_file_is_an_error(project, refused):
    fill_flat(project)
    (project.raw / "labels.parquet").write_bytes(b"PAR1 junk PAR1")

    assert "labels.parquet: cannot be read as Parquet" in refused("ingest")


def test_a_blank_group_is_none(project):
    """As of a spreadsheet: else all that have none would be one group."""
    fill_flat(project, 4)
    write_table(
        project, "path,label,group\n0.png,dark, \n1.png,light,a\n2.png,dark,\n3.png,light, a\n"
    )

    assert project.run("ingest") == 0

    table = read_manifest(project.folder / "data/manifest.csv")
    assert table["group"].tolist() == ["", "a", "", " a"]


def test_files_that_the_table_does_not_name_are_counted(project, capsys):
    fill_flat(project, 8)
    write_table(project, TABLE)

    assert project.run("ingest") == 0

    assert "left out, for no table names them: 2 (6.png, 7.png)" in capsys.readouterr().err
    assert json.loads((project.folder / "reports/ingest.json").read_text())["unlisted"] == 2


def test_the_demonstration_does_not_delete_the_users_images(filled, refused):
    said = refused("sample")
    assert "is none of the demonstration's files: the stage sample would delete it" in said
    assert len(list((filled.raw / "dark").iterdir())) == 12


def test_the_demonstration_deletes_no_link_to_the_users_images(project, refused):
    (project.folder / "mine").mkdir()
    project.raw.mkdir(parents=True)
    (project.raw / "linked").symlink_to(project.folder / "mine")

    assert "data/raw/linked: is none of the demonstration's files" in refused("sample")


def test_the_demonstration_takes_cells_evenly_with_their_labels(project):
    """A cell is defective above one half, and weighs what its annotators were sure of."""
    project.set("sample", limit=5)

    assert project.run("sample") == 0

    table = pd.read_csv(project.raw / "labels.csv")
    root = Path(str(files("elpv_dataset"))) / "data"
    lines = [line.split() for line in (root / "labels.csv").read_text().splitlines()]
    chosen = [lines[index * len(lines) // 5] for index in range(5)]
    assert table["path"].tolist() == [path for path, *_ in chosen]
    assert (table["label"] == "defective").tolist() == [float(p) > 0.5 for _, p, _ in chosen]
    assert all(
        (project.raw / path).read_bytes() == (root / path).read_bytes() for path, *_ in chosen
    )


@pytest.mark.parametrize("name", ["images/mine.png", "labels.csv"])
def test_the_demonstration_deletes_no_file_beside_its_own_or_of_their_name(project, refused, name):
    project.set("sample", limit=3)
    assert project.run("sample") == 0
    assert project.run("sample") == 0  # its own it may
    (project.raw / name).write_text("path,label\n")

    assert f"data/raw/{name}: is none of the demonstration's files" in refused("sample")
    assert (project.raw / name).read_text() == "path,label\n"

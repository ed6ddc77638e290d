"""Images are read where they lie: in folders, archives and tables, alone or together."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.__main__ import main
from pipeline.errors import InputError, RejectedImage
from pipeline.images.decode import decode_at, decode_bytes
from pipeline.images.digest import pixel_digest
from pipeline.images.places import read_places
from pipeline.listing.sources import list_images
from pipeline.sources import compressed, found, parquet
from pipeline.sources.content import content
from pipeline.sources.place import Place, in_order
from pipeline.stages import ingest
from pipeline.tables import read_manifest
from tests.conftest import DATA, fill_class_folders, forbidden, picture
from tests.containers import bmp
from tests.test_ingest import manifest, rejected

LAYOUTS = ("folders", "splits", "table", "samples", "coco")


def png(seed: int, brightness: int) -> bytes:
    stream = io.BytesIO()
    picture(seed, brightness=brightness).save(stream, "PNG")
    return stream.getvalue()


def members(layout: str, per_class: int = 3) -> dict[str, bytes]:
    """Names and bytes of a small data set."""
    found: dict[str, bytes] = {}
    rows = ["path,label,split"]
    annotations: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 7, "name": "dark"}, {"id": 3, "name": "light"}],
    }
    for number, (label, brightness) in enumerate({"dark": 20, "light": 170}.items()):
        for index in range(per_class):
            content = png(1000 * number + index, brightness)
            split = ("train", "val", "test")[index % 3]
            if layout == "folders":
                found[f"{label}/{index}.png"] = content
            elif layout == "splits":
                found[f"{split}/{label}/{index}.png"] = content
            elif layout == "table":
                found[f"images/{label}{index}.png"] = content
                rows.append(f"images/{label}{index}.png,{label},{split}")
            elif layout == "coco":
                name, key = f"images/{label}{index}.png", 1000 * number + index
                found[name] = content
                annotations["images"].append({"id": key, "file_name": name, "split": split})
                marked = {"image_id": key, "category_id": 7 if label == "dark" else 3}
                annotations["annotations"] += [marked, {**marked, "bbox": [0, 0, 4, 4]}]
            else:
                found[f"{label}{index}.png"] = content
                found[f"{label}{index}.cls"] = f"{label}\n".encode()
                found[f"{label}{index}.json"] = json.dumps({"split": split, "n": index}).encode()
    if layout == "table":
        found["labels.csv"] = "\n".join(rows).encode()
    if layout == "coco":
        found["instances.json"] = json.dumps(annotations).encode()
    return found


def plain_bmp(level: int) -> bytes:
    """Of one gray, and as large as that of another."""
    return bmp(8, 8, 24, bytes([level]) * 192)


def write(found: dict[str, bytes], target: Path) -> None:
    """Put members into an archive, or a folder, whichever the name asks for."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if ".tar" in target.suffixes:
        with tarfile.open(target, "w") as archive:
            for name, content in found.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        codec = {".gz": "gzip", ".zst": "zstd"}.get(target.suffix)
        if codec:
            plain = target.read_bytes()
            with pa.CompressedOutputStream(str(target), codec) as stream:
                stream.write(plain)
    elif target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in found.items():
                archive.writestr(name, content)
    else:
        for name, content in found.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)


def table_of(**columns: list[object]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "x.tar", "x.zip", "x.tar.gz", "x.tar.zst"])
def test_what_is_in_an_archive_is_what_would_be_in_a_folder(project, layout, kind):
    if (layout, kind) == ("samples", "folder"):
        pytest.skip("labels beside files are an archive's layout")
    write(members(layout), project.raw if kind == "folder" else project.raw / kind)
    if kind != "folder" and layout == "table":
        project.set("ingest", sources=[kind])

    assert project.run("ingest") == 0

    table = manifest(project)
    assert table["label"].value_counts().to_dict() == {"dark": 3, "light": 3}
    assert rejected(project) == {}
    if layout != "folders":
        assert sorted(table["split"]) == sorted(["train", "val", "test"] * 2)
    images = read_manifest(project.folder / "data/manifest.csv")
    for place, digest in zip(read_places(images, project.raw), images["digest"], strict=True):
        assert pixel_digest(decode_at(place)) == digest
    assert ("container" in table) == (kind != "folder")


def coco(project, **lists: object) -> None:
    """The layout of COCO in a folder, some of its lists changed."""
    write(members("coco"), project.raw)
    file = project.raw / "instances.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **lists}))


def test_what_coco_marks_with_no_one_category_is_rejected_by_name(project, capsys):
    marks = [{"image_id": n, "category_id": 7} for n in (0, 1, 2, 99)]
    marks += [{"image_id": n, "category_id": 3} for n in (1, 1000, 1001)]
    marks += [{"image_id": 1001, "category_id": 5}]
    coco(project, annotations=marks)
    project.set("ingest", max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    assert rejected(project) == {
        "images/dark1.png": "several_labels",
        "images/light1.png": "no_label",
        "images/light2.png": "no_label",
    }
    assert "1 annotations are of none of its images" in capsys.readouterr().err
    assert sorted(manifest(project)["label"]) == ["dark", "dark", "light"]


def test_coco_beside_each_split_says_the_split(project):
    for split, brightness in {"train": 0, "valid": 3}.items():
        for label in ("dark", "light"):
            folder = project.raw / split
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{label}.png").write_bytes(png(brightness, 20 if label == "dark" else 170))
        images = [{"id": n, "file_name": f"{n}.png"} for n in ("dark", "light")]
        given = {
            "images": images,
            "annotations": [{"image_id": n["id"], "category_id": n["id"]} for n in images],
            "categories": [{"id": n["id"], "name": n["id"]} for n in images],
        }
        (project.raw / split / "_annotations.coco.json").write_text(json.dumps(given))
    names = ["train/_annotations.coco.json", "valid/_annotations.coco.json"]
    project.set("ingest", sources=names)

    assert project.run("ingest") == 0

    table = manifest(project)
    assert sorted(zip(table["path"], table["split"], strict=True)) == [
        ("train/dark.png", "train"),
        ("train/light.png", "train"),
        ("valid/dark.png", "val"),
        ("valid/light.png", "val"),
    ]


def test_the_hubs_tables_beside_images_say_path_and_split(project):
    write({"a.png": png(1, 20), "b.png": png(2, 170)}, project.raw / "train")
    write({"images/c.png": png(3, 20)}, project.raw / "test")
    (project.raw / "train/metadata.csv").write_text("file_name,label\na.png,dark\nb.png,light\n")
    line = json.dumps({"file_name": "images/c.png", "label": "dark"})
    (project.raw / "test/metadata.jsonl").write_text(f"{line}\n")
    (project.raw / "more.csv").write_text("path,file_name,label,split\ntrain/d.png,7,light,val\n")
    (project.raw / "train/d.png").write_bytes(png(4, 170))
    names = ["train/metadata.csv", "test/metadata.jsonl", "more.csv"]
    project.set("ingest", sources=names)

    assert project.run("ingest") == 0

    table = manifest(project).fillna("")
    assert sorted(zip(table["path"], table["label"], table["split"], strict=True)) == [
        ("test/images/c.png", "dark", "test"),
        ("train/a.png", "dark", "train"),
        ("train/b.png", "light", "train"),
        ("train/d.png", "light", "val"),
    ]


def test_samples_may_have_their_labels_in_json_alone(project):
    fields = {"dark": {"label": "dark", "site": "x"}, "light": {"label": "light"}}
    found = {f"{name}.json": json.dumps(said).encode() for name, said in fields.items()}
    found |= {"dark.png": png(1, 20), "light.png": png(2, 170), "more/3.png": png(3, 20)}
    found |= {"dark.txt": b"a caption"}
    write(found, project.raw / "x.tar")
    # these say nothing of images: folders are labels
    write({"dark/1.png": png(4, 20), "about.json": b'{"label": "v1"}'}, project.raw / "y.zip")
    write({"light/1.png": png(5, 170), "light/1.json": b'{"label": "x"}'}, project.raw / "z.zip")
    project.set("ingest", max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    table = manifest(project).fillna("")
    assert sorted(zip(table["path"], table["label"], table["site"], strict=True)) == [
        ("x.tar/dark.png", "dark", "x"),
        ("x.tar/light.png", "light", ""),
        ("y.zip/dark/1.png", "dark", ""),
        ("z.zip/light/1.png", "light", ""),
    ]
    assert rejected(project) == {
        "x.tar/more/3.png": "no_label",
        "y.zip/about.json": "no_label",
        "z.zip/light/1.json": "not_an_image",
    }


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"images": [{"id": 1}]}, "images.0.file_name: Field required"),
        ({"categories": {}}, "categories: Input should be a valid array"),
        ({"images": []}, "holds no images"),
        ({"categories": [{"id": 7, "name": "a"}] * 2}, "has 2 categories of id 7"),
        ({"images": [{"id": 1, "file_name": "a.png"}] * 2}, "has 2 images of id 1"),
        (
            {"images": [{"id": 1, "file_name": 5}]},
            "images.0.file_name: Input should be a",
        ),
    ],
)
def test_annotations_that_are_not_as_cocos_are_an_error(project, refused, lists, words):
    coco(project, **lists)

    assert words in refused("ingest")


def test_json_that_is_named_must_be_cocos_and_other_json_is_no_table(filled, refused):
    (filled.raw / "notes.json").write_text('{"images": "of cells"}')
    assert filled.run("ingest") == 0
    assert rejected(filled) == {"notes.json": "no_label"}

    filled.set("ingest", sources=["notes.json"])
    assert "notes.json: is not as COCO's annotations are: images: " in refused("ingest")


def hugging_face(file: Path, *, named: bool = True, unseen: Sequence[str] = ()) -> None:
    """As `datasets` writes it: structs of bytes and path, class numbers, names in the schema."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [(n % 2, png(n, 20 + 150 * (n % 2))) for n in range(7)]
    images = [{"bytes": content, "path": f"{n}.png"} for n, (_, content) in enumerate(rows)]
    table = pa.table({"image": images, "label": [label for label, _ in rows]})
    if named:
        feature = {"names": ["dark", "light", *unseen], "_type": "ClassLabel"}
        document = {"info": {"features": {"label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(document)})
    parquet.write_table(table, file, row_group_size=3)


def test_parquet_with_images_is_read_as_datasets_writes_it(project):
    project.raw.mkdir(parents=True)
    hugging_face(project.raw / "train-00000-of-00002.parquet")
    hugging_face(project.raw / "test-00000-of-00002.parquet", named=False)

    assert project.run("ingest") == 0

    images = read_manifest(project.folder / "data/manifest.csv")
    assert images["label"].value_counts().to_dict() == {"dark": 4, "light": 3, "0": 4, "1": 3}
    assert images["split"].value_counts().to_dict() == {"train": 7, "test": 7}
    for place, digest in zip(read_places(images, project.raw), images["digest"], strict=True):
        assert pixel_digest(decode_at(place)) == digest


def test_the_hubs_own_parquet_and_shards_say_their_split(project):
    project.raw.mkdir(parents=True)
    for split in ("train", "test"):
        (project.raw / "default" / split).mkdir(parents=True)
        hugging_face(project.raw / "default" / split / "0000.parquet")
    assert project.run("ingest") == 0
    assert manifest(project)["split"].value_counts().to_dict() == {"train": 7, "test": 7}

    shutil.rmtree(project.raw)
    for name in ("train-0000.tar", "val.tar"):
        found = members("samples")
        write({k: v for k, v in found.items() if ".json" not in k}, project.raw / name)
    assert project.run("ingest") == 0
    assert manifest(project)["split"].value_counts().to_dict() == {"train": 6, "val": 6}


def test_columns_of_strangers_that_cannot_be_read_are_left_out_and_named(project, capsys):
    """Of files of images, which nobody can edit in place."""
    from pyarrow import parquet

    project.raw.mkdir(parents=True)
    images = [{"bytes": png(n, 20), "path": f"{n}.png"} for n in range(4)]
    columns = {
        "md5": [b"\0\xff"] * 4,
        "image": [*images[:3], {"bytes": None, "path": "far.png"}],
        "label": ["a", "b", "a", "b"],
        "path": ["0", "1", "2", "3"],
        "width": [1, 2, 3, 4],
        "mask": images,
    }
    parquet.write_table(pa.table(columns), project.raw / "x.parquet")
    project.set("ingest", max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    said = capsys.readouterr().err
    for name in ("md5", "mask"):
        assert f"column {name} left out: it holds no text" in said
    assert "columns left out: path, width, which ingest itself writes" in said
    assert rejected(project) == {"x.parquet/00000003": "no_bytes"}
    assert manifest(project)["width"].tolist() == [40] * 3

    (project.raw / "x.parquet").unlink()
    shard = {
        f"{n}.{ending}": content
        for n in range(2)
        for ending, content in (
            ("png", png(n, 20)),
            ("cls", b"ab"[n : n + 1]),
            ("json", b'{"width": 3, "site": "x", "boxes": [1]}'),
        )
    }
    write(shard, project.raw / "x.tar")
    assert project.run("ingest") == 0
    said = capsys.readouterr().err
    assert "columns left out: width" in said
    assert "keys left out: boxes, which hold no plain values" in said
    assert manifest(project)["site"].tolist() == ["x", "x"]


@pytest.mark.parametrize("layout", ["folders", "splits", "table"])
@pytest.mark.parametrize("kind", ["folder", "x.zip", "x.tar.gz"])
def test_a_folder_around_everything_is_no_class(project, capsys, kind, layout):
    """As strangers' archives have one, often with a word on the licence in it."""
    found = {f"set/v1/{name}": content for name, content in members(layout).items()}
    found |= {"set/v1/.hidden": b"x", "set/LICENSE": b"x"}
    write(found, project.raw if kind == "folder" else project.raw / kind)
    project.set("ingest", max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    assert "lies in set, which is no label" in capsys.readouterr().err
    table = manifest(project)
    assert table["label"].value_counts().to_dict() == {"dark": 3, "light": 3}
    assert set(table["split"]) == ({""} if layout == "folders" else {"train", "val", "test"})


def test_a_class_without_a_usable_image_keeps_its_sibling_from_being_a_wrapper(project, refused):
    write({f"cats/{n % 2}/{n}.png": png(n, 20) for n in range(4)}, project.raw / "x.tar")
    with tarfile.open(project.raw / "x.tar", "a") as archive:
        link = tarfile.TarInfo("dogs/1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../cats/0/0.png"
        archive.addfile(link)
    project.set("ingest", max_rejected_fraction=0.5)

    assert "holds one class only, 'cats'" in refused("ingest")


def test_parquet_of_binary_views_is_read(project):
    from pyarrow import parquet

    project.raw.mkdir(parents=True)
    images = pa.array([png(n, 20) for n in range(2)], pa.binary_view())
    parquet.write_table(
        pa.table({"image": images, "label": ["a", "b"]}), project.raw / "x.parquet"
    )

    assert project.run("ingest") == 0

    assert manifest(project)["label"].tolist() == ["a", "b"]


def test_a_folder_in_each_of_several_archives_is_their_class(project, capsys):
    for label in ("dark", "light"):
        found = {k: v for k, v in members("folders").items() if k.startswith(label)}
        nested = {k.replace("/", "/view/"): v for k, v in found.items()}
        write(nested, project.raw / f"{label}.zip")
    expected = {"dark": 3, "light": 3}
    assert project.run("ingest") == 0
    assert "6 images of data/raw lie in folders within those" in capsys.readouterr().err
    assert manifest(project)["label"].value_counts().to_dict() == expected

    project.set("ingest", sources=["dark.zip", "light.zip"])
    assert project.run("ingest") == 0
    assert manifest(project)["label"].value_counts().to_dict() == expected


def test_several_sources_are_one_data_set(project):
    write(members("folders"), project.raw / "first.tar")
    fill_class_folders(project.raw / "second", 5)
    write(
        {
            "images/a.png": png(7, 9),
            "labels.jsonl": b'{"path": "images/a.png", "label": "dark", "site": 3}',
        },
        project.raw / "third",
    )
    project.set("ingest", sources=["first.tar", "second", "third/labels.jsonl"])

    assert project.run("ingest") == 0

    table = manifest(project)
    assert table["label"].value_counts().to_dict() == {"dark": 9, "light": 8}
    assert table["site"].value_counts().to_dict() == {"": 16, "3": 1}


def test_several_tables_of_one_folder_leave_out_what_none_of_them_names(filled, capsys):
    """A row that cannot be used names its file nevertheless."""
    paths = sorted(str(file.relative_to(filled.raw)) for file in filled.raw.rglob("*.png"))
    rows = [f"{path},{path.partition('/')[0]}\n" for path in paths[:-1]]
    (filled.raw / "a.csv").write_text("path,label\n" + "".join(rows[:12]))
    (filled.raw / "b.csv").write_text("path,label\n" + "".join([*rows[12:-1], f"{paths[-2]},\n"]))
    filled.set("ingest", sources=["a.csv", "b.csv"])

    assert filled.run("ingest") == 0

    assert len(manifest(filled)) == 22
    assert json.loads((filled.folder / "reports/ingest.json").read_text())["unlisted"] == 1
    assert f"left out, for no table names them: 1 ({paths[-1]})" in capsys.readouterr().err


def test_images_of_another_source_are_not_left_out(filled, tmp_path):
    """A table sees all that lies beside it, other sources' files included."""
    rows = "".join(f"dark/{number:03}.png,dark\n" for number in range(12))
    (filled.raw / "labels.csv").write_text(f"path,label\n{rows}")
    shutil.rmtree(filled.raw / "light")
    write(members("samples"), filled.raw / "shard.tar")
    images = [{"bytes": png(n, 90)} for n in range(200, 203)]
    pq.write_table(pa.table({"image": images, "label": ["gray"] * 3}), filled.raw / "hf.parquet")
    filled.set("ingest", sources=["labels.csv", "shard.tar", "hf.parquet"])

    assert filled.run("ingest") == 0

    assert json.loads((filled.folder / "reports/ingest.json").read_text())["unlisted"] == 0
    assert main(["pack", str(tmp_path / "packed")]) == 0


def test_the_first_json_of_an_archive_does_not_decide_alone(project):
    """It may be without a picture, or its label null."""
    samples = {"_meta.json": b"{}", "aa.png": png(50, 90), "aa.json": b'{"label": null}'}
    for name, image in members("folders").items():
        label, _, number = name.removesuffix(".png").partition("/")
        samples[f"{label}{number}.png"] = image
        samples[f"{label}{number}.json"] = json.dumps({"label": label}).encode()
    write(samples, project.raw / "x.tar")
    project.set("ingest", max_rejected_fraction=0.2)

    assert project.run("ingest") == 0

    assert manifest(project)["label"].value_counts().to_dict() == {"dark": 3, "light": 3}
    assert rejected(project) == {"x.tar/aa.png": "no_label"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dark/labels.csv", b"path,label\n000.png,cat\n"),
        ("dark/labels.csv", b"path,label,width\n000.png,cat,3\n"),
        ("dark/labels.csv", b"Path;Label\n000.png;cat\n"),
        ("dark/labels.csv", "path,label\n000.png,K\xe4fer\n".encode("latin-1")),
        ("dark/labels.csv", "path,label\n000.png,cat\n".encode("utf-16")),
        ("dark/labels.jsonl", b'{"file_name": "000.png", "label": "cat"\n'),
        ("dark/labels.parquet", table_of(path=["000.png"], label=["cat"], width=[3])),
        ("dark/_annotations.coco.json", b'{"images": [], "annotations": [], "categories": []}'),
    ],
)
def test_labels_that_folders_would_overrule_are_refused(filled, refused, name, content):
    (filled.raw / "light/notes.csv").write_text("day,weather\n1,rain\n")
    assert filled.run("ingest") == 0
    assert rejected(filled) == {"light/notes.csv": "not_an_image"}

    (filled.raw / name).write_bytes(content)

    message = refused("ingest")
    assert f"has tables of labels within its folders ({name})" in message
    assert "ingest.sources" in message


def test_nested_folders_are_one_label_on_request(filled):
    (filled.raw / "dark").rename(filled.raw / "nested")
    (filled.raw / "moth").mkdir()
    (filled.raw / "nested").rename(filled.raw / "moth/dark")
    filled.set("ingest", folder_labels="joined")

    assert filled.run("ingest") == 0

    assert manifest(filled)["label"].value_counts().to_dict() == {"moth/dark": 12, "light": 12}


def test_a_packed_data_set_has_the_features_of_the_folder(project, keras, monkeypatch):
    stages = ("ingest", "split", "augment", "extract")
    write(members("folders", 12), project.raw)
    assert project.run(*stages) == 0
    features = (project.folder / "data/features/features.npy").read_bytes()
    plain = read_manifest(project.folder / "data/manifest.csv").set_index("digest")["label"]
    for folder in ("dark", "light"):
        (project.raw / folder).rename(project.folder / folder)
    write(members("folders", 12), project.raw / "x.zip")
    monkeypatch.setenv("PIPELINE_STORE", "off")  # or the archive would not be opened

    assert project.run(*stages) == 0

    assert (project.folder / "data/features/features.npy").read_bytes() == features
    packed = read_manifest(project.folder / "data/manifest.csv").set_index("digest")["label"]
    pd.testing.assert_series_equal(packed.sort_index(), plain.sort_index())


def test_a_member_that_changed_since_ingest_is_named(project, refused):
    """Though it is as large as it was, and lies where it lay."""
    images = {f"{label}/{n}.bmp": plain_bmp(n + at) for n in range(12)
              for label, at in (("dark", 10), ("light", 200))}  # fmt: skip
    write(images, project.raw / "x.tar")
    assert project.run(*DATA) == 0
    write(images | {"dark/3.bmp": plain_bmp(99)}, project.raw / "x.tar")

    assert "x.tar: dark/3.bmp: has changed since ingest read it" in refused("extract")


HOSTILE = {
    "../escape.png": "outside",
    "/absolute.png": "outside",
    "dark/../../escape.png": "outside",
    "dark/empty.png": "empty_file",
    "dark/page.png": "not_an_image",
    "dark/caf\udce9.png": "name_not_utf8",
}


def test_hostile_members_are_rejected_by_name(project):
    project.set("ingest", max_rejected_fraction=0.9)
    found = {**members("folders"), **dict.fromkeys(HOSTILE, b"<html>"), "dark/empty.png": b""}
    write(found, project.raw / "x.tar")
    with tarfile.open(project.raw / "x.tar", "a") as archive:
        for name, kind in {
            "link": tarfile.SYMTYPE,
            "hard": tarfile.LNKTYPE,
            "pipe": tarfile.FIFOTYPE,
        }.items():
            member = tarfile.TarInfo(f"dark/{name}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        twice = tarfile.TarInfo("dark/0.png")
        archive.addfile(twice)
    before = set(project.folder.rglob("*.png"))

    assert project.run("ingest") == 0

    expected = {
        f"x.tar/{n}".encode("utf-8", "backslashreplace").decode(): r for n, r in HOSTILE.items()
    }
    expected |= {
        "x.tar/dark/link.png": "linked_member",
        "x.tar/dark/hard.png": "linked_member",
        "x.tar/dark/pipe.png": "not_a_file",
        "x.tar/dark/0.png": "name_twice",
    }
    assert rejected(project) == expected
    assert len(manifest(project)) == 6
    assert set(project.folder.rglob("*.png")) == before


def test_faults_of_zip_members_are_named(project):
    project.set("ingest", max_rejected_fraction=0.9)
    file = project.raw / "x.zip"
    write(members("folders"), file)
    bomb = bytes(2_000_000)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("dark/bz2.png", png(5, 5), zipfile.ZIP_BZIP2)
        archive.writestr("dark/bomb.png", bomb, zipfile.ZIP_DEFLATED)
        archive.writestr("dark/broken.png", png(6, 6), zipfile.ZIP_STORED)
    content = bytearray(file.read_bytes())
    place = content.index(png(6, 6))
    content[place + 60] ^= 1
    file.write_bytes(bytes(content))

    assert project.run("ingest") == 0

    assert rejected(project) == {
        "x.zip/dark/bz2.png": "unknown_compression",
        "x.zip/dark/bomb.png": "not_an_image",
        "x.zip/dark/broken.png": "damaged",
    }


@pytest.mark.parametrize("windows", [True, False])
def test_backslashes_part_the_folders_of_zips_made_on_windows(tmp_path, windows):
    """As .NET wrote them for years; elsewhere a backslash is a letter."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a\\", "a\\1.png", "a\\2.png", "b\\1.png", "..\\c"):
            member = zipfile.ZipInfo(name)
            member.create_system = 0 if windows else 3
            archive.writestr(member, b"")

    if not windows:
        with pytest.raises(InputError, match=r"x\.zip: holds images, and none has a label"):
            list_images(tmp_path, ["x.zip"], "first")
        return
    listing = list_images(tmp_path, ["x.zip"], "first")
    assert Counter(listing.images["label"]) == {"a": 2, "b": 1}
    assert [(item.path, item.reason) for item in listing.rejected] == [("x.zip/../c", "outside")]


def test_a_zip_whose_directory_swaps_two_members_gives_neither(project):
    """Each picture would stand under the other's label."""
    fill_class_folders(project.raw / "in")
    target = project.raw / "x.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted((project.raw / "in").rglob("*.png")):
            archive.writestr(f"./{file.parent.name}//{file.name}", file.read_bytes())
        dark, light = archive.getinfo("./dark//003.png"), archive.getinfo("./light//004.png")
        dark.header_offset, light.header_offset = light.header_offset, dark.header_offset
        dark.compress_size, light.compress_size = light.compress_size, dark.compress_size
    shutil.rmtree(project.raw / "in")

    assert project.run("ingest") == 0

    assert rejected(project) == {
        "x.zip/dark/003.png": "damaged",
        "x.zip/light/004.png": "damaged",
    }
    images = manifest(project)
    assert len(images) == 22
    for place, digest in zip(read_places(images, project.raw), images["digest"], strict=True):
        assert pixel_digest(decode_at(place)) == digest


@pytest.mark.parametrize("comment", [b"", b"made by hand" * 5000])
def test_the_last_part_of_a_split_zip_is_refused(project, refused, comment):
    """Its directory names places in the other parts."""
    write(members("folders"), file := project.raw / "x.zip")
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = comment
    whole = file.read_bytes()
    disk = len(whole) - len(comment) - 22 + 4
    file.write_bytes(whole[:disk] + b"\3\0" + whole[disk + 2 :])

    assert "x.zip: is the last part of a split zip\n  fix: join the parts" in refused("ingest")

    file.write_bytes(whole[:disk] + b"\xff\xff" + whole[disk + 2 :])  # as zip64 may have it
    assert project.run("ingest") == 0


@pytest.mark.parametrize("stale", [False, True])
def test_a_zip_member_may_have_its_name_in_unicode_beside(tmp_path, stale):
    """As Info-ZIP writes it; unless the other name was changed since."""
    name, meant = b"caf_/1.png", "café/1.png"
    checked = zlib.crc32(b"another" if stale else name)
    field = struct.pack("<BI", 1, checked) + meant.encode()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        member = zipfile.ZipInfo(name.decode())
        member.extra = struct.pack("<2H", 0x7075, len(field)) + field
        archive.writestr(member, png(1, 1))
        archive.writestr("b/1.png", png(2, 2))

    listing = list_images(tmp_path, ["x.zip"], "first")

    assert listing.classes == ["b", "caf_" if stale else "café"]
    for place in listing.places:
        assert decode_at(place).ndim == 3


@pytest.fixture(params=["this", "newer"])
def _each_python(request, monkeypatch):
    """Newer releases read headers by functions with an underscore, and past those without."""
    if request.param == "newer" and not hasattr(tarfile.TarInfo, "_frombuf"):
        parse = tarfile.TarInfo.frombuf.__func__

        def read(cls, archive, **_more):
            header = cls._frombuf(archive.fileobj.read(512), archive.encoding, archive.errors)
            header.offset = archive.fileobj.tell() - 512
            return header._proc_member(archive)

        patches = {
            "_frombuf": lambda cls, *given, **_more: parse(cls, *given),
            "frombuf": lambda cls, *given: cls._frombuf(*given),
            "_fromtarfile": read,
            "fromtarfile": lambda cls, archive: cls._fromtarfile(archive),
        }
        for name, function in patches.items():
            monkeypatch.setattr(tarfile.TarInfo, name, classmethod(function), raising=False)


@pytest.mark.usefixtures("_each_python")
@pytest.mark.parametrize(
    ("records", "said"),
    [
        (b"14 size=-1536\n", "a member of -1,536 bytes"),
        (b"1" * 2**20, "a header that is none"),
        (b"2 " * 2**18 + b"=", "a header that is none"),  # keywords that each reach to the end
    ],
)
@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_pax_headers_that_would_be_read_for_ever_are_refused(tmp_path, records, said, ending):
    file = tmp_path / f"x{ending}"
    with tarfile.open(file, "w:gz" if ending == ".tar.gz" else "w") as archive:
        header = tarfile.TarInfo("pax")
        header.type, header.size = tarfile.XHDTYPE, len(records)
        archive.addfile(header, io.BytesIO(records))
        for number in range(3):
            member = tarfile.TarInfo(f"a/{number}.png")
            member.size = 600
            archive.addfile(member, io.BytesIO(b"x" * 600))

    with pytest.raises(InputError, match=said):
        list_images(tmp_path, [file.name], "first")


def test_names_of_many_digits_are_names(tmp_path):
    name = f"a/{'1' * 200}é.png"
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for path in (name, "b/1.png"):
            archive.addfile(tarfile.TarInfo(path), io.BytesIO())

    listing = list_images(tmp_path, ["x.tar"], "first")

    assert sorted(listing.images["path"]) == [f"x.tar/{name}", "x.tar/b/1.png"]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_a_member_of_more_than_any_disk_holds_is_refused(tmp_path, ending):
    file = tmp_path / f"x{ending}"
    with tarfile.open(file, "w:gz" if ending == ".tar.gz" else "w") as archive:
        member = tarfile.TarInfo("a/0.png")
        member.size = 2**62
        archive.addfile(member)

    with pytest.raises(
        InputError,
        match=r"x\.tar.*cannot be read as tar: (unexpected end of data|Invalid argument)",
    ):
        list_images(tmp_path, [file.name], "first")


@pytest.mark.usefixtures("_each_python")
@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_times_in_headers_of_gnus_tar_are_no_folders(tmp_path, ending):
    """As `tar -g` writes them where POSIX has a prefix, beside what each folder held."""
    content = bytearray()
    for name in ("a/", f"{'a' * 120}/", "a/0.png", "b/1.png", f"{'a' * 120}/2.png"):
        member = tarfile.TarInfo(name)
        member.type, member.size = b"D" if name.endswith("/") else tarfile.REGTYPE, 9
        content += member.tobuf(tarfile.GNU_FORMAT)
        header = content[-512:]
        header[345:369] = b"13602760400\0" * 2
        header[148:156] = b" " * 8  # what the checksum itself counts for
        header[148:156] = b"%06o\0 " % sum(header)
        content[-512:] = header + b"Y0.png\0\0\0".ljust(512, b"\0")
    content += bytes(1024)
    file = tmp_path / f"x{ending}"
    file.write_bytes(gzip.compress(content) if ending == ".tar.gz" else content)

    listing = list_images(tmp_path, [file.name], "first")

    assert dict(zip(listing.images["path"], listing.images["label"], strict=True)) == {
        f"{file.name}/a/0.png": "a",
        f"{file.name}/b/1.png": "b",
        f"{file.name}/{'a' * 120}/2.png": "a" * 120,
    }
    assert listing.rejected == []


@pytest.mark.parametrize("name", ["photo.png", "labels.txt"])
def test_a_source_of_one_file_that_says_no_label_is_refused(project, refused, name):
    fill_class_folders(project.raw)
    (project.raw / name).write_bytes(png(1, 1))
    project.set("ingest", sources=[name])

    assert f"{name}: holds images, and none has a label" in refused("ingest")


def test_a_parquet_file_beside_a_table_is_none_of_its_images(project):
    """Be its columns as they are."""
    write(members("table"), project.raw)
    pq.write_table(pa.table({"one": [b"1"], "other": [b"2"]}), project.raw / "vectors.parquet")
    project.set("ingest", sources=["labels.csv"])

    assert project.run("ingest") == 0

    assert len(manifest(project)) == 6


def test_a_label_of_blanks_is_no_class(project):
    found = members("table")
    found["labels.csv"] += b"\nimages/dark0.png,  ,"
    write(found, project.raw)
    project.set("ingest", max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    assert list(rejected(project).values()) == ["no_label"]


def test_of_several_columns_of_images_the_one_called_image_counts(project, refused, capsys):
    """A mask may stand before it."""
    both = {"mask": [{"bytes": png(50 + n, 9)} for n in range(4)], "label": ["a", "a", "b", "b"]}
    both["image"] = [{"bytes": png(n, 200)} for n in range(4)]
    file = project.raw / "x.parquet"
    project.raw.mkdir(parents=True)
    pq.write_table(pa.table(both), file)

    assert project.run("ingest") == 0

    assert "column mask left out" in capsys.readouterr().err
    expected = [pixel_digest(decode_bytes(cell["bytes"])) for cell in both["image"]]
    assert manifest(project)["digest"].tolist() == expected

    both["photo"] = both.pop("image")
    pq.write_table(pa.table(both), file)
    assert "has 2 columns of images (mask, photo)" in refused("ingest")


def test_a_folder_of_packed_images_is_no_class(project):
    """Beside folders that are."""
    fill_class_folders(project.raw)
    write(members("samples"), project.raw / "packed/x.tar")

    assert project.run("ingest") == 0

    assert set(manifest(project)["label"]) == {"dark", "light"}


def test_folders_of_one_class_each_are_no_sources(project, refused):
    fill_class_folders(project.raw)
    project.set("ingest", sources=["dark", "light"])

    said = refused("ingest")

    assert "data/raw/dark: holds images, and none has a label" in said
    assert "such as dark/000.png (lies in no class folder)" in said
    assert "name the folder that holds the classes' folders" in said


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.zst", "x.zip", "x.parquet"])
def test_an_archive_that_is_none_is_an_error(project, refused, name):
    project.raw.mkdir(parents=True)
    (project.raw / name).write_bytes(b"no archive at all" * 100)

    assert f"{name}: cannot be read as" in refused("ingest")


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip", "x.parquet", "x.csv"])
def test_what_may_not_be_read_is_to_be_allowed_not_made_again(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"none of its kind")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders around it are closed to others
    with pytest.raises(InputError) as damaged:
        list_images(Path(), [name], "first")
    (tmp_path / name).chmod(0)

    with forbidden(), pytest.raises(InputError) as unread:
        list_images(Path(), [name], "first")

    assert "Permission denied" in unread.value.reason
    assert unread.value.fix == "allow reading it" != damaged.value.fix


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(0o000, "Permission denied"), (0o644, "may be listed and not entered")],
)
def test_a_folder_that_may_not_be_read_ends_the_run(tmp_path, monkeypatch, mode, reason):
    write({"data/a/1.png": png(1, 1), "data/b/1.png": png(2, 2)}, tmp_path)
    (tmp_path / "data/a").chmod(mode)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)

    with forbidden(), pytest.raises(InputError) as refused:
        list_images(Path(), ["data"], "first")

    assert str(refused.value.file) == "data/a"
    assert refused.value.reason == reason
    assert refused.value.fix == "allow it, or take it out"


def test_what_lies_in_a_folder_that_may_not_be_entered_is_not_missing(tmp_path, monkeypatch):
    write({"closed/1.png": png(1, 1), "open/b/1.png": png(2, 2)}, tmp_path)
    (tmp_path / "open/labels.csv").write_text("path,label\n../closed/1.png,a\nb/1.png,b\n")
    (tmp_path / "closed").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders around it are closed to others

    with forbidden():
        listing = list_images(Path(), ["open"], "first")

    detail = "Permission denied (row 1 of labels.csv)"
    assert listing.rejected == [("../closed/1.png", "no_permission", detail)]
    assert list(listing.images["path"]) == ["open/b/1.png"]


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.zst", "x.zip"])
def test_joined_archives_lose_nothing_silently(project, refused, name):
    """Readers stop at the first tar's end, and find the last zip's directory only."""
    file = project.raw / name
    found = members("folders")
    write(dict(list(found.items())[:3]), file)
    first = file.read_bytes()
    write(dict(list(found.items())[3:]), file)
    file.write_bytes(first + file.read_bytes())

    assert f"{name}: cannot be read as" in (said := refused("ingest"))
    assert "joined" in said


class Pipe(io.BytesIO):
    """What cannot be gone back in: a zip's checksums then follow its members."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_checksums_that_follow_zip_members_are_looked_at(project, method):
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:
        for name, content in members("folders").items():
            archive.writestr(name, content)
    content = bytearray(pipe.getvalue())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {member.flag_bits for member in archive.infolist()} == {8}
        broken = archive.infolist()[1]
    content[broken.header_offset + 30 + len(broken.filename) + broken.compress_size + 4] ^= 1
    project.raw.mkdir(parents=True)
    (project.raw / "x.zip").write_bytes(bytes(content))
    project.set("ingest", max_rejected_fraction=0.9)

    assert project.run("ingest") == 0

    assert rejected(project) == {f"x.zip/{broken.filename}": "damaged"}
    assert len(manifest(project)) == len(members("folders")) - 1


def test_a_truncated_archive_is_an_error_or_its_last_member_damaged(project, refused):
    write(members("folders"), project.raw / "x.tar")
    whole = (project.raw / "x.tar").read_bytes()
    (project.raw / "x.tar").write_bytes(whole[: len(whole) // 2 + 100])

    assert "x.tar" in refused("ingest")


def test_a_source_outside_the_raw_folder_is_refused(filled, refused):
    for source in ("..", "/", "dark/../.."):
        filled.set("ingest", sources=[source])
        assert "lies outside the raw folder" in refused("ingest")
    filled.set("ingest", sources=["nowhere"])
    assert "data/raw/nowhere: does not exist" in refused("ingest")
    (filled.raw / "more").mkdir()
    (filled.raw / "dark").rename(filled.raw / "more/dark")
    filled.set("ingest", sources=[".", "more"])
    assert "two of ingest.sources hold more/dark/000.png" in refused("ingest")
    (filled.raw / "again").symlink_to("more")
    for twice in ("more/.", "light/../more", "again"):
        filled.set("ingest", sources=["more", twice])
        assert "two of ingest.sources" in refused("ingest")


def test_archives_are_only_read(project):
    write(members("folders"), project.raw / "x.tar")
    before = (project.raw / "x.tar").read_bytes(), (project.raw / "x.tar").stat().st_mtime_ns

    assert project.run("ingest") == 0

    assert (
        (project.raw / "x.tar").read_bytes(),
        (project.raw / "x.tar").stat().st_mtime_ns,
    ) == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["x.tar.gz", "x.tar.zst"])
def test_the_model_is_judged_on_compressed_archives_as_on_folders(project, keras, kind):
    stages = ("ingest", "split", "augment", "extract", "train_head", "fine_tune", "evaluate")
    write(members("folders", 12), project.raw)
    assert project.run(*stages) == 0
    predictions = pd.read_csv("reports/predictions.csv").drop(columns="path")
    shutil.rmtree(project.raw)
    write(members("folders", 12), project.raw / kind)

    assert project.run(*stages) == 0

    packed = pd.read_csv("reports/predictions.csv").drop(columns="path")
    pd.testing.assert_frame_equal(packed, predictions)


def test_a_compressed_archive_is_read_once_in_order_of_place(project, monkeypatch):
    write(members("folders", 40), project.raw / "x.tar.gz")
    opened: list[Path] = []
    unpacked = compressed._unpacked
    monkeypatch.setattr(
        compressed, "_unpacked", lambda file: opened.append(file) or unpacked(file)
    )
    places = [place for place, _ in compressed.members(project.raw / "x.tar.gz")]
    opened.clear()

    contents = [compressed.read(places[number]) for number in in_order(places)]

    assert contents == list(members("folders", 40).values())
    assert len(opened) == 1
    assert [compressed.read(place) for place in reversed(places)] == contents[::-1]


@pytest.mark.parametrize("kind", ["x.tar.gz", "x.tar.zst"])
def test_a_compressed_archive_cut_short_is_an_error(project, refused, kind):
    write(members("folders"), project.raw / kind)
    whole = (project.raw / kind).read_bytes()
    (project.raw / kind).write_bytes(whole[: len(whole) // 2])

    assert kind in refused("ingest")


def test_zeros_behind_a_gzipped_archive_say_nothing_and_anything_else_is_an_error(tmp_path):
    """Tapes fill their last block so, which gzip and tar allow for."""
    write(members("folders"), file := tmp_path / "x.tar.gz")
    whole = file.read_bytes()
    file.write_bytes(whole + bytes(-len(whole) % 10240))

    listing = list_images(tmp_path, [file.name], "first")

    assert [content(place) for place in listing.places] == list(members("folders").values())
    behind = whole + gzip.compress(b"")[:10] + b"~" * 9
    for wrong in (whole + b"\0more", behind, whole[:-2], whole[:99] + b"~" * 9 + whole[108:]):
        file.write_bytes(wrong)
        with pytest.raises(InputError, match=r"x\.tar\.gz: cannot be read as tar: "):
            list_images(tmp_path, [file.name], "first")
        with pytest.raises(RejectedImage, match=r"^damaged: "):
            content(Place(file, "behind", 10**6, 1))


@pytest.mark.parametrize("kind", ["a.tar", "a.zip", "a.tar.gz", "a.parquet"])
def test_what_the_system_will_not_open_is_not_taken_for_damaged(tmp_path, kind):
    """Damage is remembered; that too many files are open passes."""
    file = tmp_path / kind
    if kind == "a.parquet":
        hugging_face(file)
        place = next(parquet.members(file, "image"))[0]
    else:
        write(members("folders"), file)
        place = next(found.ARCHIVES[kind.removeprefix("a")](file))[0]
    whole = content(place)
    shutil.copy(file, other := tmp_path / f"other-{kind}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(RejectedImage) as caught:
            content(place._replace(file=other))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert caught.value.reason == "unreadable"
    assert content(place._replace(file=other)) == whole


def test_a_member_of_a_compressed_archive_that_memory_cannot_hold_is_rejected(tmp_path):
    write(members("folders"), file := tmp_path / "a.tar.gz")

    with pytest.raises(RejectedImage) as caught:
        content(Place(file, "huge", 0, 2**60))

    assert caught.value.reason == "too_large"


def test_packing_changes_no_digest_label_or_column(project, capsys):
    write(members("table"), project.raw)
    assert project.run("ingest") == 0
    plain = manifest(project).set_index("digest")

    assert main(["pack", "packed", "--shard-mb", "1"]) == 0

    assert "6 files, none of them decoded, in 1 shards in packed" in capsys.readouterr().out
    shutil.rmtree(project.raw)
    Path("packed").rename(project.raw)
    assert project.run("ingest") == 0
    packed = manifest(project).set_index("digest")
    same = ["label", "width", "height", "weight", "group", "split"]
    pd.testing.assert_frame_equal(packed[same].sort_index(), plain[same].sort_index())


def test_packing_keeps_labels_that_end_in_a_line_break(project):
    labels = ["a", "a\n", "a\r", "a\r\n", "b\n\n", "\ufeffcat"]
    project.raw.mkdir(parents=True)
    for number in range(len(labels)):
        (project.raw / f"{number}.png").write_bytes(png(number, 20))
    rows = [json.dumps({"path": f"{n}.png", "label": label}) for n, label in enumerate(labels)]
    (project.raw / "labels.jsonl").write_text("\n".join(rows))
    assert main(["pack", "packed"]) == 0
    shutil.rmtree(project.raw)
    Path("packed").rename(project.raw)

    assert project.run("ingest") == 0

    assert sorted(read_manifest(Path("data/manifest.csv"))["label"]) == sorted(labels)


def test_packing_twice_gives_the_same_bytes_in_shards_of_the_size(filled):
    for number in range(40):
        picture(number, brightness=9, size=(200, 200)).save(filled.raw / f"dark/x.{number}.bmp")

    for folder in ("one", "two"):
        assert main(["pack", folder, "--shard-mb", "1"]) == 0

    one, two = (sorted(Path(name).iterdir()) for name in ("one", "two"))
    assert len(one) == 5
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


def test_packing_writes_over_nothing_and_names_what_it_leaves_out(filled, capsys):
    (filled.raw / "dark/empty.png").touch()
    assert main(["pack", "data/raw"]) == 1
    assert "data/raw: is not an empty folder" in capsys.readouterr().err

    assert main(["pack", "packed"]) == 1

    assert "pack: left out dark/empty.png: empty_file" in capsys.readouterr().err


def test_packing_into_what_is_packed_is_refused(filled, capsys):
    """The images would be there twice, and the next shards would hold them again."""
    assert main(["pack", str(filled.raw / "packed")]) == 1

    assert "data/raw/packed: lies in data/raw" in capsys.readouterr().err
    assert not (filled.raw / "packed").exists()


def test_packing_keeps_a_column_that_says_nothing_yet(project):
    """split.stratify_columns may name it."""
    write(members("folders"), project.raw)
    rows = [f"{name},{name.partition('/')[0]}," for name in members("folders")]
    (project.raw / "labels.csv").write_text("\n".join(["path,label,site", *rows]))
    assert main(["pack", "packed"]) == 0
    shutil.rmtree(project.raw)
    Path("packed").rename(project.raw)

    assert project.run("ingest") == 0

    assert "site" in read_manifest(Path("data/manifest.csv"))


def test_a_byte_order_mark_is_no_part_of_a_samples_label(project):
    found = members("samples")
    marked = {n: b"\xef\xbb\xbf" + c if n.endswith(".cls") else c for n, c in found.items()}
    write(marked, project.raw / "x.tar")

    assert project.run("ingest") == 0

    assert set(manifest(project)["label"]) == {"dark", "light"}


def test_a_cell_may_be_long(project):
    write(members("folders"), project.raw)
    rows = [f"{name},{name.partition('/')[0]},{'x' * 300_000}" for name in members("folders")]
    (project.raw / "labels.csv").write_text("\n".join(["path,label,told", *rows]))

    assert project.run("ingest") == 0


def test_packing_names_files_that_no_table_names(filled, capsys):
    (filled.raw / "labels.csv").write_text("path,label\ndark/000.png,dark\nlight/000.png,light\n")

    assert main(["pack", "packed"]) == 1

    said = capsys.readouterr()
    assert "2 files, none of them decoded" in said.out
    assert "pack: left out dark/001.png: no table names it" in said.err


def test_packing_takes_only_what_ingest_takes_for_params(filled, capsys):
    filled.set("ingest", sources=[])

    assert main(["pack", "packed"]) == 1

    assert "ingest.sources" in capsys.readouterr().err


def test_the_raw_folders_own_name_is_no_split(project):
    raw = project.folder / "test"
    write(members("samples"), raw / "shard-000000.tar")

    assert main(["pack", "packed", "--raw", str(raw)]) == 0
    with tarfile.open("packed/shard-000000.tar") as packed:
        fields = [json.load(packed.extractfile(m)) for m in packed if m.name.endswith(".json")]
    assert {row["split"] for row in fields} == {"train", "val", "test"}  # as each sample says


def test_a_tar_damaged_or_cut_anywhere_is_an_error_and_loses_nothing_silently(project, refused):
    file = project.raw / "x.tar"
    write(members("folders"), file)
    whole = file.read_bytes()
    with tarfile.open(file) as archive:
        starts = [member.offset for member in archive]
    for start in starts[1:]:
        for cut in (whole[:start], whole[: start + 100]):
            file.write_bytes(cut)
            assert "x.tar: cannot be read as tar" in refused("ingest")
        file.write_bytes(whole[: start + 5] + b"~" + whole[start + 6 :])
        assert "x.tar: cannot be read as tar: bad checksum at byte" in refused("ingest")


def test_a_hostile_tar_ends_the_listing_soon(project, refused):
    file = project.raw / "x.tar"
    write(members("folders"), file)
    negative = tarfile.TarInfo("dark/a.png")
    negative.size = -512
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 2**33
    for header in (negative, long_name):
        content = members("folders")
        write(content, file)
        with tarfile.open(file, "a") as archive:
            end = archive.offset
        bad = header.tobuf(tarfile.GNU_FORMAT)
        file.write_bytes(file.read_bytes()[:end] + bad + bytes(10240))
        assert "x.tar: cannot be read as tar: a header of" in refused("ingest")


def test_a_linked_table_of_images_and_a_pipe_are_refused(filled):
    outside = filled.folder / "elsewhere.parquet"
    hugging_face(outside)
    (filled.raw / "x.parquet").symlink_to(outside)
    os.mkfifo(filled.raw / "dark/x.tar")

    assert filled.run("ingest") == 0

    assert rejected(filled) == {"x.parquet": "outside", "dark/x.tar": "not_a_file"}


def test_names_with_dots_and_double_slashes_are_the_same_files(project):
    found = members("table")
    found = {n.replace("images/", "./images/.//"): content for n, content in found.items()}
    write(found, project.raw / "x.tar")

    assert project.run("ingest") == 0

    assert set(manifest(project)["path"]) == {
        f"x.tar/images/{label}{n}.png" for label in ("dark", "light") for n in range(3)
    }


def test_of_one_name_the_first_member_counts(project):
    write(members("table"), project.raw / "x.tar")
    with tarfile.open(project.raw / "x.tar", "a") as archive:
        archive.addfile(tarfile.TarInfo("images/dark0.png"))

    assert project.run("ingest") == 0

    assert len(manifest(project)) == 6


def test_odd_names_survive_packing(project, capsys):
    """Hidden folders, names like those of labels, and labels that end in a space."""
    project.raw.mkdir(parents=True)
    rows = ["path,label"]
    for number, name in enumerate([".h/a.png", "c.txt", "a.cls", "img.0001", "img.0002", "k.JPG"]):
        (project.raw / name).parent.mkdir(exist_ok=True)
        (project.raw / name).write_bytes(png(number, 90))
        rows.append(f"{name},{('cat', 'cat ', 'dog')[number % 3]}")
    write({"labels.csv": "\n".join(rows).encode()}, project.raw)
    assert project.run("ingest") == 0
    plain = manifest(project).set_index("digest")["label"].sort_index()
    assert main(["pack", "packed"]) == 0
    shutil.rmtree(project.raw)
    Path("packed").rename(project.raw)

    assert project.run("ingest") == 0

    packed = manifest(project).set_index("digest")["label"].sort_index()
    pd.testing.assert_series_equal(packed, plain)


def test_labels_that_cannot_be_read_reject_their_images_by_name(project):
    found = members("samples")
    found["dark0.cls"] = b"\xff"
    found["dark1.json"] = b'{"t": "\\ud800"}'
    found["dark2.cls"] = b"x" * 1_000_001
    found["light0.JPG"] = png(5, 5)
    write(found, project.raw / "x.zip")
    project.set("ingest", max_rejected_fraction=0.9)

    assert project.run("ingest") == 1  # no usable image of dark is left

    assert rejected(project) == dict.fromkeys([f"x.zip/dark{n}.png" for n in range(3)], "no_label")


@pytest.mark.parametrize("column", ["path", "file_name"])
def test_bytes_beside_file_names_are_no_images(filled, column):
    names = [f"dark/{number:03}.png" for number in range(12)]
    names += [name.replace("dark", "light") for name in names]
    cells = {column: names, "label": ["dark"] * 12 + ["light"] * 12, "md5": [b"0" * 16] * 24}
    pq.write_table(pa.table(cells), filled.raw / "metadata.parquet")

    assert filled.run("ingest") == 0

    assert manifest(filled)["label"].value_counts().to_dict() == {"dark": 12, "light": 12}


def test_a_column_may_be_called_self_and_parquet_with_paths_is_a_table(project):
    write({f"{n}.png": png(n, 90) for n in range(4)}, project.raw)
    rows = {"path": [f"{n}.png" for n in range(4)], "label": list("abab"), "self": list("xyxy")}
    pd.DataFrame(rows).to_parquet(project.raw / "labels.parquet")

    assert project.run("ingest") == 0

    assert set(manifest(project)["self"]) == {"x", "y"}


def test_compressed_archives_are_unpacked_once_for_all_processes(project, monkeypatch):
    write(members("samples", 40), project.raw / "x.tar.gz")
    opened: list[Path] = []
    unpacked = compressed._unpacked
    monkeypatch.setattr(compressed, "_unpacked", lambda f: opened.append(f) or unpacked(f))

    assert project.run("ingest") == 0

    assert len(manifest(project)) == 80
    assert len(opened) == 3  # names, labels, images


def test_what_stands_beside_a_samples_picture_is_none(project, capsys):
    found = members("samples")
    masks = {name.replace(".png", ".seg.png"): png(9, 90) for name in found if "png" in name}
    write({**found, **masks}, project.raw / "x.tar")

    assert project.run("ingest") == 0

    assert len(manifest(project)) == 6
    assert "left out: 6 other files of samples" in capsys.readouterr().err


def test_a_label_without_its_picture_is_named_and_no_mask_takes_its_place(project):
    images = members("samples")
    for name in ("dark0.png", "light1.png"):
        del images[name]
    write(images | {"light1.seg.png": png(90, 90)}, project.raw / "x.tar")
    project.set("ingest", max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    found = rejected(project)
    assert {name.split("/")[1].partition(".")[0]: why for name, why in found.items()} == {
        "dark0": "missing",
        "light1": "missing",
    }
    assert len(manifest(project)) == 4


def test_a_samples_pictures_are_what_is_called_so_or_else_whatever_it_has(project, capsys):
    found = {name.replace("dark0.png", "dark0.JPG"): c for name, c in members("samples").items()}
    for name in ("dark0.npy", "dark1.pyd", "light0.pth", "light1.seg.png", "light2"):
        found[name] = b"no picture"
    found |= {"light9.raw": png(9, 170), "light9.seg.png": b"mask", "light9.cls": b"light"}
    write(found, project.raw / "x.tar")

    assert project.run("ingest") == 0

    pictures = {f"x.tar/{name}" for name in found if name.endswith((".png", ".JPG", ".raw"))}
    assert set(manifest(project)["path"]) == {name for name in pictures if "seg" not in name}
    assert rejected(project) == {}
    assert "left out: 6 other files of samples" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.tar.bz2", "x.7z", "x.RAR"])
def test_an_archive_of_a_kind_that_is_not_read_ends_the_run(filled, refused, name):
    (filled.raw / name).write_bytes(b"some")

    assert "is an archive of a kind that is not read, only .tar, .zip" in refused("ingest")


@pytest.mark.parametrize("kind", ["x.tar", "x.zip", "x.tar.gz"])
@pytest.mark.parametrize("inner", ["more.zip", "dark/more.7z"])
def test_an_archive_within_an_archive_ends_the_run(project, refused, kind, inner):
    """Nobody knows how many images it holds."""
    write({**members("folders"), inner: b"images without end"}, project.raw / kind)

    said = refused("ingest")

    assert f"{kind}: {inner} is an archive within an archive" in said
    write({**members("folders"), "dark/.hidden.zip": b"x"}, project.raw / kind)
    assert project.run("ingest") == 0


@pytest.mark.parametrize("kind", ["folder", "joined", "archives"])
def test_deliveries_of_the_same_classes_are_pointed_out(project, capsys, kind):
    """A second delivery makes labels of the deliveries' names: nothing else would tell."""
    for number in (1, 2):
        name = f"delivery{number}" + (".zip" if kind == "archives" else "")
        inner = f"release{number}/" if kind == "archives" else ""
        write({f"{inner}{k}": v for k, v in members("folders").items()}, project.raw / name)
    project.set("ingest", folder_labels="joined" if kind == "joined" else "first")

    assert project.run("ingest") == 0

    outer = "release1, release2" if kind == "archives" else "delivery1, delivery2"
    words = f"each of {outer} holds folders dark, light; if these are the labels, name the former"
    assert words in capsys.readouterr().err


def test_zip_names_of_utf8_that_do_not_say_so_are_read_as_utf8(project):
    file = project.raw / "x.zip"
    write({f"{label}/0.png": png(n, 30) for n, label in enumerate(("café", "dog"))}, file)
    content = bytearray(file.read_bytes())
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = content.find(magic)
        while place >= 0:
            content[place + at + 1] &= ~0x8  # the flag that says UTF-8
            place = content.find(magic, place + 1)
    file.write_bytes(content)
    with zipfile.ZipFile(file) as archive:
        assert "caf├⌐/0.png" in archive.namelist()

    assert project.run("ingest") == 0

    assert set(manifest(project)["label"]) == {"café", "dog"}


def test_a_table_in_an_archive_names_nothing_outside(project):
    found = members("table")
    found["labels.csv"] += b"\n../beside.png,dark,train"
    write(found, project.raw / "x.tar")
    (project.raw / "beside.png").write_bytes(png(5, 60))
    project.set("ingest", sources=["x.tar"], max_rejected_fraction=0.5)

    assert project.run("ingest") == 0

    assert rejected(project) == {"../beside.png": "outside"}


@pytest.mark.parametrize("source", ["a\0b", "x" * 5000])
def test_a_source_that_no_path_can_name_is_refused(filled, refused, source):
    filled.set("ingest", sources=[source])

    assert "fix: " in refused("ingest")


def test_whole_numbers_are_spelt_alike_in_every_table(project):
    groups = [20_240_115_000, None, 7]
    frame = pd.DataFrame({"path": ["0.png", "1.png", "2.png"], "label": ["a", "b", "a"]})
    project.raw.mkdir(parents=True)
    for number in range(3):
        (project.raw / f"{number}.png").write_bytes(png(number, 30 * number))
    for form in ("parquet", "jsonl", "csv", "tsv"):
        file = project.raw / f"labels.{form}"
        if form == "parquet":
            frame.assign(group=groups).to_parquet(file)
        elif form == "jsonl":
            frame.assign(group=groups).to_json(file, orient="records", lines=True)
            assert "7.0" in file.read_text()
        else:
            separator = "," if form == "csv" else "\t"
            frame.assign(group=groups).to_csv(file, sep=separator, index=False)
            assert "7.0" in file.read_text()

        assert project.run("ingest") == 0

        assert list(manifest(project)["group"]) == ["20240115000", "", "7"]
        file.unlink()


def test_text_that_only_resembles_a_whole_number_is_left(project):
    project.raw.mkdir(parents=True)
    spelt = ["1.10", "1.0.0", "v7.0", "7.00", ".0"]
    for number in range(len(spelt)):
        (project.raw / f"{number}.png").write_bytes(png(number, 30 * number))
    rows = [f"{number}.png,{number % 2}.0,{group}" for number, group in enumerate(spelt)]
    (project.raw / "labels.csv").write_text("\n".join(["path,label,group", *rows]))

    assert project.run("ingest") == 0

    assert list(manifest(project)["group"]) == spelt
    assert set(read_manifest(project.raw.parent / "manifest.csv")["label"]) == {"0.0", "1.0"}


def test_classes_that_only_the_schema_names_are_none(project):
    project.raw.mkdir(parents=True)
    hugging_face(project.raw / "a.parquet", unseen=["other"])

    assert project.run("ingest") == 0

    assert set(manifest(project)["label"]) == {"dark", "light"}


def test_labels_are_numbers_or_names_of_the_schemas_classes(project):
    """Whoever names the numbers with Arrow keeps the schema's metadata."""
    from pyarrow import parquet

    project.raw.mkdir(parents=True)
    hugging_face(project.raw / "a.parquet")
    table = parquet.read_table(project.raw / "a.parquet")
    named = table.set_column(1, "label", [["dark", "light", "light", "7", "1", "cat", ""]])
    parquet.write_table(named, project.raw / "a.parquet")
    project.set("ingest", max_rejected_fraction=0.9)

    assert project.run("ingest") == 0

    assert list(manifest(project)["label"]) == ["dark", "light", "light", "light"]
    details = pd.read_csv(project.folder / "data/rejected.csv")["detail"]
    assert list(details) == [
        "label is '7', which is none of the file's classes: dark, light",
        "label is 'cat', which is none of the file's classes: dark, light",
        "label is empty",
    ]


def test_a_class_that_is_called_by_a_number_keeps_its_name(project):
    """Of folders 0 to 11 the third by name is 10: text that names a class is no number of one."""
    from pyarrow import parquet

    names = sorted(map(str, range(12)))
    project.raw.mkdir(parents=True)
    hugging_face(project.raw / "a.parquet")
    table = parquet.read_table(project.raw / "a.parquet")
    schema = table.schema.metadata
    said = json.loads(schema[b"huggingface"])
    said["info"]["features"]["label"]["names"] = names
    metadata = {**schema, b"huggingface": json.dumps(said).encode()}
    for file, labels in (("text", ["2", "10", "0", "1", "2", "3", "4"]), ("number", range(7))):
        column = table.set_column(1, "label", [list(labels)])
        parquet.write_table(
            column.replace_schema_metadata(metadata), project.raw / f"{file}.parquet"
        )
    (project.raw / "a.parquet").unlink()

    found = list_images(project.raw, ["."], "first").images

    of = {
        name: found[found["path"].str.startswith(name)]["label"].tolist()
        for name in ("text", "number")
    }
    assert of["text"] == ["2", "10", "0", "1", "2", "3", "4"][: len(of["text"])]
    assert of["number"] == names[: len(of["number"])]


def test_beside_packed_images_new_ones_lie_in_folders_of_their_classes(project, refused):
    write(members("samples"), project.raw / "shard-000000.tar")
    write({"dark/new.png": png(70, 20), "other/new.png": png(71, 90)}, project.raw)
    write({"light/more.png": png(72, 170)}, project.raw / "more.tar")

    assert project.run("ingest") == 0

    table = manifest(project)
    assert table["label"].value_counts().to_dict() == {"dark": 4, "light": 4, "other": 1}
    assert rejected(project) == {}


def test_a_column_without_a_name_is_left_out(project, capsys):
    project.raw.mkdir(parents=True)
    for number in range(2):
        (project.raw / f"{number}.png").write_bytes(png(number, 30 * number))
    table = pd.DataFrame({"path": ["0.png", "1.png"], "label": ["a", "b"]})
    table.to_csv(project.raw / "labels.csv")  # with its index

    assert project.run("ingest") == 0

    assert "labels.csv: a column without a name left out" in capsys.readouterr().err
    assert not [name for name in manifest(project) if "Unnamed" in name]


def while_it_reads(monkeypatch, change) -> list[int]:
    """Let data change between listing and decoding; return a list that grows each time."""
    listed, times = ingest.list_images, []

    def list_then_change(*given):
        listing = listed(*given)
        times.append(len(times))
        change(len(times))
        return listing

    monkeypatch.setattr(ingest, "list_images", list_then_change)
    return times


def test_what_comes_while_ingest_reads_is_taken_in(filled, monkeypatch, capsys):
    """DVC looks at the data afterwards, and would take it for read."""

    def add(time: int) -> None:
        if time == 1:
            (filled.raw / "dark/new.png").write_bytes(png(77, 20))

    times = while_it_reads(monkeypatch, add)

    assert filled.run("ingest") == 0

    assert len(times) == 2
    said = capsys.readouterr().err
    assert "data/raw/dark/new.png changed, or came or went, meanwhile: looking again" in said
    assert "dark/new.png" in set(manifest(filled)["path"])


def test_labels_that_change_while_ingest_reads_are_the_new_ones(project, monkeypatch):
    write(members("table"), project.raw)

    def relabel(time: int) -> None:
        file = project.raw / "labels.csv"
        if time == 1:
            file.write_text(file.read_text().replace("dark1.png,dark", "dark1.png,light"))

    while_it_reads(monkeypatch, relabel)

    assert project.run("ingest") == 0

    labels = manifest(project).set_index("path")["label"]
    assert labels["images/dark1.png"] == "light"


@pytest.mark.parametrize("name", ["x.tar", "x.parquet"])
def test_an_archive_that_is_replaced_while_ingest_reads_keeps_its_labels(
    project, monkeypatch, name
):
    """Of the same pictures, equally large, in another order."""
    found = {
        f"{label}/{n}.bmp": plain_bmp(shade + n)
        for label, shade in (("dark", 0), ("light", 99))
        for n in range(3)
    }
    project.raw.mkdir(parents=True)
    orders = sorted(found), sorted(found, reverse=True)
    for order, folder in zip(orders, (project.raw, project.folder), strict=True):
        if name == "x.tar":
            write({path: found[path] for path in order}, folder / name)
        else:
            labels = [path.partition("/")[0] for path in order]
            images = [found[path] for path in order]
            pq.write_table(pa.table({"image": images, "label": labels}), folder / name)

    def replace(time: int) -> None:
        if time == 1:
            (project.folder / name).replace(project.raw / name)

    while_it_reads(monkeypatch, replace)

    assert project.run("ingest") == 0

    images = read_manifest(project.folder / "data/manifest.csv")
    assert len(images) == 6
    for place, label in zip(read_places(images, project.raw), images["label"], strict=True):
        assert (decode_at(place).max() < 99) == (label == "dark")


@pytest.mark.parametrize("what", ["mode", "link", "elsewhere"])
def test_what_changes_no_image_is_no_change(project, monkeypatch, what):
    """As DVC links files of one cache into many clones."""
    project.raw.mkdir(parents=True)
    hugging_face(project.raw / "x.parquet")
    project.set("ingest", sources=["x.parquet"])

    def touch(time: int) -> None:
        if what == "mode":
            (project.raw / "x.parquet").chmod(0o600)
        elif what == "link":
            (project.folder / f"{time}.parquet").hardlink_to(project.raw / "x.parquet")
        else:
            (project.raw / f"{time}.png").write_bytes(png(1, 1))

    times = while_it_reads(monkeypatch, touch)

    assert project.run("ingest") == 0
    assert len(times) == 1


def test_data_that_go_on_changing_are_refused(filled, refused, monkeypatch):
    def add(time: int) -> None:
        (filled.raw / f"dark/new{time}.png").write_bytes(png(time, 20))

    while_it_reads(monkeypatch, add)

    assert "data/raw/dark/new3.png: changed each of 3 times that ingest read all" in refused(
        "ingest"
    )

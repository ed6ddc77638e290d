"""`inspect` shows what ingest found, whatever the names, and whatever became of the files."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.images.contact_sheet import FRAMED_COLUMNS, Tile, framed_sheet, shrunk
from tests.conftest import Project
from tests.test_findings import OF_FOLDERS, fill_clean, fill_odd, scene

SCRIPT = "<script>alert(1)</script>"
HOSTILE = '"><img src=x onerror=alert(1)>&amp;\u202e\n\x1b[31m.png'


class Page(HTMLParser):
    """The tags, and the text outside of tags, of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """A folder in which ingest has found one of each."""
    folder = tmp_path_factory.mktemp("ingested")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project = Project(folder)
        fill_odd(project.raw)
        (project.raw / "lion/broken.png").write_bytes(b"no image")
        assert project.run("ingest") == 0
    return folder


@pytest.fixture
def odd(ingested, project):
    """The same, to spoil as a test likes."""
    shutil.copytree(ingested, project.folder, dirs_exist_ok=True)
    return project


def page(project, out: str = "reports/inspect") -> Page:
    return Page((project.folder / out / "index.html").read_text(encoding="utf-8"))


def written(project) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in (project.folder / "reports/inspect").iterdir()}


def test_each_finding_has_a_sheet_and_the_page_holds_all(odd, capsys):
    capsys.readouterr()

    assert main(["inspect"]) == 0

    assert "reports/inspect/index.html" in capsys.readouterr().out
    assert set(written(odd)) == {"index.html", *(f"{code}.png" for code in OF_FOLDERS)}
    shown = page(odd)
    images = [attributes for tag, attributes in shown.tags if tag == "img"]
    assert [attributes["alt"] for attributes in images] == list(OF_FOLDERS)
    assert all(attributes["src"].startswith("data:image/png;base64,") for attributes in images)
    for text in (
        *OF_FOLDERS,
        "lion/near.jpg",
        "not_an_image",
        "lion/broken.png",
        "zebra",
        "sharpness",
    ):
        assert text in shown.text


def test_nothing_on_the_page_is_loaded_or_run(odd):
    main(["inspect"])

    tags = page(odd).tags
    assert {tag for tag, _ in tags} <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "br",
        "img",
    }
    assert not [a for _, a in tags if any(name.startswith("on") or name == "href" for name in a)]


def test_hostile_names_and_labels_are_text(project, capsys):
    fill_clean(project.raw)
    for folder in (SCRIPT.replace("/", "\u2215"), "a'\"b&lt;"):
        (project.raw / folder).mkdir()
        for index in range(2):
            scene(900).save(project.raw / folder / f"{index}{HOSTILE}")
    (project.raw / "lion" / f"broken{HOSTILE}").write_bytes(b"")
    assert project.run("ingest") == 0
    document = json.loads((project.folder / "reports/ingest.json").read_text())
    document["findings"][0]["sentence"] = SCRIPT
    (project.folder / "reports/ingest.json").write_text(json.dumps(document))

    assert main(["inspect"]) == 0

    shown = page(project)
    assert not [tag for tag, _ in shown.tags if tag == "script"]
    assert not [a for tag, a in shown.tags if tag == "img" and a.get("src") == "x"]
    for text in (
        SCRIPT,
        SCRIPT.replace("/", "\u2215"),
        "a'\"b&lt;",
        "&amp;\\u202e\\n\\x1b[31m.png",
    ):
        assert text in shown.text
    assert "\x1b" not in "".join(capsys.readouterr())


def test_two_runs_write_the_same_bytes(odd):
    main(["inspect"])
    first = written(odd)

    main(["inspect"])

    assert written(odd) == first


def test_the_users_files_are_only_read(odd):
    before = {f: f.stat().st_mtime_ns for f in odd.raw.rglob("*")}

    main(["inspect"])

    assert {f: f.stat().st_mtime_ns for f in odd.raw.rglob("*")} == before


def test_pictures_that_have_gone_or_changed_are_named_and_the_rest_is_shown(odd, capsys):
    (odd.raw / "lion/near.jpg").unlink()
    scene(1234).save(odd.raw / "lion/dark.png")
    (odd.raw / "lion/soft.png").write_bytes(b"spoilt")

    assert main(["inspect"]) == 0

    said = capsys.readouterr().err
    assert "lion/near.jpg cannot be shown: missing" in said
    assert "lion/dark.png cannot be shown: has changed since ingest" in said
    assert "lion/soft.png cannot be shown: not_an_image" in said
    assert "has changed since ingest" in page(odd).text
    assert len(written(odd)) == len(OF_FOLDERS) + 1


def test_many_that_cannot_be_shown_are_summed_up(odd, capsys):
    for file in odd.raw.rglob("*.png"):
        file.unlink()

    assert main(["inspect"]) == 0

    assert "more cannot be shown" in capsys.readouterr().err


def test_a_clean_corpus_has_a_page_without_sheets_and_old_sheets_go(odd):
    main(["inspect"])
    for file in odd.raw.rglob("*"):
        if file.is_file():
            file.unlink()
    for folder in odd.raw.iterdir():
        folder.rmdir()
    fill_clean(odd.raw)
    (odd.folder / "reports/inspect/mine.png").write_bytes(b"of the user")
    odd.run("ingest")

    assert main(["inspect"]) == 0

    assert set(written(odd)) == {"index.html", "mine.png"}
    assert "None." in page(odd).text


def test_help_names_the_folder(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", "--help"])

    said = capsys.readouterr().out
    assert "--out FOLDER" in said
    assert "reports/inspect" in said


def test_out_names_another_folder(odd):
    assert main(["inspect", "--out", "elsewhere/deep"]) == 0

    assert page(odd, "elsewhere/deep").tags
    assert not (odd.folder / "reports/inspect").exists()


def test_out_that_is_a_file_is_an_error(odd, capsys):
    (odd.folder / "taken").write_text("x")

    assert main(["inspect", "--out", "taken"]) == 1

    assert "taken: is no folder\n  fix: name another" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.unlink(),
        lambda report: report.write_text("{}"),
        lambda report: report.write_text("[1]"),
        lambda report: report.write_bytes(b"\xff\xfe"),
        lambda report: report.write_text('{"findings": [{"code": "x"}]}'),
        lambda report: report.write_text('{"findings": 3}'),
    ],
)
def test_without_the_report_of_ingest_it_is_an_error(odd, capsys, spoil):
    spoil(odd.folder / "reports/ingest.json")

    assert main(["inspect"]) == 1

    said = capsys.readouterr().err
    assert "reports/ingest.json: cannot be read" in said
    assert "fix: run `dvc repro ingest`" in said


def test_a_code_in_the_report_names_no_file_elsewhere(odd):
    report = odd.folder / "reports/ingest.json"
    document = json.loads(report.read_text())
    document["findings"][0]["code"] = "../../stolen"
    report.write_text(json.dumps(document))

    main(["inspect"])

    assert list(odd.folder.rglob("stolen.png")) == [odd.folder / "reports/inspect/stolen.png"]


def test_without_ingest_it_is_an_error(project, capsys):
    assert main(["inspect"]) == 1

    assert "reports/ingest.json: cannot be read" in capsys.readouterr().err


def test_long_lists_of_rejected_files_are_cut_and_that_is_said(odd, monkeypatch):
    monkeypatch.setattr("pipeline.findings.page.REJECTED_ROWS", 2)
    rows = [(f"{i}.png", "damaged", "x") for i in range(3)]
    table = pd.DataFrame(rows, columns=["path", "reason", "detail"])
    table.to_csv(odd.folder / "data/rejected.csv", index=False)

    main(["inspect"])

    assert "The first 2; data/rejected.csv has them all." in page(odd).text


@pytest.mark.parametrize("shape", [(1, 4000, 3), (4000, 1, 3), (1, 1, 3), (176, 176, 3)])
def test_a_tile_takes_a_picture_of_any_shape(shape):
    sheet = framed_sheet([[Tile(shrunk(np.zeros(shape, np.uint8)), ("a" * 500, "\u732b\n"))]])

    assert (np.asarray(Image.open(BytesIO(sheet))) == 0).all(axis=2).any()


def test_frames_stay_whole():
    """Each frame stands in one row, in order, and none is drawn over another."""
    tile = Tile(shrunk(np.full((4, 4, 3), 9, np.uint8)), ())
    for sizes in ((1,) * 13, (4, 4, 4), (3, 2, 2, 1), (), (FRAMED_COLUMNS,)):
        sheet = np.asarray(Image.open(BytesIO(framed_sheet([[tile] * size for size in sizes]))))

        assert (sheet == 9).all(axis=2).sum() == sum(sizes) * 176 * 176


def test_the_sheets_can_be_opened(odd):
    main(["inspect"])

    for code in OF_FOLDERS:
        with Image.open(odd.folder / f"reports/inspect/{code}.png") as sheet:
            sheet.load()


def alike_across_splits(project) -> dict:
    """A run of ingest and split in which a training and a test picture look alike."""
    fill_clean(project.raw)
    for label in ("lion", "tiger", "zebra"):
        for file in sorted((project.raw / label).glob("*.png")):
            with Image.open(file) as picture:
                picture.save(file.with_suffix(".jpg"), quality=60)
    project.set("split", min_per_class=0)
    assert project.run("ingest") == 0
    assert project.run("split") == 0
    return json.loads((project.folder / "reports/leakage.json").read_text())


def test_pictures_alike_across_splits_are_shown_side_by_side(project):
    report = alike_across_splits(project)

    assert main(["inspect"]) == 0

    shown, nearest = page(project), report["nearest"]
    assert nearest
    assert sum(report["pictures"].values()) > 0
    assert "leakage" in [attributes.get("alt") for tag, attributes in shown.tags if tag == "img"]
    for pair in nearest:
        assert f"{pair['one']['split']} near {pair['other']['split']}" in shown.text
        assert pair["one"]["path"] in shown.text
    with Image.open(project.folder / "reports/inspect/leakage.png") as sheet:
        assert (np.asarray(sheet) != 255).any()


@pytest.mark.parametrize("broken", ["{", "[]", '{"pictures": {}}', '{"pictures": {"a": "b"}}'])
def test_a_broken_report_of_split_is_named(odd, broken, capsys):
    (odd.folder / "reports/leakage.json").write_text(broken)

    assert main(["inspect"]) == 1

    said = capsys.readouterr().err
    assert "reports/leakage.json" in said
    assert "dvc repro split" in said

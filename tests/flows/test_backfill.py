"""`backfill` fills in what other commits' models, data or code would have scored."""

from __future__ import annotations

import csv
import json
import shutil

import pandas as pd
import pytest

from pipeline.flows.backfill import COLUMNS, TABLE, backfill
from pipeline.scoring.names import HEADLINE
from tests.clones import commit_run, run
from tests.toy import Toy, make_toy

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Toy:
    """Commits `few` and `more` of data, `strict`, which halves scores, `nameless`, and HEAD."""
    toy = make_toy(tmp_path_factory.mktemp("history"), remotes=False)
    toy.git("tag", "few")
    save(toy, "more", right=95)
    stage = (toy.folder / "stage.py").read_text()
    toy.write("stage.py", stage.replace("value = hits / total", "value = hits / total / 2"))
    save(toy, "strict")
    toy.write("stage.py", stage.replace("names = [", "names = [] and ["))
    save(toy, "nameless")
    toy.write("stage.py", stage)
    save(toy, "today", right=90)
    return toy


@pytest.fixture
def toy(history, tmp_path, monkeypatch) -> Toy:
    """A copy of it, as the working directory."""
    toy = Toy(tmp_path / "toy")
    shutil.copytree(history.folder, toy.folder, symlinks=True)
    monkeypatch.chdir(toy.folder)
    return toy


def save(toy: Toy, tag: str, *, right: int | None = None) -> None:
    if right is not None:
        toy.answers(right)
        toy.dvc("add", "--quiet", "data/raw")
    toy.git("commit", "--quiet", "--all", "--message", tag)
    toy.git("tag", tag)


def rows() -> dict[tuple[str, str], dict[str, str]]:
    """By what and revision."""
    with TABLE.open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert all(tuple(row) == COLUMNS for row in found)
    return {(row["what"], row["revision"]): row for row in found}


def test_other_data_and_other_code_are_scored_in_clones_of_their_own(toy):
    before = toy.git("rev-parse", "HEAD")
    data = backfill(["few", "more"], "data", return_state=True)
    code = backfill(["strict"], "code", return_state=True)

    assert data.message == "2 commits scored"
    assert code.name == "Completed", code.message
    assert {key: row["accuracy"] for key, row in rows().items()} == {
        ("data", "few"): "0.8",
        ("data", "more"): "0.95",
        ("code", "strict"): "0.45",
    }
    assert {row["today"] for row in rows().values()} == {before}
    assert {row["images"] for row in rows().values()} == {"100"}
    assert toy.status() == ""
    assert toy.git("rev-parse", "HEAD") == before
    assert not (toy.folder / "data/manifest.csv").exists()


def test_a_commit_whose_figures_have_other_names_says_so(toy):
    assert backfill(["nameless"], "code", return_state=True).name != "Completed"

    assert "no figure of today's names" in rows()["code", "nameless"]["error"]


@pytest.mark.slow
def test_only_what_is_missing_is_filled_in(toy):
    backfill(["few"], "data", return_state=True)
    TABLE.write_text(TABLE.read_text().replace("0.8,", "0.1234,"))

    state = backfill(["few", "today"], "data", return_state=True)

    assert state.name == "Completed", state.message
    assert rows()["data", "few"]["accuracy"] == "0.1234"
    assert rows()["data", "today"]["accuracy"] == "0.9"

    toy.git("commit", "--quiet", "--allow-empty", "--message", "Another today")
    backfill(["few"], "data", return_state=True)
    assert rows()["data", "few"]["accuracy"] == "0.8"
    assert len(TABLE.read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_commit_without_figures_is_named_and_the_others_are_kept(toy):
    toy.write("data/raw/answers.csv", "image,label,answer\n1.png,cat,stop\n")
    toy.dvc("add", "--quiet", "data/raw")
    save(toy, "bad")
    save_good = toy.git("rev-parse", "today")
    toy.git("revert", "--no-edit", "HEAD")

    state = backfill(["bad", "few"], "data", return_state=True)

    assert state.name == "Failed"
    assert state.message == "no figures for bad: see the artifact"
    assert "an answer is 'stop'" in rows()["data", "bad"]["error"]
    assert rows()["data", "bad"]["accuracy"] == ""
    assert rows()["data", "few"]["accuracy"] == "0.8"
    assert rows()["data", "few"]["error"] == ""
    assert toy.git("rev-parse", "today") == save_good


def test_a_revision_that_is_not_known_is_named_and_the_others_are_scored(toy):
    state = backfill(["fwe", "few"], "data", return_state=True)

    assert state.message == "no figures for fwe: see the artifact"
    assert "knows no revision 'fwe'" in state.result(raise_on_failure=False)[0]["error"]
    assert rows().keys() == {("data", "few")}
    assert rows()["data", "few"]["accuracy"] == "0.8"


def test_a_folder_within_the_clone_is_refused(toy, monkeypatch):
    (toy.folder / "inner/.dvc").mkdir(parents=True)
    monkeypatch.chdir(toy.folder / "inner")

    assert "not the clone's top folder" in backfill(["few"], "data", return_state=True).message


def test_a_model_that_is_nowhere_is_named(toy):
    toy.dvc("repro")
    toy.git("add", "--all")
    save(toy, "run")

    state = backfill(["few", "run"], return_state=True)

    assert state.name == "Failed"
    assert "dvc.lock of few" in rows()["model", "few"]["error"]
    assert "records no models/model.keras" in rows()["model", "run"]["error"]


def test_what_cannot_be_scored_is_refused_before_anything_runs(toy):
    assert "no revisions are given" in backfill([], return_state=True).message
    assert "workspace: is no commit" in backfill(["workspace"], "data", return_state=True).message
    toy.write("note.txt", "mine")
    assert "uncommitted changes: note.txt" in backfill(["few"], return_state=True).message
    assert not TABLE.exists()

    (toy.folder / "note.txt").unlink()
    toy.write(str(TABLE), "what,commit\ndata,x\n")
    assert "lacks columns" in backfill(["few"], "data", return_state=True).message


def test_a_commit_without_data_under_dvc_is_named(toy):
    toy.git("rm", "--quiet", "data/raw.dvc")
    save(toy, "none")
    toy.git("revert", "--no-edit", "HEAD")

    backfill(["none"], "data", return_state=True)

    assert "keeps no data in .dvc files" in rows()["data", "none"]["error"]


def test_an_old_model_is_judged_as_evaluate_judged_it_and_on_todays_test_images(
    finished, tmp_path, monkeypatch
):
    """A real one, out of the cache: the workspace's own model is none."""
    folder = tmp_path / "project"
    commit_run(folder, finished)
    run(folder, "git", "tag", "old")
    monkeypatch.chdir(folder)
    shutil.copy(folder / "params.yaml", folder / "models/model.keras")  # no model at all

    same = backfill(["old"], return_state=True)

    assert same.name == "Completed", rows()["model", "old"]["error"]
    scores = json.loads((folder / "reports/metrics.json").read_text())["fine_tuned"]
    told = rows()["model", "old"]
    for name in ("images", *HEADLINE, "accuracy_low", "accuracy_high"):
        assert float(told[name]) == pytest.approx(scores[name]), name

    splits = pd.read_csv(folder / "data/splits.csv", keep_default_na=False, dtype=str)
    (folder / "data/splits.csv").unlink()  # a link or not, the cache's stays
    now = splits.assign(split=["train", "test"] * (len(splits) // 2))
    now.to_csv(folder / "data/splits.csv", index=False)
    run(folder, "dvc", "commit", "--quiet", "--force", "split")
    run(folder, "git", "commit", "--quiet", "--all", "--message", "Other test images")
    other = backfill(["old"], return_state=True)

    assert other.name == "Completed", rows()["model", "old"]["error"]
    fair = (splits["split"] == "test") & (now["split"] == "test")
    assert 0 < fair.sum() < len(splits) // 2
    assert float(rows()["model", "old"]["images"]) == fair.sum()

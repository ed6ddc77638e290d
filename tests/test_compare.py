"""`compare` and `history` on a real git repository with DVC: commits, a tag, an experiment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline.__main__ import main
from pipeline.images.digest import pixel_digest
from tests.conftest import ROOT, picture
from tests.test_inspect import SCRIPT, Page

STAGE = '''
"""Guesses that know something, by the seed of train_head, about what pictures.csv lists."""
import csv, json, random
from pathlib import Path

from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
generator = random.Random(params["train_head"]["seed"])
with open("pictures.csv", newline="") as stream:
    pictures = list(csv.DictReader(stream))
classes = sorted({picture["label"] for picture in pictures})
test = [p for p in pictures if p["digest"] >= str(params["split"]["seed"] - 1)]
for folder in ("reports", "data"):
    Path(folder).mkdir(exist_ok=True)
with open("reports/predictions.csv", "w", newline="") as stream:
    writer = csv.writer(stream)
    writer.writerow(["digest", "path", "label", *(f"probability_{name}" for name in classes)])
    for p in test:
        weights = [generator.random() + (name == p["label"]) / 4 for name in classes]
        shares = [weight / sum(weights) for weight in weights]
        writer.writerow([p["digest"], p["path"], p["label"], *shares])
names = ("path", "label", "digest", "width", "height", "weight", "group", "split", "site")
for file in ("data/splits.csv", "data/manifest.csv"):
    with open(file, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for number, p in enumerate(pictures):
            split = "test" if p in test else "train"
            row = [p["path"], p["label"], p["digest"], 40, 32, 1.0, "", split, "ns"[number % 2]]
            writer.writerow(row)
accuracy = 0.5 + params["train_head"]["seed"] / 100
figures = {"images": len(test), "accuracy": accuracy, "accuracy_low": accuracy - 0.1}
figures |= {"accuracy_high": accuracy + 0.1, "roc_auc": accuracy + 0.2}
Path("reports/metrics.json").write_text(json.dumps({"fine_tuned": figures, "head": figures}))
'''
DVC = {
    "stages": {
        "evaluate": {
            "cmd": f"{sys.executable} stage.py",
            "deps": ["stage.py", "pictures.csv"],
            "params": ["train_head", "split"],
            "outs": ["reports/predictions.csv", "data/splits.csv", "data/manifest.csv"],
            "metrics": [{"reports/metrics.json": {"cache": False}}],
        }
    }
}


def run(folder: Path, *words: str) -> str:
    """Run git or dvc there, as a person with a name."""
    who = {
        f"GIT_{role}_{what}": "a@b.c"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **who}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def set_params(folder: Path, **sections: dict[str, int]) -> None:
    file = folder / "params.yaml"
    document = json.loads(file.read_text())
    for section, values in sections.items():
        document[section].update(values)
    file.write_text(json.dumps(document))


def commit(folder: Path, subject: str) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-q", "-m", subject)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """Three commits with figures on main, after one without, and an experiment `tried`."""
    folder = tmp_path_factory.mktemp("recorded")
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "init", "-q")
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    params["evaluate"]["resamples"] = 100
    (folder / "params.yaml").write_text(json.dumps(params))
    (folder / "stage.py").write_text(STAGE)
    rows = []
    for number in range(40):
        label = ("dark", "dim", "light")[number % 3]
        name = SCRIPT.replace("/", "") if number == 5 else f"{number:02}"
        file = folder / f"data/raw/{label}/{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image = picture(number, brightness=60 * (number % 3))
        image.save(file)
        digest = pixel_digest(np.asarray(Image.open(file)))
        rows.append((str(file.relative_to(folder / "data/raw")), label, digest))
    table = pd.DataFrame(rows, columns=["path", "label", "digest"])
    table.to_csv(folder / "pictures.csv", index=False)
    (folder / ".gitignore").write_text("/reports/compare/\n/reports/history.png\n/page.html\n")
    commit(folder, "Begin")
    (folder / "dvc.yaml").write_text(json.dumps(DVC))
    run(folder, "dvc", "repro", "-q")
    commit(folder, "Train once")
    run(folder, "git", "tag", "v1")
    set_params(folder, train_head={"seed": 2})
    run(folder, "dvc", "repro", "-q")
    commit(folder, f"Train again {SCRIPT} [red]")
    run(folder, "dvc", "exp", "run", "-q", "-n", "tried", "-S", "train_head.seed=3")
    run(folder, "git", "checkout", "-q", ".")
    set_params(folder, train_head={"seed": 2}, split={"seed": 5})
    run(folder, "dvc", "repro", "-q")
    (folder / "pipeline").mkdir()
    (folder / "pipeline/new.py").write_text("")
    commit(folder, "Test on fewer images")
    return folder


@pytest.fixture
def repository(recorded, tmp_path, monkeypatch) -> Path:
    """The same, to spoil as a test likes, as the working directory."""
    folder = tmp_path / "repository"
    shutil.copytree(recorded, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def there(recorded, monkeypatch) -> Path:
    """The repository itself, to look at."""
    monkeypatch.chdir(recorded)
    return recorded


def as_json(capsys, *words: str) -> dict:
    assert main(["compare", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words: str) -> str:
    assert main([*words]) == 1
    said = capsys.readouterr().err
    assert "fix: " in said
    assert "Traceback" not in said
    return said


def test_head_and_the_workspace_are_the_default(there, capsys):
    found = as_json(capsys)

    assert (found["one"][:5], found["other"]) == ("HEAD ", "workspace")
    assert found["metrics"]["accuracy"]["difference"] == 0
    assert found["mcnemar"]["p"] == 1
    assert found["notes"] == found["changes"]["params"] == found["changes"]["code"] == []


def test_a_tag_and_an_experiment_are_read_from_the_cache(there, capsys):
    found = as_json(capsys, "v1", "tried")

    assert found["images"] == {"one": 40, "other": 40, "common": 40, "units": 40}
    assert [change["key"] for change in found["changes"]["params"]] == ["train_head.seed"]
    assert found["changes"]["params"][0]["other"] == "3"
    assert sorted(found["slices"]["site"]) == ["n", "s"]
    assert len(found["lost"]) == found["mcnemar"]["only_one"] > 0
    assert sorted(found["classes"]) == ["dark", "dim", "light"]


@pytest.mark.parametrize("name", [":/Train once", ":/^Train o", "HEAD^{/Train once}"])
def test_a_commit_is_found_by_words_of_its_message(there, capsys, name):
    found = as_json(capsys, name, "HEAD")

    assert found["one"] == f"{name} ({run(there, 'git', 'rev-parse', 'v1')[:8]})"


def test_words_of_no_message_are_an_unknown_revision(there, capsys):
    assert "knows no revision ':/Train never'" in refused(capsys, "compare", ":/Train never")


def test_unlike_test_sets_code_and_data_are_told(there, capsys):
    found = as_json(capsys, "HEAD~1", "HEAD")

    assert found["images"]["one"] == 40
    assert found["images"]["other"] == found["images"]["common"] < 40
    moved = 40 - found["images"]["common"]
    assert found["changes"]["data"]["moved"]["kinds"] == {"test -> train": moved}
    assert found["changes"]["code"] == [{"status": "A", "path": "pipeline/new.py"}]


def test_swapped_revisions_tell_the_mirrored_changes(repository, capsys):
    (repository / "pipeline/odd \n.py").write_text("")

    there, back = as_json(capsys, "v1", "workspace"), as_json(capsys, "workspace", "v1")

    assert [(c["status"], c["path"]) for c in there["changes"]["code"]] == [
        ("A", "pipeline/new.py"),
        ("A", "pipeline/odd \n.py"),
    ]
    assert {change["status"] for change in back["changes"]["code"]} == {"D"}
    assert there["mcnemar"]["only_one"] == back["mcnemar"]["only_other"]
    one, other = there["metrics"]["roc_auc"], back["metrics"]["roc_auc"]
    assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]))


def test_the_table_says_what_the_json_does(there, capsys):
    assert main(["compare", "v1", "tried", "--sheet", str(there / "reports/compare/x.png")]) == 0

    said = capsys.readouterr().out
    found = as_json(capsys, "v1", "tried")
    assert f"{found['metrics']['accuracy']['difference']:+.4f}" in said
    assert f"p = {found['mcnemar']['p']:.3g}" in said
    assert "train_head.seed" in said


def test_markdown_goes_into_a_pull_request(there, capsys):
    assert main(["compare", "v1", "tried", "--md"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("## A\\: v1")
    assert "| --- |" in said
    assert "<script" not in said
    assert not (there / "reports/compare/changed.png").exists()


def test_the_page_holds_its_pictures_and_runs_nothing(repository, capsys):
    assert main(["compare", "v1", "tried", "--html", "page.html"]) == 0

    shown = Page((repository / "page.html").read_text())
    images = [attributes for tag, attributes in shown.tags if tag == "img"]
    assert len(images) == 1
    assert images[0]["src"].startswith("data:image/png;base64,")
    assert not {tag for tag, _ in shown.tags} & {"script", "a", "link", "iframe"}
    with Image.open(repository / "reports/compare/changed.png") as sheet:
        assert (np.asarray(sheet) != 255).any()
    assert "cannot be shown" not in capsys.readouterr().err


def test_pictures_that_are_gone_or_changed_are_named_and_the_rest_shown(repository, capsys):
    found = as_json(capsys, "v1", "tried")
    gone, changed = [Path("data/raw", item["path"]) for item in found["lost"][:2]]
    gone.unlink()
    picture(999, brightness=0).save(changed)

    assert main(["compare", "v1", "tried", "--html", "-"]) == 0

    said = capsys.readouterr()
    assert said.err.count("cannot be shown") == 2
    assert "has changed since ingest" in said.err
    assert said.out.count("cannot be shown") == 2


def test_without_a_manifest_no_picture_is_shown_and_that_is_said(repository, capsys):
    (repository / "data/manifest.csv").unlink()

    assert main(["compare", "v1", "tried"]) == 0

    assert "the workspace's data have no such picture" in capsys.readouterr().err


def test_a_sheet_of_an_earlier_comparison_is_not_left(repository, capsys):
    assert main(["compare", "v1", "tried"]) == 0
    assert (repository / "reports/compare/changed.png").is_file()
    assert main(["compare", "v1", "v1"]) == 0

    assert not (repository / "reports/compare/changed.png").exists()


def test_options_change_the_intervals(there, capsys):
    plain = as_json(capsys, "HEAD~1")["metrics"]["roc_auc"]
    options = ("--confidence", "0.5", "--seed", "9", "--resamples", "150")
    narrow = as_json(capsys, "HEAD~1", *options)["metrics"]["roc_auc"]

    assert plain["low"] < narrow["low"] <= narrow["high"] < plain["high"]
    assert plain["difference"] == narrow["difference"]


def test_a_stale_workspace_is_told(repository, capsys):
    set_params(repository, train_head={"seed": 7})

    found = as_json(capsys)

    assert "not up to date: evaluate" in found["notes"][0]
    assert main(["compare", "--md"]) == 0
    assert "not up to date: evaluate" in capsys.readouterr().out.replace("\\", "")


def edit_params(folder: Path) -> None:
    set_params(folder, train_head={"seed": 7})


def edit_code(folder: Path) -> None:
    with (folder / "stage.py").open("a") as file:
        file.write("# more\n")


def bring_other_data(folder: Path) -> None:
    run(folder, "git", "rm", "-q", "--cached", "pictures.csv")
    with (folder / "pictures.csv").open("a") as file:
        file.write("more.png,dim,0\n")
    run(folder, "dvc", "add", "-q", "pictures.csv")


@pytest.mark.parametrize("change", [edit_params, edit_code, bring_other_data])
def test_results_that_a_commit_took_over_from_another_run_are_told(repository, capsys, change):
    change(repository)
    commit(repository, "Forget to run")

    assert as_json(capsys, "HEAD~2", "HEAD~1")["notes"] == []
    (note,) = as_json(capsys, "HEAD~1", "HEAD")["notes"]

    assert "of HEAD (" in note
    assert "not up to date: evaluate." in note


def test_an_imports_repository_need_not_answer_and_its_news_are_none(recorded, tmp_path, capsys):
    """As for `dvc repro`, which has nothing to do."""
    source, folder = tmp_path / "source", tmp_path / "repository"
    shutil.copytree(recorded, source)
    shutil.copytree(recorded, folder)
    run(folder, "git", "rm", "-r", "-q", "--cached", "data/raw")
    shutil.rmtree(folder / "data/raw")
    run(folder, "dvc", "import", "-q", str(source), "data/raw", "--out", "data/raw")
    commit(folder, "Import")
    (source / "data/raw/dark/new.png").write_bytes(b"new")
    commit(source, "News")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert "data/raw.dvc" in run(folder, "dvc", "status")
        assert as_json(capsys)["notes"] == []
        set_params(folder, train_head={"seed": 7})
        source.rename(tmp_path / "away")

        (note,) = as_json(capsys)["notes"]

    assert "not up to date: evaluate." in note


def test_a_terminal_that_knows_few_letters_gets_them_all(there):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    run(there, "git", "tag", "w\u00e9ird")
    words = [sys.executable, "-m", "pipeline", "compare", "w\u00e9ird", "HEAD"]
    for shape in ("--json", "--md"):
        done = subprocess.run([*words, shape], env=environment, capture_output=True, check=True)
        text = done.stdout.decode("ascii")
        assert "w\\xe9ird" in text or json.loads(text)["one"].startswith("w\u00e9ird")


@pytest.mark.parametrize("path", ["reports/predictions.csv", "data/splits.csv"])
def test_workspace_files_of_another_run_are_refused(repository, capsys, path):
    with (repository / path).open("a") as stream:
        stream.write("\n")
    assert f"{path}: is not the one that dvc.lock records" in refused(capsys, "compare")

    (repository / path).unlink()
    assert f"{path}: does not exist" in refused(capsys, "compare")


def test_predictions_that_nobody_has_are_an_error_with_the_way_to_them(repository, capsys):
    shutil.rmtree(repository / ".dvc/cache")

    said = refused(capsys, "compare", "v1", "tried")

    assert "reports/predictions.csv of v1 (" in said
    assert "is neither in DVC's cache nor in a remote" in said
    assert "dvc fetch --all-commits" in said


def test_a_project_within_a_repository_is_compared(recorded, tmp_path, monkeypatch, capsys):
    top = tmp_path / "top"
    top.mkdir()
    run(top, "git", "init", "-q", "-b", "main")
    project = top / "of cells"
    project.mkdir()
    run(project, "dvc", "init", "-q", "--subdir")
    for name in ("params.yaml", "stage.py", "pictures.csv", "dvc.yaml"):
        shutil.copy(recorded / name, project / name)
    monkeypatch.chdir(project)
    for seed in (1, 2, 3):
        set_params(project, train_head={"seed": seed})
        run(project, "dvc", "repro", "-q")
        commit(project, f"Seed {seed}")

    images = as_json(capsys, "HEAD~2", "HEAD~1")["images"]
    assert images["common"] == images["one"] == 31


def test_predictions_that_the_cache_has_lost_in_part_are_refused(repository, capsys):
    lock = subprocess.run(["git", "show", "v1:dvc.lock"], capture_output=True, check=True)
    (md5,) = [
        out["md5"]
        for stage in YAML(typ="safe").load(lock.stdout)["stages"].values()
        for out in stage["outs"]
        if out["path"] == "reports/predictions.csv"
    ]
    kept = repository / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    whole = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])

    said = refused(capsys, "compare", "v1", "tried")

    assert "reports/predictions.csv of v1 (" in said
    assert f"fix: delete .dvc/cache/files/md5/{md5[:2]}/{md5[2:]}" in said


def test_predictions_are_read_from_a_remote_that_is_newer_than_they(repository, tmp_path, capsys):
    run(repository, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "remote"))
    run(repository, "dvc", "push", "-q")
    shutil.copytree(repository / ".dvc/cache/files", tmp_path / "remote/files", dirs_exist_ok=True)
    shutil.rmtree(repository / ".dvc/cache")

    assert as_json(capsys, "v1")["images"]["one"] == 40


def test_a_commit_without_a_lock_is_an_error(there, capsys):
    said = refused(capsys, "compare", "HEAD~3")

    assert "dvc.lock of HEAD~3 (" in said
    assert "fix: name a revision that has one" in said  # which fits backfill's words, too


def test_a_lock_without_predictions_is_an_error(repository, capsys):
    (repository / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")

    assert "records no reports/predictions.csv" in refused(capsys, "compare")


@pytest.mark.parametrize("content", ["stages: [", "- 1", "stages: {a: {outs: [1]}}", "stages: 3"])
def test_a_damaged_lock_is_an_error(repository, capsys, content):
    (repository / "dvc.lock").write_text(content)

    assert "dvc.lock of workspace" in refused(capsys, "compare")


@pytest.mark.parametrize(
    ("name", "near"), [("treid", "'tried'"), ("v2", "'v1'"), ("HAED", "'HEAD'")]
)
def test_an_unknown_revision_is_an_error_that_names_the_nearest(there, capsys, name, near):
    said = refused(capsys, "compare", name)

    assert f"knows no revision {name!r}" in said
    assert near in said


def test_a_tag_on_a_file_is_no_revision(repository, capsys):
    subprocess.run(["git", "tag", "notes", "HEAD:dvc.lock"], check=True)

    assert "'notes' is no commit but a file or folder" in refused(capsys, "compare", "notes")


@pytest.mark.parametrize(
    "name", ["--output=stolen", "-n", "", "a\0b", "HEAD --", "$(touch stolen)", "\x1b[31m\u202e"]
)
def test_a_hostile_revision_reaches_no_command(repository, capsys, name):
    said = refused(capsys, "compare", "--", "--", "HEAD", name)

    assert "knows no revision" in said
    assert "\x1b" not in said
    assert not (repository / "stolen").exists()


def test_two_experiments_of_one_name_are_told_apart_by_hash(repository, capsys):
    first, other = (run(repository, "git", "rev-parse", name) for name in ("HEAD~1", "v1"))
    for folder, commit_of in (("aa/1", first), ("bb/2", other)):
        run(repository, "git", "update-ref", f"refs/exps/{folder}/twice", commit_of)

    said = refused(capsys, "compare", "twice")

    assert "2 experiments have the name 'twice'" in said
    assert first in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--confidence", "95"), "--confidence: 95 is none"),
        (("--confidence", "nan"), "--confidence: nan is none"),
        (("--resamples", "5"), "--resamples: 5 are too few"),
        (("--seed", "-1"), "--seed: -1 is negative"),
    ],
)
def test_an_option_out_of_range_is_an_error(there, capsys, words, said):
    assert said in refused(capsys, "compare", *words)


def test_outside_a_repository_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)

    assert "is in no git repository" in refused(capsys, "compare")

"""The real thing: git, DVC, real cells and the default backbone, in temporary clones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.clones import copy_tree
from tests.conftest import picture

CELLS = 160
SCRIBBLE = """
import gc, keras, numpy, pandas
from pathlib import Path
from pipeline.images.pictures import Job, pictures
from pipeline.images.views import IDENTITY
from pipeline.inference import load_classifier
from pipeline.sources.place import Place

run, card = load_classifier(Path("models/model.keras"), "openvino")
keras.backend.clear_session()
gc.collect()
in_its_place = [
    numpy.full(size, numpy.nan, numpy.float32)
    for size in (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_300_000)
    for _ in range(max(4, min(100_000, 20_000_000 // size)))
]
rows = pandas.read_csv("reports/predictions.csv")
wanted = [Job(Place(Path("data/raw") / r.path), r.digest, [IDENTITY]) for r in rows.itertuples()]
answers = [answer for (answer,) in run(pictures(wanted, card.image_size, card.resize))]
said = rows[[f"probability_{name}" for name in card.classes]]
print("off by", numpy.abs(numpy.array(answers) - said.to_numpy()).max())
"""


def run(folder: Path, *words: str) -> str:
    """Run a command of this environment in a clone; return all that it said."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        environment |= {f"{name}_NAME": "tester", f"{name}_EMAIL": "tester@example.org"}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone of this tree with small params, committed, and `dvc repro` run once."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    copy_tree(folder)
    document = YAML(typ="safe").load(folder / "params.yaml")
    document["sample"]["limit"] = CELLS
    document["split"]["strategy"] = "stratified"
    document["augment"]["views"] = 2
    document["backbone"]["image_size"] = 96
    document["train_head"]["epochs"] = 3
    document["fine_tune"]["epochs"] = 1
    document["evaluate"]["resamples"] = 100
    YAML().dump(document, folder / "params.yaml")
    (folder / "dvc.lock").unlink(missing_ok=True)
    run(folder, "git", "init", "--quiet", "--initial-branch", "main")
    run(folder, "dvc", "repro")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "Run")
    return folder


def test_a_run_on_real_cells_ends_with_figures_and_a_summary(clone):
    scores = json.loads((clone / "reports/metrics.json").read_text())
    summary = run(clone, "python", "-m", "pipeline", "summary")

    assert scores["head"]["images"] == pytest.approx(CELLS * 0.2, abs=1)
    guessed = scores["fine_tuned"]["majority_baseline_accuracy"]
    assert guessed < scores["fine_tuned"]["accuracy"] <= 1
    assert "accuracy_module_type=mono" in scores["fine_tuned"]
    assert re.search("Ships the (frozen head|fine-tuned model); made ", summary)
    assert "models/model.keras" in summary


def test_the_engine_holds_the_weights_of_the_file_itself(clone):
    """It once shared them with the loaded model, whose memory had other owners later."""
    said = run(clone, "python", "-c", SCRIBBLE)

    assert float(said.rpartition("off by")[2].split()[0]) < 1e-6


def test_git_tracks_the_lock_and_the_metrics_and_no_data(clone):
    tracked = run(clone, "git", "ls-files").split()

    assert {"dvc.lock", "reports/metrics.json"} <= set(tracked)
    assert not [name for name in tracked if name.startswith(("data/raw", "models/"))
                and not name.endswith(".gitignore")]  # fmt: skip
    pictures = {"docs/prefect-run.png", "docs/prefect-artifact.png"}  # of Prefect's pages
    data = (".keras", ".h5", ".npy", ".png")
    assert {name for name in tracked if name.endswith(data)} <= pictures
    assert run(clone, "git", "status", "--porcelain") == ""


def test_a_second_run_does_nothing(clone):
    said = run(clone, "dvc", "repro")

    assert "Data and pipelines are up to date." in said
    assert "Running stage" not in said


@pytest.mark.slow
def test_another_clone_that_runs_every_stage_gives_the_same_lock_and_metrics(clone, tmp_path):
    """Every out is byte-stable, the model file too; git sees no change."""
    run(tmp_path, "git", "clone", "--quiet", str(clone), "other")
    (tmp_path / "other/reports/metrics.json").unlink()

    said = run(tmp_path / "other", "dvc", "repro", "--force")

    assert said.count("Running stage") == 8
    assert run(tmp_path / "other", "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_commits_and_experiments_can_be_compared(clone):
    run(clone, "dvc", "exp", "run", "--quiet", "--name", "wider", "-S", "fine_tune.layers=20")

    change = json.loads(run(clone, "dvc", "metrics", "diff", "HEAD", "--json"))
    shown = run(clone, "dvc", "exp", "show", "--csv", "--no-pager")
    plots = run(clone, "dvc", "plots", "diff", "HEAD", "--out", "drawn")
    run(clone, "git", "checkout", "--force", "--quiet", "HEAD")
    run(clone, "dvc", "checkout", "--quiet", "--force")

    assert "wider" in shown
    assert isinstance(change, dict)
    assert "index.html" in plots
    html = (clone / "drawn/index.html").read_text()
    for title in ("Confusion matrix", "ROC", "Precision-recall", "Calibration", "fine-tuning"):
        assert title in html


def test_the_readmes_commands_for_looking_work(clone):
    assert "evaluate" in run(clone, "dvc", "dag")
    assert "accuracy" in run(clone, "dvc", "metrics", "show")
    assert "index.html" in run(clone, "dvc", "plots", "show", "--out", "shown")
    said = run(clone, "python", "-m", "pipeline", "predict", "data/raw/images", "--csv")
    assert said.splitlines()[0] == "path,label,probability_defective,probability_functional"
    assert len(said.splitlines()) == CELLS + 1


@pytest.mark.slow
def test_images_of_ones_own_need_no_sample_stage(clone, tmp_path):
    """The README's three steps: remove the stage, put a folder per class, run."""
    run(tmp_path, "git", "clone", "--quiet", str(clone), "own")
    own = tmp_path / "own"
    run(own, "dvc", "remove", "sample")
    for name, index in (("blue", 0), ("red", 1)):
        (own / "data/raw" / name).mkdir(parents=True)
        for number in range(12):
            image = picture(100 * index + number, brightness=40 + 140 * index)
            image.save(own / "data/raw" / name / f"{number}.png")
    run(own, "dvc", "add", "data/raw")

    run(own, "dvc", "repro")

    assert "recall_red" in json.loads((own / "reports/metrics.json").read_text())["head"]

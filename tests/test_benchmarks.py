"""What the benchmarks share: a report whose sections stand alone, projects that run and vanish."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from benchmarks import imbalance, report
from benchmarks.limits import Arithmetic, arithmetic
from benchmarks.project import Done, Project, apart, require, run, throwaway
from benchmarks.stock_keras import extrapolated
from tests.conftest import ROOT

TITLES = list(report.SECTIONS.values())
DOCUMENT = report.PREFACE + f"\n## {TITLES[1]}\n\nold\n\n## {TITLES[3]}\n\nkept\n\n| a |\n|---|\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A copy of this tree in which little has run."""
    return Project(tmp_path_factory.mktemp("benchmark"))


def test_every_benchmark_has_a_title_and_is_in_the_makefile():
    modules = {file.stem for file in (ROOT / "benchmarks").glob("[a-z]*.py")}
    listed = re.search(r"^BENCHMARKS = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    parts = {"project", "report", "keras_guide", "limits", "counted", "victim", "plain_pillow"}
    assert modules == parts | set(report.SECTIONS)
    assert [*listed[1].split(), "store_database"] == list(report.SECTIONS)


@pytest.mark.parametrize("name", report.SECTIONS)
def test_every_benchmark_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main(["--help"])

    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"python -m benchmarks.{name}" in said
    assert "--folder" in said


@pytest.mark.parametrize("place", [0, 2, 8])
def test_a_new_section_comes_to_its_place_and_the_others_stay(place):
    section = f"## {TITLES[place]}\n\nnew"

    document = report.replaced(DOCUMENT, section)

    assert document.startswith(report.PREFACE)
    assert re.findall(r"^## (.+)$", document, re.MULTILINE) == [
        TITLES[number] for number in sorted([1, 3, place])
    ]
    assert section in document
    assert f"## {TITLES[3]}\n\nkept\n\n| a |\n|---|\n" in document
    assert report.replaced(document, section) == document


def test_a_section_replaces_its_own_last_one():
    document = report.replaced(DOCUMENT, f"## {TITLES[1]}\n\nnew")

    assert document == DOCUMENT.replace("old", "new")


def test_the_command_names_no_place_of_the_machine():
    words = ["--folder", "/here", "--layers", "4", "--report=x.md", "--weights", "/home/w.h5"]

    shown = report.command("stock_keras", words)

    assert shown == "python -m benchmarks.stock_keras --layers 4 --weights w.h5"


def test_a_report_says_what_it_was_made_with(tmp_path, capsys):
    words = ["--report", str(tmp_path / "report.md"), "--no-ops", "3"]
    options = report.parser("cold", "Words.")
    options.add_argument("--no-ops", type=int)

    report.write(report.parse(options, words), report.table(("a", "b"), [("x", 1234.5)]))

    text = (tmp_path / "report.md").read_text()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"## {report.SECTIONS['cold']}\n\n`python -m benchmarks.cold --no-ops 3`, " in text
    assert f"commit {head.stdout[:12]}" in text
    assert re.search(r"cores of .+, tensorflow 2\.\S+, keras 3\.\S+, openvino \d", text)
    assert "| a | b |\n| --- | ---: |\n| x | 1,234 |" in text
    assert str(tmp_path) not in text


def test_a_variant_comes_after_what_it_varies():
    own = report.SECTIONS["stock_keras"]
    document = report.replaced(report.PREFACE, f"## {own}: ResNet50\n\nb")
    for title in (report.SECTIONS["retune"], own, f"{own}: ResNet50"):
        document = report.replaced(document, f"## {title}\n\nx")

    found = re.findall(r"^## (.+)$", document, re.MULTILINE)

    assert found == [own, f"{own}: ResNet50", report.SECTIONS["retune"]]
    assert "\nb" not in document


@given(st.lists(st.floats(0.1, 1e4), min_size=2, max_size=30))
def test_epochs_that_were_all_measured_extrapolate_to_their_sum(seconds):
    assert extrapolated(seconds, len(seconds)) == pytest.approx(sum(seconds))


def test_what_the_first_epoch_takes_more_counts_once():
    assert extrapolated([15.0, 4.0, 6.0], 20) == pytest.approx(15 + 19 * 5)


def test_an_epoch_that_stood_still_is_not_extrapolated():
    assert extrapolated([15.0, 4.0, 90.0, 6.0], 20) == pytest.approx(15 + 19 * 6)


def test_the_first_kernel_that_learns_needs_no_gradient_of_its_input():
    assert arithmetic([(100, True)]) == Arithmetic(forward=100, step=200)
    assert arithmetic([(100, True), (10, True)]) == Arithmetic(forward=110, step=230)


def test_a_frozen_layer_costs_a_step_more_only_behind_one_that_learns():
    frozen, learning = (100, False), (10, True)

    assert arithmetic([frozen, learning]) == Arithmetic(forward=110, step=120)
    assert arithmetic([learning, frozen]) == Arithmetic(forward=110, step=220)


def test_a_stage_runs_with_and_without_dvc(project):
    project.set("sample", limit=4)

    alone, by_dvc, again = (
        project.stage("sample"),
        project.repro("sample"),
        project.repro("sample"),
    )

    assert len(list((project.raw / "images").iterdir())) == 4
    assert alone.peak_mb > 10
    assert alone.stages == again.stages == {}
    assert 0 < by_dvc.stages["sample"] < by_dvc.seconds
    assert not (project.folder / "tests").exists()


def test_the_users_own_settings_change_no_run(tmp_path, monkeypatch):
    """A cache of theirs would make a cold run warm."""
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("PIPELINE_STORE_GB", "1")
    (tmp_path / "config").write_text("[cache]\n    dir = /elsewhere\n")

    project = Project(tmp_path / "room")

    assert "PIPELINE_STORE_GB" not in project.environment
    assert project.run("dvc", "config", "cache.dir").said == ""


def test_params_change_and_their_comments_stay(project):
    before = (project.folder / "params.yaml").read_text()

    project.set("evaluate", resamples=123)

    after = (project.folder / "params.yaml").read_text()
    assert after.startswith(before.splitlines()[0])
    assert YAML(typ="safe").load(after)["evaluate"]["resamples"] == 123


def test_a_failed_command_ends_the_benchmark_with_what_it_said(project):
    with pytest.raises(SystemExit, match=r"(?s)pipeline nonsense ended with 2:.*invalid choice"):
        project.stage("nonsense")


def test_nothing_is_left_of_a_project_that_was_interrupted(tmp_path):
    def interrupted():
        with throwaway(tmp_path) as project:
            assert (project.folder / "dvc.yaml").is_file()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert not list(tmp_path.iterdir())


def test_a_command_dies_with_who_waits_for_it(tmp_path):
    """It stands in a process group of its own, which a Ctrl-C does not reach."""
    child = (
        "import os, time; print(os.getpid(), file=open('pid', 'w'), flush=True); time.sleep(60)"
    )
    parent = (
        "import signal, sys; from pathlib import Path; from benchmarks.project import run;"
        "signal.signal(signal.SIGALRM, signal.default_int_handler); signal.alarm(1);"
        f"run([sys.executable, '-c', {child!r}], Path({str(tmp_path)!r}), {{}})"
    )

    done = subprocess.run(
        [sys.executable, "-c", parent], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert "KeyboardInterrupt" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_memory_is_the_childs_own():
    """Measured from a small process: this one would hand its own down."""
    child = "x = bytearray(200_000_000); x[::4096] = x[::4096]"
    parent = (
        "import sys; from pathlib import Path; from benchmarks.project import run;"
        f"print(run([sys.executable, '-c', {child!r}], Path('.'), {{}}).peak_mb)"
    )

    said = run([sys.executable, "-c", parent], ROOT, {}).said

    assert 200 < float(said) < 300


def test_views_are_read_from_what_a_stage_said():
    said = "x\nextract: 3 views from the store, 5 computed at 12.5 views/s, 2 of them as others\n"
    warm = "extract: 8 views from the store, 0 computed\n"

    assert Done(1, said, 1, {}).views("extract") == (3, 5, 12.5, 2)
    assert Done(1, warm, 1, {}).views("extract") == (8, 0, 0, 0)
    with pytest.raises(SystemExit, match="fine_tune did not say"):
        Done(1, said, 1, {}).views("fine_tune")


def test_a_law_that_fails_ends_the_benchmark():
    require(True, "one is one")

    with pytest.raises(SystemExit, match=r"one is two does not hold\nsaid"):
        require(False, "one is two", "said")


def test_what_runs_apart_gives_its_result_or_its_error():
    assert apart(Path, "x") == Path("x")
    assert not Path(apart(tempfile.mkdtemp)).exists()

    with pytest.raises(ValueError, match="invalid literal"):
        apart(int, "x")


def test_a_way_helps_where_the_interval_of_its_gain_is_above_zero():
    """And one that turns every answer round harms."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    right = np.where(random.random(200) < 0.8, labels, 1 - labels)
    better = np.where(random.random(200) < 0.95, labels, 1 - labels)
    weights = np.vstack([np.ones(200), random.multinomial(200, [1 / 200] * 200, 300)])
    guesses = dict.fromkeys(imbalance.WAYS, right)
    guesses |= {"class weights": better, "focal loss": 1 - right}

    scores = {
        name: imbalance.mean_scores(labels, [np.eye(2)[guess] * 0.8 + 0.1] * 2, weights)
        for name, guess in guesses.items()
    }
    helped, same, harmed, _ = imbalance.verdicts(scores).splitlines()

    assert "class weights: helps balanced accuracy" in helped
    assert "balanced sampler: no difference that these images can show" in same
    assert "focal loss: harms balanced accuracy" in harmed
    assert scores["none"]["balanced_accuracy"][0] == pytest.approx(
        np.mean([(right == labels)[labels == kind].mean() for kind in (0, 1)])
    )

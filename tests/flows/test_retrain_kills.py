"""`retrain` is killed with SIGKILL at each of its steps, and the next run ends well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from prefect.settings import PREFECT_API_URL

from pipeline.flows import journal, remote, tracked
from pipeline.programs.leash import GRACE_S
from tests.flows.retraining import UP_TO_DATE, check_published, once
from tests.toy import Toy, environment

ROUNDS = 10
PATIENCE_S = 300.0  # on a busy machine
CHILD = """
import os, signal, sys, threading, time
from pathlib import Path
from pipeline.flows import catch_up, clone, journal, remote, retrain
from pipeline.programs import dvc

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def after(module, name, when):
    whole = getattr(module, name)
    def wrapped(*words, **options):
        found = whole(*words, **options)
        if when(*words):
            die()
        return found
    setattr(module, name, wrapped)

def before(module, name, when):
    whole = getattr(module, name)
    def wrapped(*words, **options):
        if when(*words):
            die()
        return whole(*words, **options)
    setattr(module, name, wrapped)

def always(*_):
    return True

def is_push(*words):
    return words[0] == "push"

def die_once_a_file_arrives(store):
    known = set(store.rglob("*"))
    while {path for path in store.rglob("*") if path.is_file()} <= known:
        time.sleep(0.001)
    die()

def in_push(verb, *_):
    if verb == "push":
        threading.Thread(target=die_once_a_file_arrives, args=[Path("../remote")]).start()

def die_in_a_stage():
    whole = dvc.repro
    def repro(*words, say, **options):
        def hear(line):
            say(line)
            if line.startswith("split has"):
                die()
        return whole(*words, say=hear, **options)
    dvc.repro = repro

STEPS = {
    "journal": lambda: after(journal, "write", lambda entry: entry.step == "sync"),
    "moved": lambda: after(clone, "git", lambda *words: words[0] == "update-ref"),
    "fetched": lambda: before(catch_up, "bring", always),
    "noted": lambda: after(journal, "write", lambda entry: entry.step == "train"),
    "stage": die_in_a_stage,
    "trained": lambda: before(retrain, "judge", always),
    "pushing": lambda: before(dvc, "transfer", in_push),
    "pushed": lambda: before(clone, "commit", always),
    "added": lambda: after(clone, "on_paths", lambda _, *words: words[0] == "add"),
    "committed": lambda: after(clone, "commit", always),
    "tagged": lambda: before(remote, "git", is_push),
    "published": lambda: after(remote, "git", is_push),
    "half rolled back": lambda: after(clone, "restore", lambda paths: "dvc.lock" in paths),
    "rolled back": lambda: after(retrain, "roll_back", always),
    "": lambda: None,
}
STEPS[sys.argv[1]]()
state = retrain.retrain(return_state=True)
print(state.name, state.message)
"""


pytestmark = pytest.mark.usefixtures("prefect_api")


def start(toy: Toy, step: str) -> subprocess.Popen[str]:
    """Run the flow in a process of its own, which kills itself at a step."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, step],
        cwd=toy.folder,
        env={**environment(), "PREFECT_API_URL": str(PREFECT_API_URL.value())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_at(toy: Toy, step: str) -> None:
    process = start(toy, step)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGKILL, said
    check_nothing_is_left(toy)


def check_nothing_is_left(toy: Toy) -> None:
    """All that the killed run had started ends."""
    until = time.monotonic() + GRACE_S + 20
    while left := [process for process in psutil.process_iter() if works_in(process, toy.folder)]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False


def check_tags(toy: Toy, folder: Path, tags: int, *, every: bool = True) -> None:
    """Each promotion is one commit with one tag, pullable, and has nothing to do there."""
    second = check_published(toy, folder)
    names = [f"{remote.TAG}{number}.0.0" for number in range(1, tags + 1)]
    subjects = second.git("log", "--reverse", "--format=%s").splitlines()

    assert sorted(second.git("tag").split()) == names
    assert [words.split(":")[0] for words in subjects if words.startswith("Promote ")] == [
        f"Promote {name}" for name in names
    ]
    for name in names[:-1] if every else ():
        second.git("checkout", "--quiet", name)
        second.dvc("pull", "--quiet", "--force")
        assert UP_TO_DATE in second.dvc("repro")
        assert second.status() == ""
    assert toy.git("tag").split() == names


PROMOTED = ("journal", "noted", "stage", "trained", "pushing", "pushed", "added")
UNCHANGED = ("committed", "tagged", "published")  # the next run's first act is to publish
QUICK = ("pushing",)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, marks=[] if step in QUICK else [pytest.mark.slow])
        for step in (*PROMOTED, *UNCHANGED)
    ],
)
def test_a_run_that_is_killed_promotes_once(promoted, tmp_path, step):
    promoted.answers(95)
    promoted.write("data/raw/slow", "1")  # each stage takes a second
    kill_at(promoted, step)

    state = once(promoted)

    assert state.name == ("Promoted" if step in PROMOTED else "Unchanged"), state.message
    assert promoted.scores()["accuracy"] == 0.95
    check_tags(promoted, tmp_path / "second", tags=2, every=step not in QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["trained", "half rolled back", "rolled back"])
def test_a_run_that_is_killed_before_it_refuses_leaves_the_champion(promoted, tmp_path, step):
    promoted.answers(60)
    kill_at(promoted, step)

    assert once(promoted).name == "NotPromoted"
    assert promoted.scores()["accuracy"] == 0.8
    assert "0070.png,cat,dog" in (promoted.folder / "data/raw/answers.csv").read_text()
    check_tags(promoted, tmp_path / "second", tags=1)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["journal", "moved", "fetched"])
def test_a_run_that_is_killed_while_it_takes_over_brings_the_others_data(promoted, tmp_path, step):
    """Not the older data that lies about, as if the newer had been removed."""
    other = check_published(promoted, tmp_path / "other")
    other.answers(90, images=120)
    other.write("NEWS", "More images")
    other.write("data/.gitignore", "# theirs\n" + (other.folder / "data/.gitignore").read_text())
    other.dvc("repro", "--quiet")
    other.dvc("push", "--quiet", "--run-cache")
    other.git("add", "--all")
    other.git("commit", "--quiet", "--message", "More images")
    other.git("push", "--quiet")
    kill_at(promoted, step)

    state = once(promoted)

    assert state.name == "Unchanged", state.message
    assert "0119.png" in (promoted.folder / "data/raw/answers.csv").read_text()
    assert (promoted.folder / "NEWS").read_text() == "More images"
    check_published(promoted, tmp_path / "second")


@pytest.mark.slow
def test_kills_at_any_moment_lose_nothing(promoted, tmp_path):
    """Whatever the moment, new data is promoted once, by a later run."""
    chance = np.random.default_rng(1)
    promoted.answers(81, train=101)
    began = time.monotonic()
    process = start(promoted, "")
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert said.splitlines()[-1].startswith("Promoted"), said  # behind what Prefect logs
    took = time.monotonic() - began

    for turn in range(1, ROUNDS + 1):
        promoted.answers(81 + turn, train=101 + turn)
        process = start(promoted, "")
        time.sleep(chance.uniform(0.1, 1.0) * took)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        check_nothing_is_left(promoted)
        if chance.random() < 0.5:
            assert once(promoted).name in {"Promoted", "Unchanged"}
    last = once(promoted)

    assert last.name in {"Promoted", "Unchanged"}, last.message
    assert promoted.scores()["accuracy"] == pytest.approx((81 + ROUNDS) / 100)
    check_tags(promoted, tmp_path / "second", tags=len(promoted.git("tag").split()))
    assert journal.read() is None
    assert once(promoted).name == "Unchanged"
    assert tracked.written() == []

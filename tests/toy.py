"""A project of three quick stages whose model is as good as its data says, for the flows.

Real git, real DVC; only the learning is missing.  `data/raw/answers.csv` holds
image, label and answer: what the "model" says of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT

DVC = [sys.executable, "-m", "dvc"]
GIT = ["git", "-c", "user.name=toy", "-c", "user.email=toy@example.org"]

STAGE = """
import csv, hashlib, json, sys, time
from pathlib import Path

stage = sys.argv[1]
rows = [row for f in sorted(Path("data/raw").glob("*.csv")) for row in csv.DictReader(f.open())]
for file in (Path("data"), Path("reports")):
    file.mkdir(exist_ok=True)
print(f"{stage} has {len(rows)} rows", flush=True)
if Path("data/raw/slow").exists():
    time.sleep(float(Path("data/raw/slow").read_text()))
if stage == "ingest":
    bad = [row for row in rows if row["label"] == ""]
    with open("data/rejected.csv", "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "reason", "detail"])
        writer.writerows([row["image"], "no_label", ""] for row in bad)
    if any(row["answer"] == "stop" for row in rows):
        sys.exit("error: data/raw/answers.csv: an answer is 'stop'\\\\n  fix: remove it")
    with open("data/manifest.csv", "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "answer"])
        writer.writerows([r["image"], r["label"], r["answer"]] for r in rows if r["label"])
elif stage == "split":
    with open("data/manifest.csv") as f, open("data/splits.csv", "w", newline="") as out:
        writer = csv.writer(out)
        sizes = ["width", "height", "weight"]
        writer.writerow(["path", "label", "digest", *sizes, "group", "split"])
        for r in csv.DictReader(f):
            digest = hashlib.sha256(r["path"].encode()).hexdigest()
            split = "train" if r["path"].startswith("train") else "test"
            writer.writerow([r["path"], r["label"], digest, 8, 8, 1, "", split])
else:
    hits = total = 0
    with open("data/manifest.csv") as f, open("reports/predictions.csv", "w", newline="") as out:
        writer = csv.writer(out)
        columns = ["probability_cat", "probability_dog"]
        writer.writerow(["digest", "path", "label", "predicted", *columns])
        for r in csv.DictReader(f):
            if r["path"].startswith("train"):
                continue
            digest = hashlib.sha256(r["path"].encode()).hexdigest()
            p = 0.9 if r["answer"] == "cat" else 0.1
            writer.writerow([digest, r["path"], r["label"], r["answer"], p, round(1 - p, 6)])
            hits += r["label"] == r["answer"]
            total += 1
    value = hits / total
    names = ["accuracy", "balanced_accuracy", "macro_f1", "roc_auc"]
    scores = {"images": total}
    for name in names:
        scores |= {name: value, name + "_low": value - 0.01, name + "_high": value + 0.01}
    Path("reports/metrics.json").write_text(json.dumps({"head": scores, "fine_tuned": scores}))
"""

GRAPH = """
stages:
  ingest:
    cmd: python stage.py ingest
    deps: [data/raw, stage.py]
    outs: [data/manifest.csv, data/rejected.csv]
  split:
    cmd: python stage.py split
    deps: [data/manifest.csv]
    params: [split.seed]
    outs: [data/splits.csv]
  evaluate:
    cmd: python stage.py evaluate
    deps: [data/manifest.csv, data/splits.csv]
    outs: [reports/predictions.csv]
    metrics:
      - reports/metrics.json: {cache: false}
"""


class Toy:
    """A clone of a toy project: its git remote is bare, its DVC remote a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.bare = folder / "bare.git"
        self.store = folder / "remote"

    def run(self, *command: str, check: bool = True, folder: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=folder or self.folder, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def git(self, *words: str) -> str:
        return self.run(*GIT, *words).strip()

    def dvc(self, *words: str) -> str:
        return self.run(*DVC, *words)

    def answers(self, right: int, *, images: int = 100, train: int = 100) -> None:
        """Of so many test images, half of them cats, the first `right` are told rightly."""
        other = {"cat": "dog", "dog": "cat"}
        lines = ["image,label,answer"]
        for number in range(images):
            label = ("cat", "dog")[number % 2]
            answer = label if number < right else other[label]
            lines.append(f"{number:04}.png,{label},{answer}")
        lines += [f"train{number:04}.png,cat,cat" for number in range(train)]
        self.write("data/raw/answers.csv", "\n".join(lines) + "\n")

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def status(self) -> str:
        return self.git("status", "--porcelain")

    def scores(self) -> dict[str, float]:
        return json.loads((self.folder / "reports/metrics.json").read_text())["fine_tuned"]


def make_toy(folder: Path, *, remotes: bool = True) -> Toy:
    """A committed project that has never run."""
    toy = Toy(folder)
    toy.folder.mkdir(parents=True)
    toy.run("git", "init", "--quiet", "--initial-branch", "main")
    toy.run(*DVC, "init", "--quiet")
    config = "[core]\n    analytics = false\n"
    toy.write("stage.py", STAGE)
    toy.write("dvc.yaml", GRAPH)
    toy.write("params.yaml", (ROOT / "params.yaml").read_text())
    toy.write(".gitignore", "/reports/predictions.csv\n/reports/backfill.csv\n")
    toy.answers(80)
    if remotes:
        toy.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(toy.bare))
        toy.git("remote", "add", "origin", str(toy.bare))
        config += f"    remote = store\n['remote \"store\"']\n    url = {toy.store}\n"
    toy.write(".dvc/config", config)
    toy.run(*DVC, "add", "--quiet", "data/raw")
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "Begin")
    return toy


@contextmanager
def copy_of(saved: Path) -> Iterator[Toy]:
    """A copy of a toy project, which lies where the saved one lay: it names remotes in full."""
    place = saved.with_name("toy")
    shutil.copytree(saved, place, symlinks=True)
    try:
        yield Toy(place)
    finally:
        shutil.rmtree(place)


def environment() -> dict[str, str]:
    """For a process that runs flows: the interpreter's own folder first, no proxy to loopback."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1,localhost",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }

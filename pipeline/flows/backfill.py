"""Backfill: what other commits' models, data or code would have scored, as a table that is kept.

`model`: an old commit's model file on today's test images.  `data`: today's
code, trained on an old commit's data.  `code`: an old commit's code, trained on
today's data.  Training happens in a temporary clone, on the shared store and
DVC cache.
"""

from __future__ import annotations

import csv
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from pipeline.comparing.revisions import Revision, find_revision
from pipeline.engines import ExtractParams
from pipeline.errors import InputError
from pipeline.files import replacing
from pipeline.flows import dvc
from pipeline.flows.git import check_clean, git, head
from pipeline.flows.leash import leashed
from pipeline.params import load_section
from pipeline.scoring.names import HEADLINE
from pipeline.scoring.report import figures
from pipeline.stages.evaluate import EvaluateParams
from pipeline.tables import distinct, read_manifest

What = Literal["model", "data", "code"]
TABLE = Path("reports/backfill.csv")
KEY = ("what", "commit", "today")
COLUMNS = (*KEY, "revision", "images", *HEADLINE, "accuracy_low", "accuracy_high", "error")
MODEL, SPLITS, RAW = Path("models/model.keras"), Path("data/splits.csv"), Path("data/raw")

Row = dict[str, Any]


@flow(name="backfill", flow_run_name="backfill {what}", persist_result=False)
def backfill(revisions: list[str], what: What = "model") -> State[list[Row]]:
    """Fill in the rows of reports/backfill.csv that are not there yet.

    Args:
        revisions: Commits, tags or branches, oldest first.
        what: Which part of them to take; the rest is that of HEAD.
    """
    check_clean()
    today = head()
    rows = {tuple(row[name] for name in KEY): row for row in read_table(TABLE)}
    found: list[Row] = []
    for revision in map(find_revision, revisions):
        key = what, str(revision.commit), today
        row = rows.get(key)
        if row is None or row["error"]:
            state: Any = score(revision, what, return_state=True)
            row = dict(zip(KEY, key, strict=True)) | {"revision": revision.name} | _row(state)
            rows[key] = row
            write_table(TABLE, list(rows.values()))
        found.append(row)
    shown = [{name: row.get(name, "") for name in COLUMNS} for row in found]
    create_table_artifact(shown, key="backfill", description=f"The {what} of other commits")
    failed = [row["revision"] for row in found if row["error"]]
    if failed:
        words = f"no figures for {', '.join(failed)}: see the column error"
        return Failed(message=words, data=found)
    return Completed(message=f"{len(found)} commits scored", data=found)


def _row(state: Any) -> Row:
    """Figures, or why there are none."""
    try:
        scores = state.result()
    except Exception as error:  # noqa: BLE001  # one commit's fault must not hide the others
        return {"error": " ".join(str(error).split())[:500]}
    return {name: scores[name] for name in COLUMNS if name in scores} | {"error": ""}


@task(task_run_name="{revision.name}", cache_policy=NO_CACHE, persist_result=False)
def score(revision: Revision, what: What) -> dict[str, float]:
    """The shipped model's figures."""
    if what == "model":
        return score_model(revision)
    return train_anew(revision, what)


def score_model(revision: Revision) -> dict[str, float]:
    """Judge a commit's model file on the workspace's test images.

    Raises:
        InputError: The model is nowhere, cannot be used, or knows other classes.
    """
    from pipeline.inference import classify_images, load_classifier  # noqa: PLC0415

    params = Path("params.yaml")
    evaluate = load_section(params, "evaluate", EvaluateParams)
    images = distinct(read_manifest(SPLITS))
    test = images[images["split"] == "test"].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / MODEL.name
        words = ["--rev", str(revision.commit), "--out", str(file), ".", str(MODEL)]
        dvc.ask(Path(), "get", *words)
        run, card = load_classifier(file, load_section(params, "extract", ExtractParams).engine)
        if unknown := sorted(set(test["label"]) - set(card.classes)):
            reason = f"its model does not know the classes {unknown}"
            raise InputError(revision.name, reason, "leave it out")
        probabilities = classify_images(run, card, test, RAW, "backfill")
    return figures(
        test,
        card.classes,
        probabilities,
        slices=[],
        majority=str(images.loc[images["split"] == "train", "label"].mode()[0]),
        resamples=evaluate.resamples,
        seed=evaluate.seed,
    )


def train_anew(revision: Revision, what: What) -> dict[str, float]:
    """Train in a temporary clone with the data, or the code, of a commit.

    Raises:
        StageError: A stage failed.
    """
    say = get_run_logger().info
    commit, today = str(revision.commit), head()
    code, data = (today, commit) if what == "data" else (commit, today)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        git("clone", "--quiet", "--shared", "--no-checkout", ".", str(clone))
        inside = ["-C", str(clone)]
        git(*inside, "checkout", "--quiet", "--detach", code)
        for file in git(*inside, "ls-files", "*.dvc").split():
            git(*inside, "rm", "--quiet", "--cached", file)
            (clone / file).unlink()
        if files := git("ls-tree", "-r", "--name-only", data, "--", ":(glob)**/*.dvc").split():
            git(*inside, "checkout", data, "--", *files)
        cache = dvc.ask(Path(), "cache", "dir").strip()
        dvc.ask(clone, "cache", "dir", "--local", str(Path(cache).resolve()))
        dvc.ask(clone, "checkout", "--force", "--allow-missing")
        repro(clone, say)
        document = json.loads((clone / "reports/metrics.json").read_text(encoding="utf-8"))
    scores: dict[str, float] = document["fine_tuned"]
    return scores


def repro(clone: Path, say: Any) -> None:
    """Run all stages in a clone."""
    with leashed(
        [*dvc.DVC, "repro", "--pull"],
        clone,
        dvc.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        said = [line.rstrip() for line in process.stdout or () if not say(line.rstrip())]
        if process.wait():
            raise dvc.StageError("\n".join(said[-5:]))


def read_table(file: Path) -> list[Row]:
    """The rows that are there; none where there is no file."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if rows and not set(COLUMNS) <= set(rows[0]):
        raise InputError(file, f"lacks columns of {list(COLUMNS)}", "move it away")
    return rows


def write_table(file: Path, rows: Sequence[Row]) -> None:
    """Write the rows, whole or not at all."""
    with replacing(file) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: row.get(name, "") for name in COLUMNS} for row in rows)

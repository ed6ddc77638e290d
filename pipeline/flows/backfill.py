"""Backfill: what other commits' models, data or code would have scored, as a table that is kept.

`model`: an old commit's model file on today's test images.  `data`: today's
code, trained on an old commit's data.  `code`: an old commit's code, trained on
today's data.  Training happens in a temporary clone, on the shared store and
DVC cache.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from pipeline.comparing.outs import files_of
from pipeline.comparing.revisions import WORKSPACE, Revision, find_revision
from pipeline.engines import ExtractParams
from pipeline.errors import InputError, in_words
from pipeline.files import replacing, scratch
from pipeline.flows import artifacts
from pipeline.flows.alone import alone
from pipeline.flows.clone import check_clean, check_top, head
from pipeline.flows.tasks import ordinary
from pipeline.params import load_section
from pipeline.programs import dvc
from pipeline.programs.git import git, listed
from pipeline.scoring.names import HEADLINE
from pipeline.scoring.report import figures
from pipeline.stages.evaluate import EvaluateParams
from pipeline.tables import distinct, read_manifest, read_table

What = Literal["model", "data", "code"]
TABLE = Path("reports/backfill.csv")
CLONES = Path(".dvc/tmp/backfill")
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

    Raises:
        InputError: The tree is not clean, or another flow works in this clone.
    """
    with alone("flow"):
        found = fill_in(revisions, what)
    table = [{name: row.get(name, "") for name in COLUMNS} for row in found]
    with artifacts.shown():
        create_table_artifact(table, key="backfill", description=f"The {what} of other commits")
    failed = [row["revision"] for row in found if row["error"]]
    if failed:
        words = f"no figures for {', '.join(failed)}: see the artifact"
        return Failed(message=words, data=found)
    return Completed(message=f"{len(found)} commits scored", data=found)


def fill_in(revisions: Sequence[str], what: What) -> list[Row]:
    """Score what has no row yet, or one with an error; return the rows asked for.

    A revision that is not known has one here, and none in the table.
    """
    check_top()
    check_clean()
    if not revisions:
        raise InputError("backfill", "no revisions are given", 'give some: revisions=["HEAD~1"]')
    if WORKSPACE in revisions:
        raise InputError(WORKSPACE, "is no commit", "commit it, and name that")
    today = head()
    rows = {tuple(row[name] for name in KEY): row for row in read_rows(TABLE)}
    found: list[Row] = []
    for name in revisions:
        try:
            revision = find_revision(name)
        except InputError as error:
            found.append({"what": what, "revision": name, "error": in_words(error)})
            continue
        key = what, str(revision.commit), today
        row = rows.get(key)
        if row is None or row["error"]:
            state: Any = score(revision, what, return_state=True)
            row = dict(zip(KEY, key, strict=True)) | {"revision": revision.name} | _row(state)
            rows[key] = row
            write_rows(TABLE, list(rows.values()))
        found.append(row)
    return found


def _row(state: Any) -> Row:
    """Figures, or why there are none."""
    try:
        scores = state.result()
    except Exception as error:  # noqa: BLE001  # one commit's fault must not hide the others
        return {"error": in_words(error)}
    return {name: scores[name] for name in COLUMNS if name in scores} | {"error": ""}


@task(task_run_name="{revision.name}", **ordinary)
def score(revision: Revision, what: What) -> dict[str, float]:
    """The shipped model's figures."""
    if what == "model":
        return score_model(revision)
    return train_anew(revision, what)


def score_model(revision: Revision) -> dict[str, float]:
    """Judge a commit's model file on the workspace's test images, but for those it learnt from.

    Raises:
        InputError: The model or its splits are nowhere; it cannot be used, knows
            other classes, or learnt from every test image.
    """
    from pipeline.inference import classify_images, load_classifier  # noqa: PLC0415

    params = Path("params.yaml")
    evaluate = load_section(params, "evaluate", EvaluateParams)
    files_of(find_revision(WORKSPACE), [SPLITS.as_posix()], Path())  # for its errors
    images = distinct(read_manifest(SPLITS))
    test = images[images["split"] == "test"].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        wanted = [MODEL.as_posix(), SPLITS.as_posix()]
        found, then = files_of(revision, wanted, Path(folder))
        test = unseen(test, read_table(then, ("digest", "split"), only=True), revision)
        file = found if found == MODEL else found.rename(Path(folder) / MODEL.name)
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


def unseen(test: pd.DataFrame, then: pd.DataFrame, revision: Revision) -> pd.DataFrame:
    """Those of the test images that a commit's splits, `then`, neither train nor choose by.

    Raises:
        InputError: There are none.
    """
    learnt = test["digest"].isin(then.loc[then["split"] != "test", "digest"])
    if learnt.any():
        said = "%s: %d of %d test images are left out: its model learnt from them"
        get_run_logger().info(said, revision.name, learnt.sum(), len(test))
    if learnt.all():
        raise InputError(revision.name, "its model learnt from every test image", "leave it out")
    return test[~learnt].reset_index(drop=True)


def train_anew(revision: Revision, what: What) -> dict[str, float]:
    """Train in a temporary clone with the data, or the code, of a commit.

    Raises:
        StageError: A stage failed.
    """
    say = get_run_logger().info
    today = Revision("HEAD", head())
    code, data = (today, revision) if what == "data" else (revision, today)
    with scratch(CLONES) as folder:  # of a killed run the next one removes it, keys and all
        clone = folder / "clone"
        git("clone", "--quiet", "--shared", "--no-checkout", ".", str(clone))
        git("checkout", "--quiet", "--detach", str(code.commit), folder=clone)
        take_data(data, clone)
        if (keys := Path(".dvc/config.local")).is_file():  # of the remote
            shutil.copy(keys, clone / keys)
        cache = dvc.run("cache", "dir").strip()
        dvc.run("cache", "dir", "--local", str(Path(cache).resolve()), folder=clone)
        dvc.run("checkout", "--force", "--allow-missing", folder=clone)
        pull = ["--pull"] if dvc.run("remote", "list", folder=clone).strip() else []
        dvc.repro(*pull, folder=clone, say=lambda line: say(line.expandtabs()))
        document = json.loads((clone / "reports/metrics.json").read_text(encoding="utf-8"))
    scores: dict[str, float] = document.get("fine_tuned", {})
    if not HEADLINE.keys() & scores.keys():
        reason = "its reports/metrics.json has no figure of today's names"
        raise InputError(revision.name, reason, "leave it out")
    return scores


def take_data(revision: Revision, clone: Path) -> None:
    """Put a commit's .dvc files in the place of those that are there.

    Raises:
        InputError: It has none: its data is what its stages make.
    """
    kept = listed("ls-tree", "-r", "-z", "--name-only", str(revision.commit))
    files = [file for file in kept if file.endswith(".dvc")]
    if not files:
        fix = "run `dvc add data/raw` and commit data/raw.dvc, or leave it out"
        raise InputError(revision.name, "keeps no data in .dvc files", fix)
    for file in listed("ls-files", "-z", "--", "*.dvc", folder=clone):
        (clone / file).unlink()
    words = ["--literal-pathspecs", "checkout", str(revision.commit), "--", *files]
    git(*words, folder=clone)


def read_rows(file: Path) -> list[Row]:
    """The rows that are there; none where there is no file."""
    if not file.exists():
        return []
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(file, f"cannot be read: {error}", "move it away") from error
    if rows and not set(COLUMNS) <= set(rows[0]):
        raise InputError(file, f"lacks columns of {list(COLUMNS)}", "move it away")
    return rows


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write the rows, whole or not at all."""
    with replacing(file) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: row.get(name, "") for name in COLUMNS} for row in rows)

"""What a run leaves to look at in Prefect: figures, confusion matrix, views, rejected files."""

from __future__ import annotations

import base64
import csv
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image
from prefect import get_run_logger
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from pipeline.errors import InputError
from pipeline.findings.rejected import REJECTED_EXAMPLES, by_reason
from pipeline.markdown import table
from pipeline.programs.git import blob, run
from pipeline.scoring.names import HEADLINE, judged_on, with_interval

METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.csv")
SHEET = Path("reports/contact_sheet.png")
REJECTED = Path("data/rejected.csv")
SHEET_SIDE = 1000  # pixels at most: an artifact lies in Prefect's database
AFTERWARDS = 1000  # files of a reason, where the table itself is rolled back
CLASSES = 30  # a confusion matrix of more is no picture
UNSHOWN = (InputError, OSError, LookupError, TypeError, ValueError, httpx.HTTPError)
csv.field_size_limit(2**31 - 1)  # letters of a cell: as long as a user's table had it


@contextmanager
def shown() -> Iterator[None]:
    """What cannot be shown is said: it must not cost a model its place, or hide an error."""
    try:
        yield
    except UNSHOWN as error:
        get_run_logger().warning("not all is there to look at: %s", error)


@shown()
def of_failed(stage: str) -> None:
    """Keep what a failed stage says to look at: `retrain` rolls its files back."""
    if stage == "ingest" and REJECTED.exists():
        of_rejected(examples=AFTERWARDS)


@shown()
def of_rejected(*, examples: int = REJECTED_EXAMPLES) -> None:
    """Make the artifact of the rejected files."""
    told = rejected(REJECTED, examples)
    create_markdown_artifact(told, key="rejected-files", description="By reason")


@shown()
def of_comparison(account: str) -> None:
    """Make the artifact of what differs from HEAD."""
    create_markdown_artifact(account, key="comparison", description="With HEAD")


@shown()
def of_views() -> None:
    """Make the artifact of a few images and their views."""
    create_image_artifact(picture(SHEET), key="contact-sheet", description="Views of a few images")


@shown()
def of_metrics() -> None:
    """Make the artifact of the model's figures."""
    create_markdown_artifact(metrics(), key="metrics", description="Of the model that ships")


@shown()
def of_confusion() -> None:
    """Make the artifact of the classes that are taken for one another."""
    create_markdown_artifact(
        confusion(PREDICTIONS), key="confusion-matrix", description="Test images"
    )


MADE: dict[str, list[Callable[[], None]]] = {
    "ingest": [of_rejected],
    "augment": [of_views],
    "evaluate": [of_metrics, of_confusion],
}


def of_run(done: Collection[str]) -> None:
    """Make the artifacts of those stages that are up to date, each for itself.

    Args:
        done: Stages that this run brought up to date; reports of others may be old.
    """
    for stage, made in MADE.items():
        for make in made if stage in done else ():
            make()


def metrics() -> str:
    """The shipped model's figures beside those of the last commit, as Markdown."""
    now = json.loads(METRICS.read_text(encoding="utf-8"))["fine_tuned"]
    before = committed()
    rows = [
        f"| {HEADLINE[name]} | {with_interval(now, name)} | {_beside(name, now, before)} |"
        for name in HEADLINE
        if name in now
    ]
    return "\n".join(
        [
            f"{judged_on(now)}; 95% bootstrap intervals.",
            "",
            "| metric | now | HEAD | change |",
            "| --- | ---: | ---: | ---: |",
            *rows,
        ]
    )


def _beside(name: str, now: dict[str, float], before: dict[str, float]) -> str:
    if name not in before:
        return "- | -"
    return f"{before[name]:.4f} | {now[name] - before[name]:+.4f}"


def committed() -> dict[str, float]:
    """The shipped model's figures at HEAD; none where there is no commit of them."""
    begun = run("rev-parse", "--verify", "--quiet", "HEAD").status == 0
    content = blob("HEAD", METRICS.as_posix()) if begun else None
    try:
        found = json.loads(content or "")["fine_tuned"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: value for name, value in found if isinstance(value, (int, float))}


def confusion(predictions: Path) -> str:
    """Test images by class and prediction, as Markdown."""
    counts = Counter(rows_of(predictions, "label", "predicted"))
    classes = sorted({name for pair in counts for name in pair})
    if len(classes) > CLASSES:
        return f"{len(classes)} classes: see reports/predictions.csv."
    rows = [[label, *(f"{counts[label, guess]}" for guess in classes)] for label in classes]
    return table(["class \\ predicted", *classes], rows)


def rejected(file: Path, examples: int = REJECTED_EXAMPLES) -> str:
    """Files that could not be used, by reason with some examples, as Markdown."""
    found = by_reason(rows_of(file, "path", "reason"), examples)
    if not found:
        return "No file was rejected."
    rows = [[code, f"{files}", "; ".join(paths)] for code, files, paths in found]
    return table(["reason", "files", "such as"], rows)


def rows_of(file: Path, one: str, other: str) -> list[tuple[str, str]]:
    """Two columns of a CSV file; without pandas, whose import takes longer than all the rest.

    Raises:
        InputError: The file is absent, lacks a column or is no table.
    """
    fix = "run `dvc repro`"
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            lacks = [name for name in (one, other) if name not in (reader.fieldnames or ())]
            found = [(row[one], row[other]) for row in reader if not lacks]
    except FileNotFoundError:
        raise InputError(file, "does not exist", fix) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(file, f"is not a table: {error}", fix) from error
    if lacks:
        raise InputError(file, f"has no column {', '.join(lacks)}", fix)
    return found


def picture(file: Path) -> str:
    """A picture as a data URL, made smaller where it is large."""
    content = BytesIO()
    with Image.open(file) as image:
        image.thumbnail((SHEET_SIDE, SHEET_SIDE))
        image.convert("RGB").save(content, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"

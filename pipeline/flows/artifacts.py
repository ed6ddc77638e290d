"""What a run leaves to look at in Prefect: figures, confusion matrix, views, rejected files."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Collection
from io import BytesIO
from pathlib import Path

from PIL import Image
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from pipeline.comparing.markdown import plain
from pipeline.findings.rejected import by_reason
from pipeline.scoring.names import HEADLINE
from pipeline.tables import read_rejected, read_table

METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.csv")
SHEET = Path("reports/contact_sheet.png")
REJECTED = Path("data/rejected.csv")
SHEET_SIDE = 1000  # pixels at most: an artifact lies in Prefect's database
CLASSES = 30  # a confusion matrix of more is no picture


def of_run(folder: Path, *, done: Collection[str]) -> None:
    """Make the artifacts of those stages that are up to date.

    Args:
        done: Stages that this run brought up to date; reports of others may be old.
    """
    if "ingest" in done:
        create_markdown_artifact(
            rejected(folder / REJECTED), key="rejected-files", description="By reason"
        )
    if "augment" in done:
        create_image_artifact(
            picture(folder / SHEET), key="contact-sheet", description="Views of a few images"
        )
    if "evaluate" in done:
        create_markdown_artifact(
            metrics(folder), key="metrics", description="Of the model that ships"
        )
        create_markdown_artifact(
            confusion(folder / PREDICTIONS), key="confusion-matrix", description="Test images"
        )


def metrics(folder: Path) -> str:
    """The shipped model's figures beside those of the last commit, as Markdown."""
    now = json.loads((folder / METRICS).read_text(encoding="utf-8"))["fine_tuned"]
    before = committed(folder)
    rows = [_row(name, now, before) for name in HEADLINE if name in now]
    return "\n".join(
        [
            f"{now['images']:.0f} test images; 95% bootstrap intervals.",
            "",
            "| metric | now | HEAD | change |",
            "| --- | ---: | ---: | ---: |",
            *rows,
        ]
    )


def committed(folder: Path) -> dict[str, float]:
    """The shipped model's figures at HEAD; none where there is no commit of them."""
    done = subprocess.run(
        ["git", "show", f"HEAD:./{METRICS.as_posix()}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found: dict[str, float] = json.loads(done.stdout)["fine_tuned"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found


def _row(name: str, now: dict[str, float], before: dict[str, float]) -> str:
    value = f"{now[name]:.4f} [{now[f'{name}_low']:.4f}, {now[f'{name}_high']:.4f}]"
    old = f"{before[name]:.4f}" if name in before else "-"
    change = f"{now[name] - before[name]:+.4f}" if name in before else "-"
    return f"| {name.replace('_', ' ')} | {value} | {old} | {change} |"


def confusion(predictions: Path) -> str:
    """Test images by class and prediction, as Markdown."""
    table = read_table(predictions, ("label", "predicted"), only=True)
    classes = sorted({*table["label"], *table["predicted"]})
    if len(classes) > CLASSES:
        return f"{len(classes)} classes: see reports/predictions.csv."
    counts: dict[tuple[str, str], int] = table.value_counts().to_dict()  # type: ignore[assignment]
    rows = [
        [label, *(f"{counts.get((label, guess), 0)}" for guess in classes)] for label in classes
    ]
    return _markdown_table(["class \\ predicted", *classes], rows)


def rejected(table: Path) -> str:
    """Files that could not be used, by reason with a few examples, as Markdown."""
    found = read_rejected(table)
    if found.empty:
        return "No file was rejected."
    rows = [[code, f"{files}", "; ".join(paths)] for code, files, paths in by_reason(found)]
    return _markdown_table(["reason", "files", "such as"], rows)


def picture(file: Path) -> str:
    """A picture as a data URL, made smaller where it is large."""
    content = BytesIO()
    with Image.open(file) as image:
        image.thumbnail((SHEET_SIDE, SHEET_SIDE))
        image.convert("RGB").save(content, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _markdown_table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(plain, line))} |" for line in lines)

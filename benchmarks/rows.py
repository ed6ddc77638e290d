"""Seconds and peak memory of split and augment by the number of images.

The tables that `ingest` would write are made up, with copies, groups and hashes
at random; of the pictures only those of the contact sheet are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks import report
from benchmarks.project import Done, apart, own_peak_mb, require, throwaway
from pipeline.stages.augment import SHEET_IMAGES
from pipeline.tables import MANIFEST_COLUMNS, distinct, read_manifest, write_table

CLASSES = 50
GROUP = 7  # pictures of a group; half of the pictures have one
COPIES = 0.01  # of the rows
WAYS: dict[str, dict[str, object]] = {
    "hash": {},
    "hash, near-duplicates together, 5 folds": {"near_duplicates": "together", "folds": 5},
    "stratified": {"strategy": "stratified"},
}
VIEWS = (1, 2)


def main(words: Sequence[str] | None = None) -> int:
    """Run the stages on made-up tables of each size."""
    options = report.parser("rows", __doc__)
    sizes = [100_000, 1_000_000]
    options.add_argument("--rows", nargs="+", type=int, default=sizes, help="images")
    chosen = report.parse(options, words)
    lines: list[list[object]] = []
    for rows in chosen.rows:
        with throwaway(chosen.folder) as project:
            apart(make_up, project.folder, rows)  # a child is handed down our memory
            for words_of_way, values in WAYS.items():
                project.set("split", strategy="hash", near_duplicates="ignore", folds=0)
                project.set("split", **values)
                lines.append(line(rows, f"split: {words_of_way}", project.stage("split")))
            apart(draw_sheet, project.folder)
            for views in VIEWS:
                project.set("augment", views=views)
                lines.append(line(rows, f"augment: {views} views", project.stage("augment")))
    report.write(
        chosen,
        "Memory is the stage's largest resident set.",
        report.table(("stage", "images", "seconds", "MB"), lines),
    )
    return 0


def make_up(folder: Path, rows: int) -> None:
    """Write a manifest and its measures."""
    random = np.random.default_rng(1)
    number = np.arange(rows)
    copy = random.random(rows) < COPIES
    number[copy] = random.integers(0, rows, copy.sum())
    digests = [hashlib.sha256(str(n).encode()).hexdigest() for n in number.tolist()]
    grouped = np.char.add("patient-", (number // GROUP).astype(str))
    manifest = pd.DataFrame(
        {
            "path": [f"images/{row:07}.png" for row in range(rows)],
            "label": np.char.add("class-", (number % CLASSES).astype(str)),
            "digest": digests,
            "width": 32,
            "height": 32,
            "weight": 1.0,
            "group": np.where(number % 2 == 0, grouped, ""),
            "split": "",
        }
    )
    (folder / "data").mkdir(exist_ok=True)
    write_table(folder / "data/manifest.csv", manifest[[*MANIFEST_COLUMNS]])
    known = sorted(set(digests))
    hashes = random.integers(0, 2**64, len(known), dtype=np.uint64)
    measures = {"digest": known, "perceptual_hash": [f"{value:016x}" for value in hashes.tolist()]}
    write_table(folder / "data/measures.csv", pd.DataFrame(measures))


def draw_sheet(folder: Path) -> None:
    """Write the pictures that augment's contact sheet shows."""
    images = distinct(read_manifest(folder / "data/splits.csv"))
    (folder / "data/raw/images").mkdir(parents=True)
    for path in images[images["split"] == "train"]["path"].head(SHEET_IMAGES):
        Image.new("L", (32, 32), 128).save(folder / "data/raw" / path)


def line(rows: int, words: str, done: Done) -> list[object]:
    """A row of the table."""
    require(done.peak_mb > own_peak_mb(), "this process is smaller than what it measures")
    return [words, f"{rows:,}", done.seconds, done.peak_mb]


if __name__ == "__main__":
    raise SystemExit(main())

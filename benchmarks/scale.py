"""Peak memory and time of the stages that go over all views, by the number of views.

The images are small noise; each to train on has ten views.  The default backbone
at its smallest size makes features of full width cheaply; a larger one makes
larger activations.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import report
from benchmarks.project import Done, Project, own_peak_mb, require, throwaway
from pipeline.store.database import NAME, connect, kinds

HELD_OUT = 50  # images of val, and of test
VIEWS = 10  # of an image to train on
SIDE = 32  # of an image, in pixels
STAGES = ("extract", "train_head", "fine_tune")


def main(words: Sequence[str] | None = None) -> int:
    """Run the stages on data sets of each size, each in a project of its own."""
    options = report.parser("scale", __doc__)
    sizes = [2000, 20_000, 200_000]
    options.add_argument("--rows", nargs="+", type=int, default=sizes, help="views")
    options.add_argument("--side", type=int, default=32, help="backbone.image_size (default 32)")
    chosen = report.parse(options, words)
    if min(chosen.rows) < 4 * HELD_OUT:
        options.error(f"--rows: {4 * HELD_OUT} or more")
    lines: list[list[object]] = []
    peaks: dict[int, dict[str, float]] = {}
    for rows in chosen.rows:
        with throwaway(chosen.folder) as project:
            prepare(project, rows, chosen.side)
            done = {stage: project.stage(stage) for stage in STAGES}
            lines.append([f"{rows:,}", *line(project, done, rows)])
        peaks[rows] = {stage: done[stage].peak_mb for stage in STAGES}
    few, many = min(peaks), max(peaks)
    growth = ", ".join(f"{name} {peaks[many][name] / peaks[few][name]:.2f}" for name in STAGES)
    report.write(
        chosen,
        f"EfficientNetLite0 at {chosen.side} px with random weights, 2 epochs of the head and 1 "
        "of fine-tuning with the default layers and activation_budget_gb. Memory is the "
        "stage's largest resident set, file pages that it maps included. Activations "
        "take their size twice while fine_tune runs: in the store and in its scratch file.",
        f"**Memory with {many:,} rows against {few:,}: {growth} times, for "
        f"{many / few:g} times the rows.**",
        report.table(
            (
                "rows",
                *(f"{stage}, {unit}" for stage in STAGES for unit in ("MB", "s")),
                "features, MB on disk",
                "activations, MB on disk",
                "store, MB",
            ),
            lines,
        ),
    )
    return 0


def prepare(project: Project, rows: int, side: int) -> None:
    """Make a data set of so many views and run the stages before `extract`."""
    train = (rows - 2 * HELD_OUT) // VIEWS
    fill(project.raw, train)
    project.set("split", strategy="column")
    project.set("augment", views=VIEWS)
    project.set("backbone", weights="none", image_size=side)
    project.set("train_head", epochs=2)
    project.set("fine_tune", epochs=1)
    for stage in ("ingest", "split", "augment"):
        project.stage(stage)


def fill(raw: Path, train: int) -> None:
    """Write noise of two classes, darker and lighter, and its table with the splits."""
    (raw / "images").mkdir(parents=True)
    splits = ["train"] * train + ["val"] * HELD_OUT + ["test"] * HELD_OUT
    with (raw / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "label", "split"])
        for number, split in enumerate(splits):
            light, path = number % 2, f"images/{number:06}.png"
            noise = np.random.default_rng(number).integers(0, 100, (SIDE, SIDE), np.uint8)
            Image.fromarray(noise + np.uint8(100 * light)).save(raw / path)
            writer.writerow([path, ("dark", "light")[light], split])


def line(project: Project, done: dict[str, Done], rows: int) -> list[object]:
    """Memory, seconds and disk use of the stages."""
    found = done["extract"].views("extract")
    planned = (rows - 2 * HELD_OUT) // VIEWS * VIEWS + 2 * HELD_OUT
    require(found.computed == planned, f"extract computes {planned} views", done["extract"].said)
    reused = done["fine_tune"].views("fine_tune")
    require(reused.computed == 0, "fine_tune computes none", done["fine_tune"].said)
    smallest = min(stage.peak_mb for stage in done.values())
    require(smallest > own_peak_mb(), "this process is smaller than what it measures")
    database = connect(project.store / NAME, writable=True)
    sizes = {kind.name.split()[3]: kind.size for kind in kinds(database)}
    database.close()
    features = (project.folder / "data/features/features.npy").stat().st_size
    stages = [part for stage in done.values() for part in (stage.peak_mb, stage.seconds)]
    disk = (features, sizes["activations"], (project.store / NAME).stat().st_size)
    return [*stages, *(size / 1e6 for size in disk)]


if __name__ == "__main__":
    raise SystemExit(main())

"""Ingest, split and augment over many images in shards; with nothing changed; with more images."""

from __future__ import annotations

import argparse
import io
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks import report
from benchmarks.project import Project, require, throwaway
from pipeline.sources.state import SETTLED_NS

SIDE = 24  # of an image, in pixels
SHARD = 10_000  # images
ROUNDS = 3  # of adding images, of which the median counts
STAGES = ("ingest", "split", "augment")


def main(words: Sequence[str] | None = None) -> int:
    """Run the stages under DVC on data sets of each size, each in a project of its own."""
    options = report.parser("intake", __doc__)
    sizes = [100_000, 1_000_000]
    options.add_argument("--rows", nargs="+", type=int, default=sizes, help="images")
    options.add_argument("--views", type=int, default=2, help="of an image to train on")
    chosen = report.parse(options, words)
    lines: list[list[object]] = []
    for rows in chosen.rows:
        with throwaway(chosen.folder) as project:
            project.run("dvc", "remove", "sample")
            project.set("augment", views=chosen.views)
            fill(project.raw, rows)
            project.run("dvc", "add", "data/raw")
            lines.append([f"{rows:,}", *measured(project, rows)])
        tell(chosen, lines)  # what is known, should a longer one be cut short
    return 0


def tell(chosen: argparse.Namespace, lines: list[list[object]]) -> None:
    """Write the sizes that are done."""
    report.write(
        chosen,
        f"PNG of {SIDE} x {SIDE} pixels, random RGB, in tar files of {SHARD:,}; "
        f"{chosen.views} views of an image to train on. Seconds of a stage include what DVC does "
        "for it; memory is the largest resident set of DVC and its stages. With more images "
        "`ingest` decodes these alone; the rest of its time is what it takes to start, list "
        f"everything and write its tables; each is the median of {ROUNDS}.",
        report.table(
            (
                "images",
                *(f"{stage}, s" for stage in STAGES),
                "together, s",
                "peak memory, MB",
                "nothing changed, s",
                "one image more: ingest, s",
                "1% more: ingest, s",
                "1% beyond one, of the cold ingest",
            ),
            lines,
        ),
    )


def measured(project: Project, rows: int) -> list[object]:
    """Seconds of each stage and of all, peak memory; then with nothing changed, and with more."""
    cold = project.repro("augment")
    again = project.repro("augment")
    require(not again.stages, "a second run has nothing to do", again.said)
    whole, percent = cold.stages["ingest"], rows // 100
    there, shard, took = rows, 1_000, {1: list[float](), percent: list[float]()}
    for more in (1, percent) * ROUNDS:
        took[more].append(with_more(project, there, more, shard=shard))
        there, shard = there + more, shard + 1
    one, hundredth = (median(seconds) for seconds in took.values())
    seconds = [cold.stages[stage] for stage in STAGES]
    beyond = f"{(hundredth - one) / whole:.1%}"
    return [*seconds, cold.seconds, cold.peak_mb, again.seconds, one, hundredth, beyond]


def with_more(project: Project, rows: int, more: int, *, shard: int) -> float:
    """Seconds of `ingest` after images were added to so many, in one more shard."""
    write_shard(project.raw, SHARD * shard, SHARD * shard + more)
    time.sleep(SETTLED_NS / 1e9)  # or ingest would not trust the file to stay, and keep nothing
    project.run("dvc", "add", "data/raw")
    added = project.repro("ingest")
    known = f"ingest: {rows} images known and unchanged, {more} decoded"
    require(known in added.said, "only new images are decoded", added.said)
    return added.stages["ingest"]


def fill(raw: Path, rows: int) -> None:
    """Write shards, a process for each at a time; equal numbers make equal bytes."""
    raw.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        starts = range(0, rows, SHARD)
        list(pool.map(write_shard, [raw] * len(starts), starts, [rows] * len(starts)))


def write_shard(raw: Path, start: int, rows: int) -> None:
    """Write the images from number `start` on into one tar file."""
    with tarfile.open(raw / f"shard-{start // SHARD:06}.tar", "w") as archive:
        for number, content in pictures(start, min(start + SHARD, rows)):
            entry = tarfile.TarInfo(f"{('dark', 'light')[number % 2]}/{number:08}.png")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def pictures(start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Numbers and PNG bytes."""
    random = np.random.default_rng(start)
    for number in range(start, end):
        pixels = random.integers(0, 128, (SIDE, SIDE, 3), np.uint8) + np.uint8(number % 2 * 100)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        yield number, stream.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())

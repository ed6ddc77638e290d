"""Images added, images removed, an augmentation changed: what `extract` computes again.

The law is that it computes the views that no earlier run computed, and no other.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks import report
from benchmarks.project import Done, Project, require, throwaway
from pipeline.images.pictures import VIEW_TYPES, read_plan

BRIGHTER = {"probability": 0.5, "range": [0.85, 1.15]}


class Tried:
    """Runs of `extract` over changing images, with the views that are known by then."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.known: set[tuple[Any, ...]] = set()
        self.images = project.raw.with_name("images")  # where those not in use wait
        self.labels = pd.read_csv(project.raw / "labels.csv")
        project.raw.rename(self.images)

    def use(self, labels: pd.DataFrame) -> None:
        """Put these rows of the demonstration's table, and their images, into data/raw."""
        raw = self.project.raw
        shutil.rmtree(raw, ignore_errors=True)
        for path in labels["path"]:
            (raw / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.images / path, raw / path)
        labels.to_csv(raw / "labels.csv", index=False)

    def extract(self, words: str, *before: str) -> tuple[str, int, Done]:
        """Run the stages `before`, then the one to measure; give number of views and outcome.

        Raises:
            SystemExit: It computed other views than those that are new.
        """
        for stage in before:
            self.project.stage(stage)
        plan = read_plan(self.project.folder / "data/views.csv")
        wanted = list(plan[["digest", *VIEW_TYPES]].itertuples(index=False, name=None))
        new = sum(view not in self.known for view in wanted)
        done = self.project.stage("extract")
        found = done.views("extract")
        law = f"{words}: {new} of {len(wanted)} views are new, and computed"
        require((found.stored, found.computed) == (len(wanted) - new, new), law, done.said)
        self.known.update(wanted)
        return words, len(wanted), done


def main(words: Sequence[str] | None = None) -> int:
    """Run extract on 99 images of 100, then after each change, all with one store."""
    options = report.parser("changes", __doc__)
    options.add_argument("--images", type=int, help="of the demonstration's (default: all)")
    chosen = report.parse(options, words)
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        project.stage("sample")
        tried = Tried(project)
        number = pd.Series(range(len(tried.labels)))
        held, taken_away, one = number % 100 == 50, number % 100 == 0, number == 1
        require(bool(held.any()), "there are 51 images or more")
        data = ("ingest", "split", "augment")

        tried.use(tried.labels[~held & ~one])
        cold = tried.extract("cold", *data)
        warm = tried.extract("nothing changed")
        tried.use(tried.labels[~held])
        first = tried.extract("one image added", *data)
        tried.use(tried.labels)
        added = tried.extract(f"images added: {held.sum()}", *data)
        tried.use(tried.labels[~taken_away])
        removed = tried.extract(f"images removed: {taken_away.sum()}", *data)
        project.set("augment", brightness=BRIGHTER)
        brighter = tried.extract("another range of brightness", "augment")

    start = first[2].seconds
    rows = [line(run, cold[2], start) for run in (cold, warm, first, added, removed, brighter)]
    report.write(
        chosen,
        f"{len(tried.labels)} images, some held back at first. What every run of `extract` with "
        "something to compute does first (start TensorFlow, build and compile the network, read "
        f"the store) takes {start:.1f} s, the run with one image more; the last column leaves "
        "these out.",
        report.table(
            (
                "run of extract",
                "views",
                "from the store",
                "computed",
                "seconds",
                "of the cold run",
                "beyond one image, of the cold run",
            ),
            rows,
        ),
    )
    return 0


def line(run: tuple[str, int, Done], cold: Done, start: float) -> list[object]:
    """A row of the table."""
    words, views, done = run
    found, seconds = done.views("extract"), done.seconds
    ratios = (f"{part / cold.seconds:.1%}" for part in (seconds, seconds - start))
    return [words, views, found.stored, found.computed, seconds, *ratios]


if __name__ == "__main__":
    raise SystemExit(main())

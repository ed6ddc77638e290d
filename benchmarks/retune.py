"""After a full run: another head, another rate, other layers, and the backbone work of each.

A ratio compares with what the same stages took in the full run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import report
from benchmarks.project import Done, Project, require, throwaway


class Change(NamedTuple):
    """Keys of one section to change, the stages that have nothing to do, and what is computed."""

    words: str
    section: str
    values: dict[str, object]
    idle: set[str]
    passes: int  # of the frozen layers over all views


CHANGES = (
    Change("another head", "train_head", {"hidden": [512]}, {"extract"}, 0),
    Change("another rate", "fine_tune", {"learning_rate": 0.00005}, {"extract", "train_head"}, 0),
    Change("other layers", "fine_tune", {"layers": 10}, {"augment"}, 1),
)
BACKBONE = ("extract", "fine_tune")  # the stages that run it


def main(words: Sequence[str] | None = None) -> int:
    """Run everything once, then each change upon the one before."""
    options = report.parser("retune", __doc__)
    options.add_argument("--images", type=int, help="of the demonstration's (default: all)")
    chosen = report.parse(options, words)
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        cold = project.repro()
        views = cold.views("extract").computed
        rows = [row(change, apply(project, change), cold, views) for change in CHANGES]
    report.write(
        chosen,
        f"{views} views. Each change is made upon the one before; evaluate, which judges every "
        "new model, counts on both sides. No change but that of the layers runs the backbone.",
        report.table(
            (
                "change",
                "stages that ran, seconds",
                "views computed",
                "seconds",
                "of these stages in the full run",
            ),
            rows,
        ),
        report.table(("full run", "seconds"), cold.stages.items()),
    )
    return 0


def apply(project: Project, change: Change) -> Done:
    """Make a change and let DVC run what is stale."""
    project.set(change.section, **change.values)
    return project.repro()


def row(change: Change, done: Done, cold: Done, views: int) -> list[object]:
    """A line of the table.

    Raises:
        SystemExit: The stages did more than they must, or less.
    """
    ran = set(done.stages)
    require(not ran & change.idle, f"{change.words}: no {', '.join(change.idle)}", done.said)
    computed = sum(done.views(name).computed for name in BACKBONE if name in ran)
    words = f"{change.words}: {change.passes} passes of the frozen layers"
    require("fine_tune" in ran and computed == change.passes * views, words, done.said)
    before = sum(cold.stages[name] for name in done.stages)
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in done.stages.items())
    spent = sum(done.stages.values())
    key = ", ".join(f"`{change.section}.{name}: {value}`" for name, value in change.values.items())
    return [f"{change.words}, {key}", stages, computed, spent, f"{spent / before:.1%}"]


if __name__ == "__main__":
    raise SystemExit(main())

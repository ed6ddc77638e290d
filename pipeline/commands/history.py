"""History: show the shipped model's figures over the commits of a branch, with intervals.

Looks at each first parent that changed dvc.lock or reports/metrics.json.
Figures of unlike test images are no measure of the model: `compare` two
commits for what is known of their difference.  Commits are named whose figures
are not of their own params, data and code, for nobody ran `dvc repro`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.comparing.history_plot import history_plot
from pipeline.comparing.past import Recorded, past
from pipeline.comparing.revisions import SHORT, WORKSPACE, find_revision, is_shallow
from pipeline.console import printable, say, wide_console
from pipeline.errors import InputError
from pipeline.files import replacing
from pipeline.scoring.names import HEADLINE, with_interval

if TYPE_CHECKING:
    from rich.table import Table

PLOT = Path("reports/history.png")
OTHERS = ("macro_f1", "roc_auc")  # beside accuracy; the plot and --json have all
WIDTH = 9  # letters of their columns
MIN_SUBJECT = 8


def main(words: list[str]) -> int:
    """Print the table or JSON, and draw the plot."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline history",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--branch", default="HEAD", metavar="B", help="or any revision (default: HEAD)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the N newest (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON, with every figure")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help=f"draw the figures into this PNG (default: {PLOT}, but for --json)",
    )
    chosen = parser.parse_args(words)
    if chosen.limit is not None and chosen.limit < 1:
        raise InputError("--limit", f"{chosen.limit} commits are none", "give 1 or more")
    if chosen.branch == WORKSPACE:
        raise InputError("--branch", "the workspace has no history", "name a branch, or HEAD")

    if is_shallow():
        say("history: this clone is shallow: `git fetch --unshallow` brings older commits")
    entries, unread = past(find_revision(chosen.branch), chosen.limit)
    for item in unread:
        commit, why = item.commit[:SHORT], printable(item.why)
        say(f"history: {commit} {printable(item.subject)}: its figures cannot be read: {why}")
    for entry in entries:
        if entry.not_run:
            commit, stages = entry.commit[:SHORT], ", ".join(entry.not_run)
            subject = printable(entry.subject)
            say(f"history: {commit} {subject}: committed before these ran: {printable(stages)}")
    file = chosen.plot or (None if chosen.json else PLOT)
    if file:
        with replacing(file) as partial:
            partial.write_bytes(history_plot(entries))
    if chosen.json:
        document = {"commits": [*map(asdict, entries)], "unread": [*map(asdict, unread)]}
        print(json.dumps(document, indent=2))
        return 0

    console = wide_console()
    console.print(history_table(entries, console.width))
    print(f"\nWith all metrics: {file}")
    return 0


def history_table(entries: list[Recorded], width: int) -> Table:
    """A row a commit, newest first; of a subject what fits into a line of `width` letters."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, padding=(0, 1, 0, 0))
    widths = {"commit": SHORT, "date": 10, "images": 6, "accuracy, 95% interval": 23}
    for name, letters in {**widths, **{HEADLINE[name]: WIDTH for name in OTHERS}}.items():
        table.add_column(name, no_wrap=True, min_width=letters)
    left = max(MIN_SUBJECT, width - sum(widths.values()) - len(OTHERS) * WIDTH - 7)
    table.add_column("subject", no_wrap=True, overflow="ellipsis", max_width=left)
    for entry in entries:
        figures = entry.figures
        table.add_row(
            entry.commit[:SHORT],
            entry.date[:10],
            f"{figures['images']:.0f}",
            with_interval(figures, "accuracy"),
            *(f"{figures[name]:.4f}" if name in figures else "undefined" for name in OTHERS),
            Text(printable(entry.subject)),
        )
    return table

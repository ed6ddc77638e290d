"""Summary: the figures of the last run, where its files lie, and what to try next."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.comparing.outs import LOCK, recorded
from pipeline.comparing.revisions import WORKSPACE, find_revision
from pipeline.console import say
from pipeline.errors import InputError
from pipeline.model_file import read_card
from pipeline.programs.dvc import digest
from pipeline.provenance import read_provenance
from pipeline.scoring.names import HEADLINE, judged_on, with_interval

if TYPE_CHECKING:
    from rich.table import Table

METRICS = Path("reports/metrics.json")
MODEL = Path("models/model.keras")
PROVENANCE = Path("models/provenance.json")
FILES = {
    "model": MODEL,
    "metrics": METRICS,
    "predictions": Path("reports/predictions.csv"),
    "rejected": Path("data/rejected.csv"),
    "views": Path("reports/contact_sheet.png"),
    "plots": Path("reports/plots"),
}
NEXT = {
    "dvc plots show": "draws the plots into dvc_plots/index.html",
    "python -m pipeline predict IMAGE_OR_FOLDER": "labels new images",
    "dvc exp run -S fine_tune.layers=20": "tries another setting",
    "python -m pipeline compare": "compares the model with the last commit's, image by image",
}


def main(words: list[str]) -> int:
    """Print the summary."""
    argparse.ArgumentParser(prog="python -m pipeline summary", description=__doc__).parse_args(
        words
    )
    try:
        scores = json.loads(METRICS.read_text(encoding="utf-8"))
        table = figures_table(scores["head"], scores["fine_tuned"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(METRICS, f"cannot be read: {error!r}", "run `dvc repro`") from error

    shipped = what_ships()
    note_other_runs()

    from rich.console import Console  # noqa: PLC0415

    Console().print(table)
    print(shipped)
    for title, entries in (("Files", FILES), ("Next", NEXT)):
        print(f"\n{title}")
        width = max(map(len, entries)) + 2
        for name, what in entries.items():
            print(f"  {name:<{width}}{what}")
    return 0


def figures_table(head: dict[str, Any], fine_tuned: dict[str, Any]) -> Table:
    """A table of the headline metrics with their 95% intervals."""
    from rich.table import Table  # noqa: PLC0415

    title = f"{judged_on(fine_tuned)}, 95% bootstrap intervals"
    table = Table("metric", title=title)
    for name in ("frozen head", "fine-tuned"):
        table.add_column(name, no_wrap=True)
    for key, name in HEADLINE.items():
        table.add_row(name, with_interval(head, key), with_interval(fine_tuned, key))
    baseline = f"{fine_tuned['majority_baseline_accuracy']:.4f}"
    table.add_row("accuracy of the majority class", baseline, baseline)
    return table


def note_other_runs() -> None:
    """Say so where figures or model are of another run than recorded, as after `git checkout`."""
    try:
        outs = recorded(find_revision(WORKSPACE))
    except InputError:
        return  # no dvc.lock: the stages were run by hand
    for file, fix in ((METRICS, "dvc repro evaluate"), (MODEL, "dvc checkout")):
        if outs.get(str(file)) not in {None, digest(file)}:
            say(f"summary: {file} is not of the run that {LOCK} records; `{fix}`")


def what_ships() -> str:
    """Which of the two models the file holds, and which commit made it.

    Raises:
        InputError: There is no such file: the figures are of another run.
    """
    card = read_card(MODEL)
    what = {"head": "the frozen head", "fine_tuned": "the fine-tuned model"}[card.shipped]
    record = read_provenance(MODEL, PROVENANCE)
    if record is None:
        made = f"{PROVENANCE} tells of another file"
    elif record.get("git_revision") is None:
        made = "made outside git"
    else:
        changed = "" if record.get("git_clean") else " with uncommitted changes"
        made = f"made at git revision {str(record['git_revision'])[:12]}{changed}"
    return f"Ships {what}; {made}."

"""Compare: show what differs between two revisions' models, image by image, and how sure that is.

A and B are any git revision, tag, branch or DVC experiment, or the word
`workspace`.  Both models are judged on the test images that both revisions
have, by B's labels; every difference is B minus A.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.comparing.account import Part, account, title_of
from pipeline.comparing.between import compare_revisions
from pipeline.comparing.changes import Changes
from pipeline.comparing.comparison import Comparison
from pipeline.comparing.markdown import markdown
from pipeline.comparing.own_run import not_run
from pipeline.comparing.page import page
from pipeline.comparing.revisions import (
    PARAMS,
    WORKSPACE,
    Revision,
    find_revision,
)
from pipeline.comparing.sheet import places_of, sheet
from pipeline.console import printable, say, wide_console
from pipeline.errors import InputError
from pipeline.files import replacing
from pipeline.images.tiles import unseen_lines
from pipeline.params import load_section
from pipeline.programs import dvc
from pipeline.stages.evaluate import EvaluateParams
from pipeline.tables import read_manifest

RAW = Path("data/raw")
MANIFEST = Path("data/manifest.csv")
SHEET = Path("reports/compare/changed.png")
FIGURES = ("figure", "A", "B", "B - A", "so B is", "p")  # columns that no terminal may break


def main(words: list[str]) -> int:
    """Compare, and print or write what was asked for."""
    chosen = _parser().parse_args(words)
    if not 0 < chosen.confidence < 1:
        raise InputError("--confidence", f"{chosen.confidence:g} is none", "give 0.95, or so")
    params = load_section(Path(PARAMS), "evaluate", EvaluateParams)
    resamples = params.resamples if chosen.resamples is None else chosen.resamples
    if resamples < 100:
        raise InputError("--resamples", f"{resamples} are too few", "give 100 or more")
    seed = params.seed if chosen.seed is None else chosen.seed
    if seed < 0:
        raise InputError("--seed", f"{seed} is negative", "give 0 or more")

    one, other = find_revision(chosen.a), find_revision(chosen.b)
    comparison, changes = compare_revisions(
        one,
        other,
        resamples=resamples,
        seed=seed,
        confidence=chosen.confidence,
        max_slices=params.max_slices,
    )
    notes = _notes(one, other)
    for note in notes:
        say(f"compare: {printable(note)}")
    _give(chosen, comparison, changes, account(comparison, changes, notes), notes)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A", nargs="?", default="HEAD", help="default: HEAD")
    parser.add_argument(
        "b", metavar="B", nargs="?", default=WORKSPACE, help=f"default: {WORKSPACE}"
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON, with every image")
    shape.add_argument("--md", action="store_true", help="print Markdown, for a pull request")
    shape.add_argument(
        "--html", metavar="FILE", help="write one page that holds its pictures; -: print it"
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="draw the pictures that changed from right to wrong and back into this PNG "
        f"(default: {SHEET}, but for --json and --md)",
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, metavar="P", help="of intervals (default: 0.95)"
    )
    parser.add_argument(
        "--resamples", type=int, metavar="N", help="of the bootstrap (default: as evaluate has it)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of the bootstrap (default: as evaluate has it)"
    )
    return parser


def _notes(*sides: Revision) -> list[str]:
    """Which predictions are not made of the params, data and code beside them."""
    notes = []
    for side in dict.fromkeys(sides):
        who, fix = "the workspace", "Run `dvc repro` to compare what is there now."
        if side.commit is not None:
            who, fix = side.title, "Run `dvc repro` there and commit, to compare what it holds."
        recorded = f"The predictions of {who} are those of its dvc.lock"
        try:
            stale = dvc.stale() if side.commit is None else not_run(side)
        except InputError as error:
            notes.append(f"{recorded}; whether it is up to date is not known: {error.reason}.")
            continue
        if stale:
            notes.append(f"{recorded}; not up to date: {', '.join(sorted(stale))}. {fix}")
    return notes


def _give(
    chosen: argparse.Namespace,
    comparison: Comparison,
    changes: Changes,
    parts: Sequence[Part],
    notes: Sequence[str],
) -> None:
    file = chosen.sheet or (None if chosen.json or chosen.md else SHEET)
    picture, unseen = _draw(comparison, file) if file else (None, [])
    for line in unseen:
        say(f"compare: {printable(line)}")
    title = title_of(comparison)
    if chosen.json:
        print(json.dumps(_document(comparison, changes, notes), indent=2))
    elif chosen.md:
        print(markdown(title, parts))
    elif chosen.html:
        html = page(title, parts, picture, unseen)
        if chosen.html == "-":
            sys.stdout.write(html)
            return
        with replacing(Path(chosen.html)) as partial:
            partial.write_text(html, encoding="utf-8", newline="\n")
        print(f"{printable(title)}: {chosen.html}")
    else:
        _show(title, parts)
        if picture is not None:
            print(f"\nPictures that changed: {file}")


def _draw(comparison: Comparison, file: Path) -> tuple[bytes | None, list[str]]:
    """Write the contact sheet; None where no picture changed sides."""
    if not comparison.lost and not comparison.gained:
        if file == SHEET:
            file.unlink(missing_ok=True)  # of an earlier comparison
        return None, []
    try:
        places = places_of(read_manifest(MANIFEST), RAW) if MANIFEST.is_file() else {}
    except InputError as error:  # of the workspace, while others may be compared
        say(f"compare: no pictures: {error.file}: {error.reason}")
        places = {}
    picture, unseen = sheet(comparison, places)
    with replacing(file) as partial:
        partial.write_bytes(picture)
    return picture, unseen_lines(unseen)


def _show(title: str, parts: Sequence[Part]) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = wide_console()
    console.print(Text(printable(title), style="bold"))
    for part in parts:
        console.print(Text(f"\n{printable(part.title)}", style="bold"))
        for sentence in part.sentences:
            console.print(Text(printable(sentence)))
        if part.rows:
            table = Table(box=None, padding=(0, 1, 0, 0))
            for column in part.columns:
                figures = column in FIGURES or column.endswith("interval")
                table.add_column(Text(printable(column)), no_wrap=figures, overflow="fold")
            for row in part.rows:
                table.add_row(*(Text(printable(cell)) for cell in row))
            console.print(table)


def _document(comparison: Comparison, changes: Changes, notes: Sequence[str]) -> dict[str, Any]:
    return {
        **_finite(asdict(comparison)),
        "changes": _finite(asdict(changes)),
        "notes": list(notes),
    }


def _finite(value: Any) -> Any:
    """The same with null for what is undefined."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value

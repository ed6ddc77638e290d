"""The tables that `ingest` ends with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.console import say, show_table
from pipeline.findings.finding import Finding
from pipeline.findings.rejected import by_reason


def show_rejected(table: pd.DataFrame, file: Path) -> None:
    """Say how many files each reason rejected, and name the first of them."""
    if table.empty:
        return
    title = f"ingest: {len(table)} rejected, listed in {file}"
    rows = [
        (code, f"{files}", ", ".join(paths))
        for code, files, paths in by_reason(zip(table["path"], table["reason"], strict=True))
    ]
    show_table(title, ("reason", "files", "such as"), rows)


def show_findings(findings: Sequence[Finding], file: Path) -> None:
    """Say what is odd about the usable images, and name an example of each."""
    there = [finding for finding in findings if finding.count]
    if not there:
        say("ingest: nothing odd was found")
        return
    rows = [
        (finding.code, f"{finding.count}", finding.sentence, finding.examples[0].pictures[0].path)
        for finding in there
    ]
    title = f"ingest: see {file}, or run `python -m pipeline inspect`"
    show_table(title, ("finding", "count", "what", "such as"), rows)

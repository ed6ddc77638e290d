"""Rejected files by reason, with a few to look at."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

REJECTED_EXAMPLES = 3


class Reason(NamedTuple):
    """A reason's code, how many files it rejected, and the first of them by path."""

    code: str
    files: int
    examples: list[str]


def by_reason(rejected: pd.DataFrame) -> list[Reason]:
    """Sum up the rejected table, the commonest reason first."""
    ordered = rejected.sort_values("path", kind="stable")
    groups = [
        Reason(str(code), len(paths), paths.head(REJECTED_EXAMPLES).tolist())
        for code, paths in ordered.groupby("reason")["path"]
    ]
    return sorted(groups, key=lambda reason: (-reason.files, reason.code))

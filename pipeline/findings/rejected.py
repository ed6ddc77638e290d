"""Rejected files by reason, with a few to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

REJECTED_EXAMPLES = 3


class Reason(NamedTuple):
    """A reason's code, how many files it rejected, and the first of them by path."""

    code: str
    files: int
    examples: list[str]


def by_reason(
    rejected: Iterable[tuple[str, str]], examples: int = REJECTED_EXAMPLES
) -> list[Reason]:
    """Sum up (path, reason) of the rejected table, the commonest reason first."""
    paths = defaultdict[str, list[str]](list)
    for path, code in rejected:
        paths[code].append(path)
    found = [Reason(code, len(files), sorted(files)[:examples]) for code, files in paths.items()]
    return sorted(found, key=lambda reason: (-reason.files, reason.code))

"""The figures that each commit of a branch recorded, newest first."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from pipeline.comparing.outs import LOCK
from pipeline.comparing.own_run import not_run
from pipeline.comparing.revisions import Revision, file_of
from pipeline.errors import InputError
from pipeline.programs.git import listed, readable
from pipeline.scoring.names import HEADLINE

METRICS = "reports/metrics.json"
UNREADABLE = ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError
LARGEST = 1e9  # figure that is one: a plot of more cannot be drawn
SHIPPED = "fine_tuned"  # the model file's figures, whichever model it holds


@dataclass(frozen=True)
class Recorded:
    """A commit, and the figures of the model that it ships.

    Args:
        date: When it was committed, ISO 8601.
        figures: Of reports/metrics.json; m comes with m_low and m_high.
        not_run: Stages whose command, params, data, code or figures the commit changed
            without running them, so that its figures are not its own; None
            where its dvc.lock cannot tell.
    """

    commit: str
    date: str
    subject: str
    figures: dict[str, float]
    not_run: list[str] | None


@dataclass(frozen=True)
class Unread:
    """A commit whose figures cannot be read, and why."""

    commit: str
    subject: str
    why: str


def past(branch: Revision, limit: int | None) -> tuple[list[Recorded], list[Unread]]:
    """Walk the first parents that changed dvc.lock or the figures.

    Args:
        limit: Stop after so many that have figures.

    Raises:
        InputError: None of them has figures.
    """
    words = ["log", "--first-parent", "--format=%H%x1f%cI%x1f%s", "-z"]
    lines = listed(*words, str(branch.commit), "--", LOCK, METRICS)
    entries: list[Recorded] = []
    unread: list[Unread] = []
    for line in lines:
        if len(entries) == limit:
            break
        commit, date, subject = readable(line).split("\x1f", maxsplit=2)
        try:
            there = Revision(commit, commit)
            figures = _figures(file_of(there, METRICS))
            entries.append(Recorded(commit, date, subject, figures, _not_run(there)))
        except InputError as error:
            unread.append(Unread(commit, subject, error.reason))
        except UNREADABLE as error:
            unread.append(Unread(commit, subject, f"{type(error).__name__}: {error}"))
    if not entries:
        reason = f"has no commit with figures ({len(unread)} cannot be read)"
        raise InputError(branch.title, reason, f"run `dvc repro` and commit {METRICS} with {LOCK}")
    return entries, unread


def _not_run(revision: Revision) -> list[str] | None:
    try:
        return not_run(revision)
    except InputError:
        return None


def _figures(content: bytes | None) -> dict[str, float]:
    if content is None:
        raise ValueError(f"has no {METRICS}")
    document: dict[str, Any] = json.loads(content)
    figures = {
        str(name): float(value)
        for name, value in document[SHIPPED].items()
        if math.isfinite(float(value))
    }
    if any(abs(value) > LARGEST for value in figures.values()):
        raise ValueError(f"has figures beyond {LARGEST:g}")
    if "images" not in figures or not figures.keys() & HEADLINE.keys():
        raise ValueError("names no images and metric")
    return figures

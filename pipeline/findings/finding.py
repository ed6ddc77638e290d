"""What a finding is: a count and a few examples to look at, for people to judge."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import pandas as pd

Value = TypeVar("Value", bound=Hashable)

EXAMPLES = 12  # of each finding
PICTURES = 4  # of each example


class Picture(NamedTuple):
    """A file of the raw folder and how it is labelled."""

    path: str
    label: str


class Example(NamedTuple):
    """What was found once: the pictures to look at, and what to see in them."""

    note: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Finding:
    """Something odd.  `code` is stable; `count` may be 0; the worst examples come first."""

    code: str
    sentence: str
    count: int
    examples: list[Example]

    def document(self) -> dict[str, object]:
        """The finding as reports/ingest.json holds it."""
        examples = [
            {"note": note, "pictures": [picture._asdict() for picture in pictures]}
            for note, pictures in self.examples
        ]
        return {**vars(self), "examples": examples}


def one_by_one(rows: pd.DataFrame, notes: Iterable[str]) -> list[Example]:
    """The first rows of a table, each an example of its own.

    Args:
        rows: With columns path and label.
        notes: One a row.
    """
    shown = rows.head(EXAMPLES)
    pictures = map(Picture, shown["path"], shown["label"])
    return [Example(note, [picture]) for note, picture in zip(notes, pictures, strict=False)]


def listed(first: list[str], count: int) -> str:
    """The first of `count` things in words."""
    more = [f"{count - len(first)} more"] if count > len(first) else []
    return ", ".join([*first, *more])


def together(rows: pd.DataFrame, key: str, chosen: Iterable[Value]) -> dict[Value, list[Picture]]:
    """The first pictures, by path, of each chosen value of a column; values in their order."""
    groups: dict[Value, list[Picture]] = {value: [] for value in chosen}
    wanted = rows[rows[key].isin(list(groups))].sort_values(["path", "label"], kind="stable")
    wanted = wanted[wanted.groupby(key).cumcount() < PICTURES]
    for value, path, label in zip(wanted[key], wanted["path"], wanted["label"], strict=True):
        groups[value].append(Picture(path, label))
    return groups

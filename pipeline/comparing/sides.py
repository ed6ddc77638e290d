"""One side of a comparison: what a revision's model answered, and the data it knew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.errors import InputError
from pipeline.tables import probability_column, read_manifest, read_table

PREDICTED = ("digest", "path", "label")
PROBABILITY = probability_column("")


@dataclass(frozen=True)
class Side:
    """A revision's answers on its own test images.

    Args:
        name: What the user calls it, for tables and errors.
        predictions: reports/predictions.csv, one row a digest.
        splits: data/splits.csv.
    """

    name: str
    predictions: pd.DataFrame
    splits: pd.DataFrame

    @property
    def classes(self) -> list[str]:
        """The classes that its model knows, sorted."""
        return sorted(
            column.removeprefix(PROBABILITY)
            for column in self.predictions.columns
            if column.startswith(PROBABILITY)
        )


def read_side(name: str, predictions: Path, splits: Path) -> Side:
    """Read both tables of a side.

    Raises:
        InputError: One is absent or is no such table.
    """
    what, fix = f"predictions of {name}", f"run `dvc repro evaluate` at {name}"
    with _named(what, fix):
        table = read_table(predictions, PREDICTED)
    with _named(f"splits of {name}", f"run `dvc repro split` at {name}"):
        known = read_manifest(splits)
    columns = [column for column in table.columns if column.startswith(PROBABILITY)]
    if not columns:
        raise InputError(what, f"has no column {PROBABILITY}CLASS", fix)
    try:
        table = table.astype(dict.fromkeys(columns, "float64"))
    except ValueError as error:
        raise InputError(what, f"holds what is no number: {error}", fix) from error
    given = table[columns].to_numpy()
    if not ((given >= 0) & (given <= 1)).all():  # nor is what is no number
        raise InputError(what, "holds probabilities that are not in [0, 1]", fix)
    if (twice := table["digest"].duplicated()).any():
        reason = f"has two rows of digest {table.loc[twice, 'digest'].iloc[0]!r}"
        raise InputError(what, reason, fix)
    return Side(name, table, known)


@contextmanager
def _named(what: str, fix: str) -> Iterator[None]:
    """Name a revision's table in an error, and not the copy that was read."""
    try:
        yield
    except InputError as error:
        raise InputError(what, error.reason, fix) from error

"""One side of a comparison: what a revision's model answered, and the data it knew."""

from __future__ import annotations

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
    table = read_table(predictions, PREDICTED)
    columns = [column for column in table.columns if column.startswith(PROBABILITY)]
    what, fix = f"predictions of {name}", f"run `dvc repro evaluate` at {name}"
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
    return Side(name, table, read_manifest(splits))

"""The folder of cached features: one row a view, and what the rows were made with.

features.npy  (view, channel) float32 or float16
index.csv     digest and view number of each row
made_with.json  backbone, its weights' digest, input size, engine, releases
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Rows
from pipeline.errors import InputError
from pipeline.tables import read_table

ARRAY, INDEX, MADE_WITH = "features.npy", "index.csv", "made_with.json"
FIX = "run `dvc repro extract`"


@dataclass(frozen=True)
class Features:
    """`array[row]` belongs to `index.iloc[row]`."""

    array: Rows
    index: pd.DataFrame

    def rows(self, rows: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Look rows up, as a model's only input: (row, channel) float32."""
        return [self.array[rows]]


def read_features(folder: Path) -> Features:
    """Open a features folder without reading the array.

    Raises:
        InputError: A file is absent or damaged, or the rows do not match.
    """
    try:
        array = Rows(folder / ARRAY)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(folder, error) from error
    if not (len(array.shape) == 2 and array.shape[1] > 0 and array.real):
        raise InputError(folder, "holds no table of features", FIX)
    index = read_table(folder / INDEX, ("digest", "view"), {"view": "int64"})
    if len(index) != len(array):
        reason = f"has {len(array)} features but {len(index)} rows in {INDEX}"
        raise InputError(folder, reason, FIX)
    return Features(array, index)


def read_made_with(folder: Path) -> dict[str, Any]:
    """What the rows were made with; see `FrozenNetwork.made_with`.

    Raises:
        InputError: The file is absent or damaged.
    """
    try:
        made_with = json.loads((folder / MADE_WITH).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error
    if not isinstance(made_with, dict):
        raise InputError(folder / MADE_WITH, "holds no record", FIX)
    return made_with


def _unreadable(folder: Path, error: Exception) -> InputError:
    return InputError(folder, f"cannot be read: {error}", FIX)

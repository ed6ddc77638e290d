"""Folds for cross-validation: a number for each unit of train and val, none for test."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.splitting.shares import apportion


def folds_by_hash(draws: NDArray[np.float64], folds: int) -> NDArray[np.int64]:
    """(unit,) fold, from each unit's own number in [0, 1), whatever other units there are."""
    return np.floor(draws * folds).astype(np.int64)


def folds_by_share(
    kinds: pd.DataFrame, draws: NDArray[np.float64], folds: int
) -> NDArray[np.int64]:
    """(unit,) fold, every stratum shared out evenly; see `apportion`."""
    return apportion(kinds, draws, [1 / folds] * folds)

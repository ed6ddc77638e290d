"""Folds for cross-validation: a number for each unit of train and val, none for test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.splitting.shares import apportion
from pipeline.splitting.strategies import TEST, UnitSplits, strata
from pipeline.splitting.units import Units, unit_draws


def fold_of_row(
    images: pd.DataFrame,
    units: Units,
    place: UnitSplits,
    manifest: Path,
    *,
    folds: int,
    seed: int,
    columns: Sequence[str] | None,
) -> NDArray[np.str_]:
    """The fold of each row as text, empty in test.

    Args:
        columns: Share out evenly every stratum of the label and these; None: give
            each unit its fold by its own draw, whatever other units there are.
    """
    draws = unit_draws(images, units, seed, "fold\0")
    if columns is None:
        fold = np.floor(draws * folds).astype(np.int64)
    else:
        kinds = strata(images, units, columns, manifest)
        fold = apportion(kinds[place[kinds["unit"]] != TEST], draws, [1 / folds] * folds)
    return np.where(place == TEST, "", fold.astype(str))[units]


def require_folds(fold: NDArray[np.str_], folds: int, manifest: Path) -> None:
    """Refuse folds of which too few have images: one is scored, one chooses, others train.

    Args:
        fold: See `fold_of_row`.

    Raises:
        InputError: Fewer than three have.
    """
    if (filled := len(set(fold.tolist()) - {""})) < 3:
        reason = f"fills {filled} of {folds} folds, and cross-validation needs 3"
        fix = "add images or groups, change split.seed, or set split.folds to 0"
        raise InputError(manifest, reason, fix)

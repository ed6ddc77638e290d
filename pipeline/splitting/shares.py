"""Share out units among parts so that every stratum is divided as asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def apportion(
    kinds: pd.DataFrame, draws: NDArray[np.float64], shares: Sequence[float]
) -> NDArray[np.int64]:
    """Give each unit a part, largest units first, where most is missing from the quotas.

    Units of one picture fill every quota exactly; groups come as near as their
    sizes let this order come.

    Args:
        kinds: Pictures of a unit by stratum: columns unit, stratum and pictures.
        draws: (unit,) numbers that decide the order of units of one size.
        shares: Of each part; they sum to 1.

    Returns:
        (unit,) int64 index into `shares`; -1 for units that `kinds` does not name.
    """
    stratum, _ = pd.factorize(kinds["stratum"], sort=True)
    unit, pictures = kinds["unit"].to_numpy(), kinds["pictures"].to_numpy()
    sizes = np.bincount(stratum, pictures).astype(np.int64)
    missing = quotas(sizes, shares).tolist()  # plain numbers: the loop below is Python's own
    unit_sizes = np.bincount(unit, pictures, minlength=len(draws))
    order = np.lexsort((stratum, draws[unit], -unit_sizes[unit]))
    part = np.full(len(draws), -1)
    ends = np.flatnonzero(np.diff(unit[order], append=-1)) + 1
    entries = list(zip(stratum[order].tolist(), pictures[order].tolist(), strict=True))
    start = 0
    for end, number in zip(ends.tolist(), unit[order][ends - 1].tolist(), strict=True):
        chosen = _most_missing(missing, entries[start:end], sizes)
        for kind, count in entries[start:end]:
            missing[kind][chosen] -= count
        part[number], start = chosen, end
    return part


def _most_missing(
    missing: list[list[int]], entries: list[tuple[int, int]], sizes: NDArray[np.int64]
) -> int:
    """The part that lacks most of what a unit holds; each stratum counts by its own size."""
    if len(entries) == 1:
        lacks: list[float] = list(missing[entries[0][0]])
    else:
        lacks = [
            sum(missing[kind][part] * count / int(sizes[kind]) for kind, count in entries)
            for part in range(len(missing[0]))
        ]
    return lacks.index(max(lacks))


def quotas(sizes: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.int64]:
    """Whole numbers of pictures of each stratum for each part.

    Each is within 2 of its exact share, those of the first and last part within
    1: what one part got too little of, the next gets.

    Returns:
        (stratum, part) int64; the rows sum to `sizes`.
    """
    whole = np.zeros((len(sizes), len(shares)), dtype=np.int64)
    given, asked = np.zeros_like(sizes), np.cumsum(shares)
    for part in range(len(shares) - 1):
        wanted = np.round(asked[part] * sizes, 6) - given
        floor = np.maximum(np.floor(wanted), 0).astype(np.int64)
        total = int(np.floor(asked[part] * sizes.sum() + 0.5)) - given.sum() - floor.sum()
        most = np.argsort(floor - wanted, kind="stable")[: max(0, total)]
        floor[most] += (given + floor)[most] < sizes[most]
        whole[:, part] = floor
        given = given + floor
    whole[:, -1] = sizes - given
    return whole

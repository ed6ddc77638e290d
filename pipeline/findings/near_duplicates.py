"""Pictures that look the same: their perceptual hashes differ in few bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.findings.constant import shows_nothing
from pipeline.findings.finding import EXAMPLES, Example, Finding, Picture
from pipeline.near import PLAIN, Hashes, Indices, near_pairs, window_of


class Counted(NamedTuple):
    """Pairs of hashes at most some bits apart.

    `by_distance` counts them by their distance, from 0 bits on; `nearest` holds
    (bits apart, place of one, place of the other) of a few; of `crowded` hashes
    not every pair was compared: with any of them the counts are the least there
    can be.
    """

    by_distance: list[int]
    nearest: list[tuple[int, int, int]]
    crowded: int


def near_duplicates(pictures: pd.DataFrame, distance: int) -> Finding:
    """Pairs of pictures whose perceptual hashes are at most `distance` bits apart.

    A picture that shows nothing is left out: it has no frequencies to hash.

    Args:
        pictures: One row a digest, ordered by digest.
    """
    seen = pictures.loc[~shows_nothing(pictures), ["path", "label", "perceptual_hash"]]
    packed = bytes.fromhex("".join(seen["perceptual_hash"].tolist()))
    hashes = np.frombuffer(packed, dtype=">u8").astype(np.uint64)
    pairs = count_pairs(hashes, distance, EXAMPLES)
    files = seen[["path", "label"]]
    examples = [
        Example(f"{bits} of 64 bits apart", sorted(Picture(*files.iloc[i]) for i in pair))
        for bits, *pair in pairs.nearest
    ]
    counts = ", ".join(
        f"{count:,} at {bits}" for bits, count in enumerate(pairs.by_distance) if count
    )
    sentence = f"pairs of pictures that look alike: at most {distance} of 64 bits apart"
    if counts:
        sentence += f" ({counts})"
    if pairs.crowded:
        window = window_of(len(np.unique(hashes)))
        sentence += (
            f"; there may be more: {pairs.crowded:,} pictures look so much alike that each was "
            f"compared with the nearest {window} in some sortings only"
        )
    return Finding("near_duplicates", sentence, sum(pairs.by_distance), examples)


def count_pairs(hashes: Hashes, distance: int, keep: int) -> Counted:
    """Count the pairs of hashes at most `distance` bits apart, and name the nearest.

    Time and memory grow with the number of distinct hashes: equal ones are
    counted without being enumerated.  For the same hashes in the same order the
    answer is the same.

    Args:
        hashes: (item,) uint64, in any order.
        distance: From 0 to `pipeline.near.MAX_DISTANCE`.
        keep: How many pairs to name.
    """
    distinct, first, sizes = np.unique(hashes, return_index=True, return_counts=True)
    sizes = np.where(np.isin(distinct, PLAIN), 1, sizes)
    totals = np.zeros(distance + 1, dtype=np.int64)
    totals[0] = (sizes * (sizes - 1) // 2).sum()
    nearest = _equal_pairs(hashes, distinct, sizes, keep)
    crowded = np.zeros(len(distinct), dtype=bool)
    for pairs in near_pairs(distinct, distance, once=True):
        crowded[pairs.crowded] = True
        one, other, bits = pairs.one, pairs.other, pairs.distance.astype(np.int64)
        counts = np.bincount(bits, sizes[one] * sizes[other], distance + 1)
        totals += counts.astype(np.int64)  # whole numbers, exact in float64
        nearest = _nearest(nearest, bits, first[one], first[other], keep)
    named = [(bits, one, other) for bits, one, other in nearest.tolist()]
    return Counted(totals.tolist(), named, int(sizes[crowded].sum()))


def _equal_pairs(hashes: Hashes, distinct: Hashes, sizes: NDArray[np.int64], keep: int) -> Indices:
    """The first two places of each hash that stands more than once, (pair, 3) as `_nearest`."""
    order = np.argsort(hashes, kind="stable")
    starts = np.searchsorted(hashes[order], distinct[sizes > 1])
    one, other = order[starts], order[starts + 1]
    return _nearest(np.empty((0, 3), np.int64), np.zeros(len(one), np.int64), one, other, keep)


def _nearest(found: Indices, bits: Indices, one: Indices, other: Indices, keep: int) -> Indices:
    """The `keep` nearest of the pairs found and the new ones, (pair, 3): bits, places."""
    if len(found) == keep and len(bits) and keep:
        bound = found[-1, 0]
        one, other, bits = one[bits <= bound], other[bits <= bound], bits[bits <= bound]
    new = np.column_stack([bits, np.minimum(one, other), np.maximum(one, other)])
    pairs = np.concatenate([found, new])
    return pairs[np.lexsort(pairs.T[::-1])[:keep]]

"""Find pairs of 64-bit hashes that differ in few bits, without comparing each with each.

Cut 64 bits into d + 2 bands.  Two hashes that differ in at most d bits differ
in at most d bands, so they agree in two bands at least (the pigeonhole
principle; Manku et al. 2007, "Detecting Near-Duplicates for Web Crawling").
For every two bands, hashes are sorted by the bits of those, and each is
compared with those after it that agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, count, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW = 64  # of a run of hashes that agree, each is compared with so many after it,
COMPARISONS = 2**24  # or with more, as long as a sorting makes no more comparisons than this
MAX_DISTANCE = 6  # bits; (d + 2) (d + 1) / 2 sortings

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


class NearPairs(NamedTuple):
    """Pairs of hashes at most some bits apart.

    `by_distance` counts them by their distance, from 0 bits on; `nearest` holds
    (bits apart, place of one, place of the other) of a few; `crowded` is how
    many hashes stood in runs longer than `window`, of which not every pair was
    compared, so that with any of them the counts are the least there can be.
    """

    by_distance: list[int]
    nearest: list[tuple[int, int, int]]
    crowded: int
    window: int


class _Sorting(NamedTuple):
    """A sorting by the bits of `mask`; `rank` of each hash, if not every pair was compared."""

    mask: np.uint64
    rank: NDArray[np.int32] | None


def near_pairs(hashes: Hashes, distance: int, keep: int) -> NearPairs:
    """Count the pairs of hashes at most `distance` bits apart, and name the nearest.

    Time and memory grow with the number of distinct hashes, whatever they are:
    equal ones are counted without being enumerated, and a window bounds the
    rest.  For the same hashes in the same order the answer is the same.

    Args:
        hashes: In any order.
        distance: From 0 to `MAX_DISTANCE`.
        keep: How many pairs to name.
    """
    distinct, first, sizes = np.unique(hashes, return_index=True, return_counts=True)
    totals = np.zeros(distance + 1, dtype=np.int64)
    totals[0] = (sizes * (sizes - 1) // 2).sum()
    nearest = _equal_pairs(hashes, distinct, sizes, keep)
    crowded = np.zeros(len(distinct), dtype=bool)
    window = max(WINDOW, COMPARISONS // max(1, len(distinct)))
    sortings: list[_Sorting] = []  # those done before this one
    for mask in _masks(distance) if distance else []:
        order = np.argsort(distinct & mask, kind="stable")
        rank = None
        for step, run in _runs(distinct[order], mask):
            one, other = order[run], order[run + step]
            if step > window:
                crowded[one] = crowded[other] = True
                rank = np.argsort(order).astype(np.int32)
                break
            near = np.bitwise_count(distinct[one] ^ distinct[other]) <= distance
            one, other = one[near], other[near]
            new = ~_compared_before(distinct, one, other, sortings, window)
            one, other = one[new], other[new]
            bits = np.bitwise_count(distinct[one] ^ distinct[other]).astype(np.int64)
            pairs = np.bincount(bits, sizes[one] * sizes[other], distance + 1)
            totals += pairs.astype(np.int64)  # whole numbers, exact in float64
            nearest = _nearest(nearest, bits, first[one], first[other], keep)
        sortings.append(_Sorting(mask, rank))
    named = [(bits, one, other) for bits, one, other in nearest.tolist()]
    return NearPairs(totals.tolist(), named, int(sizes[crowded].sum()), window)


def _runs(ordered: Hashes, mask: np.uint64) -> Iterator[tuple[int, Places]]:
    """Where, in hashes sorted by the bits of `mask`, one agrees with that so many steps on."""
    places = np.arange(len(ordered))
    for step in count(1):
        places = places[places + step < len(ordered)]
        places = places[(ordered[places] ^ ordered[places + step]) & mask == 0]
        if not len(places):
            return
        yield step, places


def _bands(distance: int) -> list[int]:
    """The masks of d + 2 bands of almost equal width, which together are all 64 bits."""
    edges = [64 * band // (distance + 2) for band in range(distance + 3)]
    return [(1 << high) - (1 << low) for low, high in pairwise(edges)]


def _masks(distance: int) -> list[np.uint64]:
    return [np.uint64(one | other) for one, other in combinations(_bands(distance), 2)]


def _compared_before(
    distinct: Hashes, one: Places, other: Places, sortings: list[_Sorting], window: int
) -> NDArray[np.bool_]:
    """Whether an earlier sorting has compared each pair, which then is counted already."""
    apart = distinct[one] ^ distinct[other]
    seen = np.zeros(len(one), dtype=bool)
    for mask, rank in sortings:
        agree = (apart & mask) == 0
        if rank is not None:
            agree &= np.abs(rank[one] - rank[other]) <= window
        seen |= agree
    return seen


def _equal_pairs(hashes: Hashes, distinct: Hashes, sizes: NDArray[np.int64], keep: int) -> Places:
    """The first two places of each hash that stands more than once, (pair, 3) as `_nearest`."""
    order = np.argsort(hashes, kind="stable")
    starts = np.searchsorted(hashes[order], distinct[sizes > 1])
    one, other = order[starts], order[starts + 1]
    return _nearest(np.empty((0, 3), np.int64), np.zeros(len(one), np.int64), one, other, keep)


def _nearest(found: Places, bits: Places, one: Places, other: Places, keep: int) -> Places:
    """The `keep` nearest of the pairs found and the new ones, (pair, 3): bits, places."""
    if len(found) == keep and len(bits) and keep:
        bound = found[-1, 0]
        one, other, bits = one[bits <= bound], other[bits <= bound], bits[bits <= bound]
    new = np.column_stack([bits, np.minimum(one, other), np.maximum(one, other)])
    pairs = np.concatenate([found, new])
    return pairs[np.lexsort(pairs.T[::-1])[:keep]]

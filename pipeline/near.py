"""Find the pairs of 64-bit perceptual hashes that differ in few bits, without comparing all.

The bits are cut into more bands than may differ.  Hashes within the distance
agree on some bands, so sorting by every choice of that many bands brings each
pair together at least once (Manku, Jain & Das Sarma 2007, "Detecting
near-duplicates for web crawling").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, count, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS = 64
PLAIN = np.array([0, 1 << 63], np.uint64)  # of one colour, or a plain ramp: nothing to compare
MAX_DISTANCE = 8  # beyond it, unrelated pictures meet
WINDOW = 256  # of hashes that agree on chosen bands, each is compared with so many after it,
COMPARISONS = 2**24  # or with more, as long as a sorting makes no more comparisons than this
SORT, COMPARE = 150, 10  # nanoseconds an item, roughly: they choose the number of bands
FLUSH = 4_000_000  # pairs in memory at a time

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]


class NearPairs(NamedTuple):
    """Some pairs, `one` and `other` (pair,) indices, with their `distance` (pair,) in bits.

    `crowded` are indices of hashes that agreed with more others on chosen bands
    than they were compared with: pairs of those may be missing.
    """

    one: Indices
    other: Indices
    distance: NDArray[np.uint8]
    crowded: Indices


class _Sorting(NamedTuple):
    """A sorting by the bits of `mask`; `rank` of each hash, if not every pair was compared."""

    mask: np.uint64
    rank: NDArray[np.int32] | None


def near_pairs(hashes: Hashes, distance: int, *, once: bool = False) -> Iterator[NearPairs]:
    """Every pair of at most `distance` bits, in batches.

    Memory grows with the number of hashes only, and so does time: of a crowd,
    not every pair is compared.  Equal hashes make a pair each with each; give
    one of them where that is not wanted.  `PLAIN` ones make none.

    Args:
        hashes: (item,) uint64.
        distance: From 0 to `MAX_DISTANCE`.
        once: Whether no pair may come again.  In a crowd that takes 4 bytes
            more of each hash for each sorting, of which 8 bits take 165.
    """
    seen = np.flatnonzero(~np.isin(hashes, PLAIN))
    by_value = seen[np.argsort(hashes[seen], kind="stable")]
    values = hashes[by_value]
    window = window_of(len(seen))
    done: list[_Sorting] = []
    for mask in masks(distance, chosen_bands(len(seen), distance)):
        keys = values & mask
        order = np.argsort(keys, kind="stable")  # of one key by value, so likely pairs are close
        keys, ordered = keys[order], values[order]
        rank = None
        for step, at in _agreeing(keys):
            if step > window:
                crowd = np.unique(np.append(at, at + step))
                yield NearPairs(_NO_PLACE, _NO_PLACE, _NO_BITS, by_value[order[crowd]])
                rank = np.argsort(order).astype(np.int32) if once else None
                break
            bits = np.bitwise_count(ordered[at] ^ ordered[at + step])
            near = at[bits <= distance]
            one, other = order[near], order[near + step]
            if once:
                new = ~_met_before(values, one, other, done, window)
                one, other = one[new], other[new]
            if one.size:
                bits = np.bitwise_count(values[one] ^ values[other])
                yield NearPairs(by_value[one], by_value[other], bits, _NO_PLACE)
        done += [_Sorting(mask, rank)] if once else []


def window_of(number: int) -> int:
    """With how many of those that agree with it each of so many hashes is compared at least."""
    return max(WINDOW, COMPARISONS // max(1, number))


def chosen_bands(number: int, distance: int) -> int:
    """How many bands to match at once so that sorting and comparing cost least."""

    def cost(bands: int) -> float:
        sorts = math.comb(distance + bands, bands)
        shared: float = 2.0 ** (-BITS * bands / (distance + bands))
        return sorts * number * (SORT + COMPARE * number * shared / 2)

    return min(range(1, 5), key=cost)


def masks(distance: int, bands: int) -> Iterator[np.uint64]:
    """The bits of every choice of `bands` of `distance + bands` bands."""
    edges = [BITS * edge // (distance + bands) for edge in range(distance + bands + 1)]
    single = [(1 << high) - (1 << low) for low, high in pairwise(edges)]
    for chosen in combinations(single, bands):
        yield np.uint64(sum(chosen))


def _agreeing(keys: Hashes) -> Iterator[tuple[int, Indices]]:
    """Where, in sorted keys, one equals that so many steps on, for 1 step, 2, 3 ..."""
    at = np.arange(len(keys))
    for step in count(1):
        at = at[: np.searchsorted(at, len(keys) - step)]
        at = at[keys[at] == keys[at + step]]
        if not at.size:
            return
        yield step, at


def _met_before(
    values: Hashes, one: Indices, other: Indices, done: list[_Sorting], window: int
) -> NDArray[np.bool_]:
    """Whether an earlier sorting has compared each pair."""
    apart = values[one] ^ values[other]
    met = np.zeros(len(one), dtype=bool)
    for mask, rank in done:
        agree = (apart & mask) == 0
        if rank is not None:
            agree &= np.abs(rank[one] - rank[other]) <= window
        met |= agree
    return met


def near_components(hashes: Hashes, distance: int) -> tuple[Indices, int]:
    """Number the sets of hashes that chains of near pairs join; `PLAIN` ones stand alone.

    Returns:
        (item,) int64, equal where joined; and how many items stand in crowds,
        in which joined ones may have been missed.
    """
    values, item, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    component = np.arange(len(values))
    crowded = np.zeros(len(values), dtype=bool)
    links: list[tuple[Indices, Indices]] = []
    held = 0
    for pairs in near_pairs(values, distance):
        crowded[pairs.crowded] = True
        links.append((pairs.one, pairs.other))
        held += len(pairs.one)
        if held > FLUSH:
            component, links, held = joined(component, links), [], 0
    components = joined(component, links)[item]
    plain = np.isin(hashes, PLAIN)
    components[plain] = len(values) + np.arange(plain.sum())
    return components, int(sizes[crowded].sum())


def joined(component: Indices, links: list[tuple[Indices, Indices]]) -> Indices:
    """Number the components anew after joining those that the links connect."""
    if not links:
        return component
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    one, other = (component[np.concatenate(side)] for side in zip(*links, strict=True))
    size = int(component.max()) + 1
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(size, size))
    _, number = connected_components(graph, directed=False)
    renumbered: Indices = number.astype(np.int64)[component]
    return renumbered


_NO_PLACE, _NO_BITS = np.empty(0, np.int64), np.empty(0, np.uint8)

"""Find the pairs of 64-bit perceptual hashes that differ in few bits, without comparing all.

The bits are cut into more bands than may differ.  Hashes within the distance
agree on some bands, so sorting by every choice of that many bands brings each
pair together at least once (Manku, Jain & Das Sarma 2007, "Detecting
near-duplicates for web crawling").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS = 64
MAX_DISTANCE = 8  # beyond it, unrelated pictures meet
WINDOW = 256  # hashes that one is compared with, of those that agree with it on chosen bands
SORT, COMPARE = 150, 10  # nanoseconds an item, roughly: they choose the number of bands
FLUSH = 4_000_000  # pairs in memory at a time

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]


class NearPairs(NamedTuple):
    """Some pairs, `one` and `other` (pair,) indices, with their `distance` (pair,) in bits.

    `cut` says how many hashes agreed with more others on the chosen bands than
    they were compared with: pairs of those may be missing.
    """

    one: Indices
    other: Indices
    distance: NDArray[np.uint8]
    cut: int


def near_pairs(hashes: Hashes, distance: int) -> Iterator[NearPairs]:
    """Every pair of at most `distance` bits, in batches; one pair may come more than once.

    Memory grows with the number of hashes only.

    Args:
        hashes: (item,) uint64.
    """
    by_value = np.argsort(hashes, kind="stable")
    values = hashes[by_value]
    for mask in masks(distance, chosen_bands(len(hashes), distance)):
        keys = values & mask
        order = np.argsort(keys, kind="stable")  # of one key by value, so likely pairs are close
        keys, ordered, items = keys[order], values[order], by_value[order]
        at = np.arange(len(items))
        for step in range(1, WINDOW + 2):
            at = at[: np.searchsorted(at, len(items) - step)]
            at = at[keys[at] == keys[at + step]]
            if not at.size or step > WINDOW:
                break
            bits = np.bitwise_count(ordered[at] ^ ordered[at + step])
            close = bits <= distance
            if close.any():
                one = at[close]
                yield NearPairs(items[one], items[one + step], bits[close], 0)
        if at.size:
            yield NearPairs(*_NONE, at.size)


def chosen_bands(count: int, distance: int) -> int:
    """How many bands to match at once so that sorting and comparing cost least."""

    def cost(bands: int) -> float:
        sorts = math.comb(distance + bands, bands)
        shared: float = 2.0 ** (-BITS * bands / (distance + bands))
        return sorts * count * (SORT + COMPARE * count * shared / 2)

    return min(range(1, 5), key=cost)


def masks(distance: int, bands: int) -> Iterator[np.uint64]:
    """The bits of every choice of `bands` of `distance + bands` bands."""
    edges = [BITS * edge // (distance + bands) for edge in range(distance + bands + 1)]
    single = [(1 << high) - (1 << low) for low, high in pairwise(edges)]
    for chosen in combinations(single, bands):
        yield np.uint64(sum(chosen))


def near_components(hashes: Hashes, distance: int) -> tuple[Indices, int]:
    """Number the sets of hashes that chains of near pairs join.

    Returns:
        (item,) int64, equal where joined; and how many comparisons were cut off.
    """
    values, item = np.unique(hashes, return_inverse=True)
    component = np.arange(len(values))
    links: list[tuple[Indices, Indices]] = []
    held = cut = 0
    for pairs in near_pairs(values, distance):
        cut += pairs.cut
        links.append((pairs.one, pairs.other))
        held += len(pairs.one)
        if held > FLUSH:
            component, links, held = joined(component, links), [], 0
    return joined(component, links)[item], cut


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


_NONE = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8))

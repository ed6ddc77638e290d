"""Near pairs of hashes are those that comparing all with all would find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from pipeline import near
from pipeline.near import WINDOW, masks, near_components, near_pairs


def pairs_of(hashes: np.ndarray, distance: int, *, once: bool = True) -> set[tuple[int, int, int]]:
    found = [
        (min(one, other), max(one, other), bits)
        for pairs in near_pairs(hashes, distance, once=once)
        for one, other, bits in zip(
            pairs.one.tolist(), pairs.other.tolist(), pairs.distance.tolist(), strict=True
        )
    ]
    assert not once or len(set(found)) == len(found)
    return set(found)


def crowded(hashes: np.ndarray, distance: int) -> set[int]:
    return {place for pairs in near_pairs(hashes, distance) for place in pairs.crowded.tolist()}


def all_pairs(hashes: np.ndarray, distance: int) -> set[tuple[int, int, int]]:
    bits = np.bitwise_count(hashes[:, None] ^ hashes)
    one, other = np.nonzero(np.triu(bits <= distance, 1))
    return {(int(i), int(j), int(bits[i, j])) for i, j in zip(one, other, strict=True)}


def clustered(seed: int, count: int, flips: int, centres: int | None = None) -> np.ndarray:
    """Hashes up to `flips` bits from one of some, by default a quarter as many."""
    random = np.random.default_rng(seed)
    first = random.integers(0, 2**64, centres or count // 4 + 1, dtype=np.uint64)
    hashes = random.choice(first, count)
    for _ in range(flips):
        hashes ^= np.uint64(1) << random.integers(0, 64, count).astype(np.uint64)
    return hashes


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 8), st.integers(0, 2**32), st.integers(1, 120), st.integers(0, 5))
def test_every_near_pair_is_found_once_and_no_other(distance, seed, count, flips):
    hashes = clustered(seed, count, flips)

    assert pairs_of(hashes, distance) == all_pairs(hashes, distance)


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("distance", [0, 1, 4, 8])
def test_every_pair_is_found_with_any_number_of_bands(monkeypatch, bands, distance):
    """A large data set takes more than the few of a test would."""
    monkeypatch.setattr(near, "chosen_bands", lambda *_: bands)
    hashes = clustered(7, 300, 4)

    assert pairs_of(hashes, distance) == all_pairs(hashes, distance)


@pytest.mark.parametrize(("distance", "bands"), [(0, 1), (4, 2), (8, 3)])
def test_bands_cover_each_bit_equally_often(distance, bands):
    chosen = [int(mask) for mask in masks(distance, bands)]

    counts = {sum(mask >> bit & 1 for mask in chosen) for bit in range(64)}
    assert counts == {len(chosen) * bands // (distance + bands)}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 6), st.integers(0, 2**32), st.integers(1, 80), st.booleans())
def test_components_are_those_of_all_pairs(distance, seed, count, often):
    """Also where links are merged after every few."""
    hashes = clustered(seed, count, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "FLUSH", 3 if often else near.FLUSH)
        component, crowded = near_components(hashes, distance)

    linked = np.bitwise_count(hashes[:, None] ^ hashes) <= distance
    _, expected = connected_components(linked, directed=False)
    same = component[:, None] == component
    assert (same == (expected[:, None] == expected)).all()
    assert crowded == 0


def test_a_crowd_is_cut_off_and_named(monkeypatch):
    """A thousand hashes that agree on all but sixteen bits: each meets its next 256 in order."""
    random = np.random.default_rng(0)
    hashes = random.choice(2**16, 1000, replace=False).astype(np.uint64)
    assert pairs_of(hashes, 4) == all_pairs(hashes, 4)  # few hashes are no crowd
    assert crowded(hashes, 4) == set()
    monkeypatch.setattr(near, "COMPARISONS", 0)

    found = pairs_of(hashes, 4)

    assert found < all_pairs(hashes, 4)
    assert len(crowded(hashes, 4)) > 900
    assert near_components(hashes, 4)[1] == len(crowded(hashes, 4))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_in_a_crowd_every_pair_that_is_compared_is_found_once(seed, window, distance, bands):
    hashes = clustered(seed, 120, 5, centres=2)
    expected: set[tuple[int, int]] = set()
    by_value = np.argsort(hashes, kind="stable")
    for mask in masks(distance, bands):
        order = by_value[np.argsort(hashes[by_value] & mask, kind="stable")]
        for step in range(1, window + 1):
            one, other = order[:-step], order[step:]
            apart = hashes[one] ^ hashes[other]
            met = (apart & mask == 0) & (np.bitwise_count(apart) <= distance)
            expected |= set(zip(one[met].tolist(), other[met].tolist(), strict=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "COMPARISONS", 0)
        patch.setattr(near, "WINDOW", window)
        patch.setattr(near, "chosen_bands", lambda *_: bands)
        found = pairs_of(hashes, distance)

        assert pairs_of(hashes, distance, once=False) == found

    assert {pair[:2] for pair in found} == {tuple(sorted(pair)) for pair in expected}


def test_a_run_no_longer_than_the_window_is_no_crowd(monkeypatch):
    monkeypatch.setattr(near, "COMPARISONS", 0)
    small, larger = (np.arange(1, WINDOW + more, dtype=np.uint64) for more in (2, 3))

    assert crowded(small, 4) == set()
    assert pairs_of(small, 4) == all_pairs(small, 4)
    assert crowded(larger, 4) == {0, WINDOW + 1}


def test_pictures_of_one_colour_are_near_to_none():
    """Or one blank picture in each group would make one unit of them all."""
    plain, one = (np.uint64(value) for value in (1 << 63, 0xF0F0))
    hashes = np.array([plain, one, plain, 0, 0, one, plain ^ np.uint64(1)], np.uint64)

    component, crowded = near_components(hashes, 4)
    pairs = [(i, j) for found in near_pairs(hashes, 4, once=True)
             for i, j in zip(found.one.tolist(), found.other.tolist(), strict=True)]  # fmt: skip

    assert len(set(component.tolist())) == 6
    assert component[1] == component[5]
    assert crowded == 0
    assert pairs in ([(1, 5)], [(5, 1)])


def test_a_million_equal_hashes_are_one():
    component, crowded = near_components(np.full(1_000_000, 5, np.uint64), 4)

    assert component.max() == 0
    assert crowded == 0

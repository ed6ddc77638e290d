"""Near pairs of hashes are those that comparing all with all would find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from pipeline.splitting import near
from pipeline.splitting.near import masks, near_components, near_pairs


def pairs_of(hashes: np.ndarray, distance: int) -> set[tuple[int, int, int]]:
    return {
        (min(one, other), max(one, other), bits)
        for pairs in near_pairs(hashes, distance)
        for one, other, bits in zip(
            pairs.one.tolist(), pairs.other.tolist(), pairs.distance.tolist(), strict=True
        )
    }


def all_pairs(hashes: np.ndarray, distance: int) -> set[tuple[int, int, int]]:
    bits = np.bitwise_count(hashes[:, None] ^ hashes)
    one, other = np.nonzero(np.triu(bits <= distance, 1))
    return {(int(i), int(j), int(bits[i, j])) for i, j in zip(one, other, strict=True)}


def clustered(seed: int, count: int, flips: int) -> np.ndarray:
    """Some hashes at random, the others up to `flips` bits from one of them."""
    random = np.random.default_rng(seed)
    first = random.integers(0, 2**64, count // 4 + 1, dtype=np.uint64)
    hashes = random.choice(first, count)
    for _ in range(flips):
        hashes ^= np.uint64(1) << random.integers(0, 64, count).astype(np.uint64)
    return hashes


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 8), st.integers(0, 2**32), st.integers(1, 120), st.integers(0, 5))
def test_every_near_pair_is_found_and_no_other(distance, seed, count, flips):
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
        component, cut = near_components(hashes, distance)

    linked = np.bitwise_count(hashes[:, None] ^ hashes) <= distance
    _, expected = connected_components(linked, directed=False)
    same = component[:, None] == component
    assert (same == (expected[:, None] == expected)).all()
    assert cut == 0


def test_a_crowd_is_cut_off_and_counted():
    """A thousand hashes that agree on all but sixteen bits: each meets its next 256 in order."""
    random = np.random.default_rng(0)
    hashes = random.choice(2**16, 1000, replace=False).astype(np.uint64)

    found, cut = pairs_of(hashes, 4), sum(pairs.cut for pairs in near_pairs(hashes, 4))

    assert found < all_pairs(hashes, 4)
    assert cut > 0


def test_a_million_equal_hashes_are_one():
    component, cut = near_components(np.full(1_000_000, 5, np.uint64), 4)

    assert component.max() == 0
    assert cut == 0

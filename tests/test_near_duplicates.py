"""The count of near hashes is that of comparing each with each, in bounded time."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.findings.near_duplicates import count_pairs
from pipeline.near import MAX_DISTANCE

COMPARISONS = "pipeline.near.COMPARISONS"


def clustered(seed: int, count: int, flips: int, centres: int = 6) -> np.ndarray:
    """Hashes some bits from one of a few, so that many are near and some are equal."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, centres, dtype=np.uint64)[
        random.integers(0, centres, count)
    ]
    for _ in range(flips):
        bit = np.uint64(1) << random.integers(0, 64, count).astype(np.uint64)
        hashes ^= bit * (random.random(count) < 0.5).astype(np.uint64)
    return hashes


def each_with_each(hashes: np.ndarray, distance: int) -> list[int]:
    one, other = np.triu_indices(len(hashes), 1)
    bits = np.bitwise_count(hashes[one] ^ hashes[other])
    return np.bincount(bits[bits <= distance], minlength=distance + 1).tolist()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 200),
    st.integers(0, 6),
    st.integers(0, MAX_DISTANCE),
)
def test_it_finds_every_pair_once(seed, count, flips, distance):
    hashes = clustered(seed, count, flips)

    found = count_pairs(hashes, distance, 5)

    assert found.by_distance == each_with_each(hashes, distance)
    assert all((int(hashes[i] ^ hashes[j])).bit_count() == bits for bits, i, j in found.nearest)
    assert len(set(found.nearest)) == len(found.nearest) <= 5
    assert found.nearest == sorted(found.nearest)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_the_nearest_pairs_are_named_first(seed):
    hashes = np.unique(clustered(seed, 150, 5))
    one, other = np.triu_indices(len(hashes), 1)
    bits = np.bitwise_count(hashes[one] ^ hashes[other])
    expected = sorted(zip(bits.tolist(), one.tolist(), other.tolist(), strict=True))

    found = count_pairs(hashes, 4, 7)

    assert found.nearest == [pair for pair in expected if pair[0] <= 4][:7]


def test_counts_do_not_depend_on_the_order():
    hashes = clustered(3, 400, 4)
    turned = np.random.default_rng(1).permutation(hashes)

    assert count_pairs(hashes, 4, 3).by_distance == count_pairs(turned, 4, 3).by_distance


def test_equal_hashes_are_counted_without_being_listed():
    hashes = np.full(1_000_000, 5, np.uint64)

    found = count_pairs(hashes, 4, 3)

    assert found.by_distance == [1_000_000 * 999_999 // 2, 0, 0, 0, 0]
    assert found.nearest == [(0, 0, 1)]
    assert found.crowded == 0


def crowd(count: int) -> np.ndarray:
    """Hashes that agree in their first 40 bits, so that most sortings cannot part them."""
    return np.random.default_rng(5).permutation(2**24)[:count].astype(np.uint64) << np.uint64(40)


def test_among_few_hashes_no_crowd_is_too_large():
    hashes = crowd(1200)

    found = count_pairs(hashes, 4, 3)

    assert found.crowded == 0
    assert found.by_distance == each_with_each(hashes, 4)


def test_a_crowd_is_said_to_be_one_and_no_pair_is_counted_twice(monkeypatch):
    monkeypatch.setattr(COMPARISONS, 0)
    hashes = crowd(3000)

    found = count_pairs(hashes, 4, 3)

    assert found.crowded == 3000
    counts = zip(found.by_distance, each_with_each(hashes, 4), strict=True)
    assert all(count <= there for count, there in counts)
    assert sum(found.by_distance) > 0


@pytest.mark.parametrize(
    "kind", ["unlike", "alike", pytest.param("crowded", marks=pytest.mark.slow)]
)
def test_200_000_hashes_take_seconds_and_little_memory(kind):
    random = np.random.default_rng(0)
    hashes = {
        "unlike": random.integers(0, 2**64, 200_000, dtype=np.uint64),
        "alike": clustered(0, 200_000, 6, centres=50_000),
        "crowded": crowd(200_000),
    }[kind]
    tracemalloc.start()
    start = time.process_time()

    found = count_pairs(hashes, 4, 12)

    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 60  # each with each would be 20 thousand million pairs
    assert peak < 200e6
    assert (found.crowded > 0) == (kind == "crowded")

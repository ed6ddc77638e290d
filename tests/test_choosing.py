"""Which epoch is kept: laws over made-up validation results, one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar

from pipeline.training.choosing import Choice, Judged

# few values, so that many are equal and none differ by rounding alone
LOSSES = st.integers(0, 20).map(lambda steps: steps / 4)


def judged(losses, hits=None, weights=None, units=None):
    """By default every image is hit, counts the same and has no group."""
    count = len(losses)
    return Judged(
        np.asarray(losses, np.float64),
        np.ones(count, bool) if hits is None else np.asarray(hits, bool),
        np.ones(count, np.float32) if weights is None else np.asarray(weights, np.float32),
        np.arange(count) if units is None else np.asarray(units),
    )


def kept(start, *epochs):
    choice = Choice(start)
    answers = [choice.consider(number, one) for number, one in enumerate(epochs, start=1)]
    assert choice.kept == max([0, *(n for n, kept in enumerate(answers, start=1) if kept)])
    return choice.kept


def clearly_above_0(differences):
    """The mean by more than its standard error, as SciPy has it; never of one image."""
    if len(differences) == 1 or not differences.any():
        return False
    if (differences == differences[0]).all():
        return bool(differences[0] > 0)
    return bool(ttest_1samp(differences, 0).statistic > 1 + 1e-9)


@st.composite
def runs(draw):
    images = draw(st.integers(1, 6))
    results = st.builds(
        judged,
        st.lists(LOSSES, min_size=images, max_size=images),
        st.lists(st.booleans(), min_size=images, max_size=images),
    )
    return draw(results), draw(st.lists(results, max_size=8))


@given(runs(), st.booleans())
def test_the_kept_is_the_latest_that_is_not_worse_beyond_noise(run, keep_start):
    """Told after the end, with all epochs at hand."""
    start, epochs = run
    candidates = dict(enumerate(epochs, start=1))
    if keep_start:
        candidates = {0: start} | {
            n: one
            for n, one in candidates.items()
            if not clearly_above_0(start.hits * 1.0 - one.hits)
        }

    found = kept(start if keep_start else None, *epochs)

    if not candidates:
        assert found == 0
        return
    best = min(candidates.values(), key=lambda one: one.loss)
    good = [n for n, one in candidates.items() if not clearly_above_0(one.losses - best.losses)]
    assert found == max(good)


def test_of_epochs_that_images_cannot_tell_apart_the_latest_is_kept():
    start, better = judged([1.0] * 4), judged([0.9] * 4)

    assert kept(start, better, judged([0.4, 1.5, 0.5, 1.5])) == 2


def test_an_epoch_that_is_worse_on_every_image_is_not_kept():
    start = judged([1.0, 2.0, 3.0])
    better, worse = judged([0.9, 1.9, 2.9]), judged([0.91, 1.91, 2.91])

    assert kept(start, better, worse, worse) == 1
    assert kept(start, judged([1.1, 2.3, 3.2]), judged([2.0, 3.5, 5.0])) == 0


@pytest.mark.parametrize(("lost", "expected"), [(1, 1), (2, 0)])
def test_a_lower_loss_excuses_no_lower_accuracy_beyond_noise(lost, expected):
    """Of ten images one is within the standard error of its mean, two are not."""
    start = judged([1.0] * 10)
    quieter = judged([0.5] * 10, hits=[False] * lost + [True] * (10 - lost))

    assert kept(start, quieter) == expected
    assert kept(None, quieter) == 1  # a head in training begins with chance


def test_what_is_not_finite_is_never_kept_and_gives_way():
    nothing, something = judged([np.nan, 1.0]), judged([1.0, 1.0])

    assert kept(None, nothing) == 0
    assert kept(something, nothing) == 0
    assert kept(None, something, nothing, judged([np.inf, 0.0])) == 1
    assert kept(nothing, something, judged([5.0, 5.0])) == 1


def test_a_single_image_or_group_never_says_enough():
    assert kept(judged([1.0]), judged([9.0])) == 1
    assert kept(judged([1.0, 1.0], units=[0, 0]), judged([9.0, 9.0], units=[0, 0])) == 1
    assert kept(judged([1.0, 1.0]), judged([9.0, 9.0])) == 0


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=60))
def test_the_accuracy_that_may_be_lost_is_that_of_mcnemars_test(changes):
    """Hits lost, gained or neither: up to a statistic, without correction, of 1."""
    lost, gained = changes.count(True), changes.count(False)
    before = judged([1.0] * len(changes), hits=[change is not False for change in changes])
    after = judged([0.5] * len(changes), hits=[change is not True for change in changes])

    found = kept(before, after)

    if lost <= gained:
        assert found == 1
    else:
        table = [[0, lost], [gained, 0]]
        assert found == (mcnemar(table, exact=False, correction=False).statistic <= 1)


def test_noise_counts_images_as_the_means_do():
    """An image of no weight neither moves the mean nor makes noise."""
    start, worse = [1.0, 1.0, 91.0], [1.1, 1.2, 1.0]

    assert kept(*(judged(one, weights=[1, 1, 0]) for one in (start, worse))) == 0
    assert kept(judged(start), judged(worse)) == 1
    assert judged(worse, weights=[1, 3, 0]).loss == pytest.approx(1.175)


def test_copies_in_groups_are_no_more_evidence():
    """Two images speak against an epoch and one for it; five copies of each say no more."""
    start, later = [1.0, 1.0, 1.0], [1.5, 1.6, 0.6]
    five = np.tile(np.arange(3), 5)

    assert kept(judged(start), judged(later)) == 1
    assert kept(judged(start * 5), judged(later * 5)) == 0
    assert kept(*(judged(one * 5, units=five) for one in (start, later))) == 1

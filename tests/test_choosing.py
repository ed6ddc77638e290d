"""Which epoch is kept: laws over made-up validation results, one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from pipeline.training.choosing import Choice, Judged, beyond_noise

LOSSES = st.floats(0, 8, allow_subnormal=False)


def judged(losses, hits=None, weights=None):
    """By default every image is hit and counts the same."""
    losses = np.asarray(losses, np.float64)
    ones = np.ones(len(losses), np.float32)
    return Judged(
        losses,
        np.ones(len(losses), bool) if hits is None else np.asarray(hits, bool),
        ones if weights is None else np.asarray(weights, np.float32),
    )


def chosen(start, epochs):
    choice = Choice(start)
    kept = [choice.keeps(number, one) for number, one in enumerate(epochs, start=1)]
    assert choice.kept == max([0, *(n for n, keep in enumerate(kept, start=1) if keep)])
    return choice


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
    choice = chosen(start if keep_start else None, epochs)

    candidates = dict(enumerate([start, *epochs] if keep_start else epochs, 1 - keep_start))
    if keep_start:
        candidates = {
            n: one
            for n, one in candidates.items()
            if not beyond_noise(start.hits * 1.0 - one.hits, one.weights)
        }
    if not candidates:
        assert choice.kept == 0
        return
    best = min(candidates.values(), key=lambda one: one.loss)
    assert not beyond_noise(candidates[choice.kept].losses - best.losses, best.weights)
    for later in (n for n in candidates if n > choice.kept):
        assert beyond_noise(candidates[later].losses - best.losses, best.weights)
    assert candidates[choice.lowest].loss == best.loss


def test_of_epochs_that_images_cannot_tell_apart_the_latest_is_kept():
    start = judged([1.0, 1.0, 1.0, 1.0])
    a_little_worse_on_average = judged([0.4, 1.5, 0.5, 1.5])

    assert chosen(start, [judged([0.9] * 4), a_little_worse_on_average]).kept == 2


def test_an_epoch_that_is_worse_on_every_image_is_not_kept():
    start = judged([1.0, 2.0, 3.0])
    better, worse = judged([0.9, 1.9, 2.9]), judged([0.91, 1.91, 2.91])

    choice = chosen(start, [better, worse, worse])

    assert (choice.kept, choice.lowest) == (1, 1)


def test_what_overfits_falls_behind_an_earlier_epoch():
    start = judged([1.0, 2.0, 3.0])

    assert chosen(start, [judged([1.1, 2.3, 3.2]), judged([2.0, 3.5, 5.0])]).kept == 0


@pytest.mark.parametrize(("lost", "kept"), [(1, 1), (2, 0)])
def test_a_lower_loss_excuses_no_lower_accuracy_beyond_noise(lost, kept):
    """Of ten images one is within the standard error of its mean, two are not."""
    start = judged([1.0] * 10)
    quieter = judged([0.5] * 10, hits=[False] * lost + [True] * (10 - lost))

    assert chosen(start, [quieter]).kept == kept
    assert chosen(None, [quieter]).kept == 1  # a head in training begins with chance


def test_what_is_not_finite_is_never_kept():
    nothing = judged([np.nan, 1.0])

    assert chosen(None, [nothing]).kept == 0
    assert chosen(judged([1.0, 1.0]), [nothing]).kept == 0
    assert chosen(None, [judged([1.0, 1.0]), nothing, judged([np.inf, 0.0])]).kept == 1


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60))
def test_noise_is_that_of_mcnemars_test(differences):
    """Of lost and gained hits: its statistic, without continuity correction, is above 1."""
    lost, gained = differences.count(1.0), differences.count(-1.0)
    images = np.array(differences)

    found = beyond_noise(images, np.ones(len(images), np.float32))

    if lost <= gained:
        assert not found
    else:
        table = [[0, lost], [gained, 0]]
        assert found == (mcnemar(table, exact=False, correction=False).statistic > 1)


def test_noise_counts_images_as_the_means_do():
    """An image of no weight neither moves the mean nor makes noise."""
    differences, weights = np.array([0.1, 0.2, -90.0]), np.array([1, 1, 0], np.float32)

    assert beyond_noise(differences, weights)
    assert not beyond_noise(differences, np.ones(3, np.float32))
    assert beyond_noise(differences[:2], weights[:2])
    assert judged(differences, weights=weights).loss == pytest.approx(0.15)

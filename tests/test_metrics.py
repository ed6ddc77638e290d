"""Our figures are scikit-learn's, and a resample's are those of the drawn images."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline.scoring.curves import calibration, precision_recall, roc
from pipeline.scoring.metrics import headline
from pipeline.scoring.names import judged_on
from pipeline.scoring.report import bootstrap, figures
from pipeline.scoring.resampling import resample
from pipeline.tables import distinct, prediction_table, units_of

CLASSES = ["ape", "bee", "cow"]


def answers(count: int, classes: int, seed: int, *, ties: bool = False):
    """Labels with every class present, and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, count - classes)])
    logits = random.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    if ties:
        logits = logits.round()
    exponentials = np.exp(logits)
    return labels.astype(np.int64), exponentials / exponentials.sum(axis=1, keepdims=True)


def by_sklearn(labels, probabilities) -> dict[str, float]:
    """The same figures by scikit-learn, one class against the rest where it needs two."""
    guesses = probabilities.argmax(axis=1)
    columns = range(probabilities.shape[1])
    return {
        "accuracy": sk.accuracy_score(labels, guesses),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, guesses),
        "macro_f1": sk.f1_score(labels, guesses, average="macro"),
        "roc_auc": np.mean([sk.roc_auc_score(labels == c, probabilities[:, c]) for c in columns]),
        "average_precision": np.mean(
            [sk.average_precision_score(labels == c, probabilities[:, c]) for c in columns]
        ),
        "log_loss": sk.log_loss(labels, probabilities, labels=list(columns)),
    }


@settings(deadline=None, max_examples=60)
@given(st.integers(8, 80), st.integers(2, 4), st.integers(0, 10**6), st.booleans())
def test_headline_metrics_are_those_of_scikit_learn(count, classes, seed, ties):
    labels, probabilities = answers(count, classes, seed, ties=ties)

    ours = headline(labels, probabilities, np.ones((1, count)))

    for name, expected in by_sklearn(labels, probabilities).items():
        assert ours[name][0] == pytest.approx(expected, abs=1e-9), name


def test_a_class_without_images_has_no_part_in_a_mean():
    """Or one that a model merely knows would cost it, and to forget one would be a gain."""
    labels, known = answers(40, 3, seed=5)
    more = np.hstack([known * 0.6, np.full((40, 1), 0.4)])  # a fourth, and at times the answer

    ours = headline(labels, more, np.ones((1, 40)))

    guesses = more.argmax(axis=1)
    assert 0 < (guesses == 3).sum() < 40
    expected = sk.f1_score(labels, guesses, labels=[0, 1, 2], average="macro")
    assert ours["macro_f1"][0] == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(12, 60), st.integers(2, 3), st.integers(0, 10**6))
def test_a_weight_is_how_often_an_image_counts(count, classes, seed):
    labels, probabilities = answers(count, classes, seed, ties=True)
    times = np.random.default_rng(seed).integers(0, 3, count)
    times[0] += 1  # any other class may have none
    drawn = np.repeat(np.arange(count), times)

    weighted = headline(labels, probabilities, times[np.newaxis].astype(float))
    repeated = headline(labels[drawn], probabilities[drawn], np.ones((1, len(drawn))))

    for name, value in weighted.items():
        assert value[0] == pytest.approx(repeated[name][0], abs=1e-9, nan_ok=True), name


def test_a_calibrated_classifier_has_no_calibration_error():
    """Ten answers of confidence 0.8, eight of them right."""
    labels = np.array([0] * 8 + [1] * 2)
    probabilities = np.tile([0.8, 0.2], (10, 1))

    sure = headline(labels, np.tile([1.0, 0.0], (10, 1)), np.ones((1, 10)))

    ours = headline(labels, probabilities, np.ones((1, 10)))
    assert ours["expected_calibration_error"][0] == pytest.approx(0)
    assert sure["expected_calibration_error"][0] == pytest.approx(0.2)


def test_the_interval_of_accuracy_is_the_binomial_one():
    """The bootstrap of a proportion spreads by sqrt(p (1 - p) / n)."""
    labels = np.zeros(400, np.int64)
    probabilities = np.tile([0.9, 0.1], (400, 1))
    probabilities[:100] = [0.1, 0.9]

    spread = bootstrap(labels, probabilities, np.arange(400), resamples=4000, seed=1)["accuracy"]

    assert spread.mean() == pytest.approx(0.75, abs=0.002)
    assert spread.std() == pytest.approx(np.sqrt(0.75 * 0.25 / 400), rel=0.05)


def report(labels, probabilities, **changes: object) -> dict[str, float]:
    names = [CLASSES[i] for i in labels]
    site, groups = ["n", "s"] * (len(names) // 2), changes.pop("groups", "")
    images = pd.DataFrame({"label": names, "site": site, "group": groups})
    options = {"slices": ["site"], "majority": "ape", "resamples": 200, "seed": 1, **changes}
    return figures(images, CLASSES, probabilities, **options)


def test_figures_are_flat_numbers_with_intervals_around_them():
    labels, probabilities = answers(60, 3, seed=4)

    scores = report(labels, probabilities)

    spread = bootstrap(labels, probabilities, np.arange(60), resamples=200, seed=1)
    assert all(type(value) is float for value in scores.values())
    for name in by_sklearn(labels, probabilities):
        assert scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"]
        ends = np.nanpercentile(spread[name], [2.5, 97.5])
        assert [scores[f"{name}_low"], scores[f"{name}_high"]] == pytest.approx(list(ends))
    assert scores["majority_baseline_accuracy"] == pytest.approx((labels == 0).mean(), abs=1e-6)
    assert scores["images_site=n"] + scores["images_site=s"] == scores["images"] == 60
    hits = probabilities.argmax(axis=1) == labels
    assert scores["accuracy_site=n"] == pytest.approx(hits[::2].mean(), abs=1e-6)


def test_copies_in_groups_make_no_interval_narrower():
    """Each image three times, as a group: the figures, and all that one can know, are the same."""
    labels, probabilities = answers(60, 3, seed=4)
    groups = [f"patient {number}" for number in range(60)] * 3

    once = report(labels, probabilities)
    grouped = report(np.tile(labels, 3), np.tile(probabilities, (3, 1)), groups=groups)
    apart = report(np.tile(labels, 3), np.tile(probabilities, (3, 1)))

    for name in by_sklearn(labels, probabilities):
        for end in ("", "_low", "_high"):
            assert grouped[name + end] == pytest.approx(once[name + end], abs=2e-6)
        widths = [found[f"{name}_high"] - found[f"{name}_low"] for found in (apart, once)]
        assert widths[0] < widths[1]
    assert judged_on(grouped) == "180 test images in 60 groups"
    assert judged_on(apart) == "180 test images"


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=12))
def test_groups_are_drawn_as_one_and_other_images_by_themselves(groups):
    units = units_of(pd.Series(groups))

    assert set(units) == set(range(len({*groups} - {""}) + groups.count("")))
    for one, group in enumerate(groups):
        alike = {other for other in range(len(groups)) if units[other] == units[one]}
        of_group = {other for other in range(len(groups)) if groups[other] == group}
        assert alike == (of_group if group else {one})
    for weights in resample(units, 5, seed=1):
        firsts = np.unique(units, return_index=True)[1]
        assert (weights == weights[:, firsts][:, units]).all()
        assert (weights[:, firsts].sum(axis=1) == len(firsts)).all()


@given(
    st.lists(
        st.tuples(st.sampled_from("pqrstu"), st.sampled_from(["", "a", "b", "c", "d"])),
        min_size=1,
        max_size=14,
    )
)
def test_copies_share_their_groups_wherever_they_are_filed(rows):
    """Pictures that a copy or a group joins, at any remove, are of one unit."""
    digests, groups = ([row[column] for row in rows] for column in (0, 1))
    paths = [f"{number:02}.png" for number in range(len(rows))]
    table = distinct(pd.DataFrame({"path": paths, "digest": digests, "group": groups}))
    joined = {digest: {digest} for digest in digests}
    for _ in rows:
        for one, of_one in rows:
            for other, of_other in rows:
                if one == other or of_one == of_other != "":
                    whole = joined[one] | joined[other]
                    joined |= dict.fromkeys(whole, whole)

    units = units_of(table["group"])

    assert list(table["digest"]) == sorted({*digests})
    for digest, unit in zip(table["digest"], units, strict=True):
        assert {*table["digest"][units == unit]} == joined[digest]


def test_of_one_group_there_is_no_interval():
    labels, probabilities = answers(20, 3, seed=4)

    scores = report(labels, probabilities, groups="patient 1")

    assert scores["groups"] == 1
    assert "accuracy" in scores
    assert not [name for name in scores if name.endswith(("_low", "_high"))]


def test_the_least_probabilities_are_told_apart():
    small = np.array([[1e-12, 1], [4e-9, 1], [5e-9, 1], [1e-30, 1]], np.float32)
    images = pd.DataFrame({"digest": list("abcd")})

    table = prediction_table(images, ["ape", "bee"], small)
    back = pd.read_csv(io.StringIO(table.to_csv(index=False)))

    assert (back["probability_ape"].to_numpy(np.float32) == small[:, 0]).all()


def test_images_without_groups_are_numbered_as_they_come():
    assert units_of(pd.Series([""] * 4)).tolist() == [0, 1, 2, 3]


def test_figures_of_each_class_are_those_of_scikit_learn():
    labels, probabilities = answers(60, 3, seed=4)

    scores = report(labels, probabilities)

    parts = sk.precision_recall_fscore_support(labels, probabilities.argmax(axis=1))
    for column, name in enumerate(CLASSES):
        for part, values in zip(("precision", "recall", "f1", "support"), parts, strict=True):
            assert scores[f"{part}_{name}"] == pytest.approx(values[column], abs=1e-6)


def test_figures_are_the_same_every_time():
    labels, probabilities = answers(60, 3, seed=4)

    assert report(labels, probabilities) == report(labels, probabilities)
    assert report(labels, probabilities) != report(labels, probabilities, seed=2)


def test_a_class_without_test_images_leaves_finite_figures():
    labels, probabilities = answers(60, 3, seed=4)
    labels[labels == 2] = 1

    scores = report(labels, probabilities)

    assert scores["support_cow"] == 0
    assert "recall_cow" not in scores
    assert np.isfinite(list(scores.values())).all()


def test_curves_are_those_of_scikit_learn():
    labels, probabilities = answers(60, 2, seed=3)
    positive, scores = (labels == 1).astype(float), probabilities[:, 1]

    curve, trade = roc(positive, scores), precision_recall(positive, scores)
    area = sk.auc(curve["false_positive_rate"], curve["true_positive_rate"])
    assert area == pytest.approx(sk.roc_auc_score(positive, scores), abs=1e-4)
    steps = -np.diff(trade["recall"]) * trade["precision"].iloc[:-1]
    assert steps.sum() == pytest.approx(sk.average_precision_score(positive, scores), abs=1e-4)


def test_calibration_bins_hold_how_sure_and_how_right_their_images_are():
    confidence = np.array([0.51, 0.52, 0.99, 0.98, 0.97])
    hits = np.array([1.0, 0, 1, 1, 0])

    bins = calibration(hits, confidence)

    assert bins["images"].tolist() == [2, 3]
    np.testing.assert_allclose(bins["confidence"], [0.515, 0.98])
    np.testing.assert_allclose(bins["accuracy"], [1 / 2, 2 / 3], atol=1e-6)


def test_long_curves_are_thinned_to_what_a_screen_shows():
    random = np.random.default_rng(0)
    positive = random.integers(0, 2, 50_000).astype(float)

    assert len(roc(positive, random.random(50_000))) <= 1000

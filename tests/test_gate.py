"""The gate: better with confidence, or more data and not worse; and no class pays for it."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.comparing.comparison import (
    ClassDifference,
    Comparison,
    Counts,
    compare,
)
from pipeline.comparing.gate import COMMON_UNITS, NOISE, PromotionParams, decide
from pipeline.comparing.paired import Difference, McNemar
from pipeline.comparing.pairs import NothingInCommonError
from pipeline.comparing.sides import Side
from pipeline.params import load_section
from tests.conftest import ROOT

GATE = PromotionParams(
    metric="accuracy",
    min_gain=0.02,
    max_regression=0.01,
    max_class_regression=0.05,
    confidence=0.95,
)


def figure(low: float, high: float, *, difference: float | None = None, up: bool = True):
    middle = (low + high) / 2 if difference is None else difference
    return Difference(0.8, 0.8 + middle, middle, low, high, up)


def comparison(
    metric: Difference | None,
    *,
    recalls: dict[str, Difference] | None = None,
    name: str = "accuracy",
) -> Comparison:
    """One metric and recalls; nothing else counts."""
    return Comparison(
        one="HEAD",
        other="workspace",
        confidence=0.95,
        images=Counts(100, 100, 100, 100),
        metrics={name: metric} if metric else {},
        mcnemar=McNemar(0, 0, 1.0),
        classes={
            label: ClassDifference(50, 50, {"recall": recall}, McNemar(0, 0, 1.0))
            for label, recall in (recalls or {}).items()
        },
        slices={},
        unknown=((), ()),
        dropped={},
        relabelled=(),
        lost=(),
        gained=(),
    )


def side(
    name: str,
    labels: list[str],
    answers: list[str],
    *,
    first: int = 0,
    classes: tuple[str, ...] = ("cat", "dog"),
) -> Side:
    """Answers on images `first`, `first` + 1, ..., each given with probability 0.9."""
    numbers = range(first, first + len(labels))
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]
    paths = [f"{number:04}.png" for number in numbers]
    predictions = pd.DataFrame({"digest": digests, "path": paths, "label": labels})
    for label in classes:
        predictions[f"probability_{label}"] = np.where(np.array(answers) == label, 0.9, 0.1)
    splits = predictions[["path", "label", "digest"]].assign(weight=1, group="", split="test")
    return Side(name, predictions, splits.assign(width=8, height=8))


def told(right: int, images: int = 200) -> tuple[list[str], list[str]]:
    """Labels in turn, of which the first `right` are answered rightly."""
    labels = [("cat", "dog")[number % 2] for number in range(images)]
    other = {"cat": "dog", "dog": "cat"}
    return labels, [
        label if number < right else other[label] for number, label in enumerate(labels)
    ]


def judged(one: Side, other: Side, gate: PromotionParams = GATE) -> Comparison:
    options = {"resamples": 500, "seed": 1, "max_slices": 20}
    return compare(one, other, **options, confidence=gate.confidence)


@pytest.mark.parametrize("grew", [False, True])
def test_better_with_confidence_is_promoted(grew):
    verdict = decide(judged(side("A", *told(160)), side("B", *told(185))), GATE, grew=grew)

    assert verdict.promote
    assert verdict.reason.startswith(
        "better with confidence: accuracy 0.8000 -> 0.9250 (+0.1250 ["
    )


def test_the_same_and_a_worse_model_are_not():
    champion = side("A", *told(160))
    same = decide(judged(champion, champion), GATE, grew=False)
    worse = decide(judged(champion, side("B", *told(130))), GATE, grew=True)

    assert not same.promote
    assert same.reason == (
        "not better with confidence: accuracy 0.8000 -> 0.8000 (+0.0000 [+0.0000, +0.0000])"
    )
    assert not worse.promote
    assert worse.reason.startswith(
        "worse with confidence, and may be worse by more than promotion.max_regression 0.01: "
    )


def test_a_gain_below_min_gain_is_not_worth_a_change_but_where_the_data_grew():
    small = comparison(figure(0.001, 0.019))

    stays = decide(small, GATE, grew=False)
    goes = decide(small, GATE, grew=True)

    assert not stays.promote
    assert stays.reason.startswith("the gain is below promotion.min_gain 0.02: accuracy")
    assert goes.promote


def test_an_interval_that_touches_nothing_gained_is_not_confidence():
    assert not decide(comparison(figure(0.0, 0.06)), GATE, grew=False).promote


def test_a_gain_of_just_min_gain_will_do():
    assert decide(comparison(figure(0.01, 0.03, difference=0.02)), GATE, grew=False).promote


@given(st.integers(2, 300), st.data())
def test_what_meets_a_bound_exactly_meets_it(images, data):
    """Whatever the last digit of a difference of floats."""
    right = data.draw(st.integers(1, images))
    step = data.draw(st.integers(1, right))
    worse, better = (right - step) / images, right / images
    bound = step / images
    bounds = dict.fromkeys(("min_gain", "max_regression", "max_class_regression"), bound)
    params = GATE.model_copy(update=bounds)
    gain = figure(0.001, 1, difference=better - worse)
    fall = figure(-1, -0.001, difference=worse - better)

    assert decide(comparison(gain), params, grew=False).promote
    assert decide(comparison(gain, recalls={"cat": fall}), params, grew=False).promote
    lowest = figure(worse - better, 1, difference=0.0)
    assert decide(comparison(lowest), params, grew=True).promote


@pytest.mark.parametrize(("low", "promote"), [(-0.009, True), (-0.01, True), (-0.011, False)])
def test_more_data_may_be_worse_within_the_bound_only(low, promote):
    known = comparison(figure(low, 0.02))

    verdict = decide(known, GATE, grew=True)

    assert verdict.promote is promote
    assert not decide(known, GATE, grew=False).promote
    said = (
        "more data, and not worse: "
        if promote
        else "not better with confidence, and may be worse by more than"
    )
    assert verdict.reason.startswith(said)


def test_a_class_that_falls_stops_even_a_better_model():
    recalls = {
        "cat": figure(0.1, 0.3),
        "dog": figure(-0.15, -0.01, difference=-0.08),
        "eel": figure(-0.3, -0.02, difference=-0.16),
    }
    better = comparison(figure(0.05, 0.1), recalls=recalls)

    verdict = decide(better, GATE, grew=True)

    assert not verdict.promote
    assert verdict.reason.startswith(
        "recall of class 'eel' fell beyond promotion.max_class_regression 0.05: "
        "0.8000 -> 0.6400 (-0.1600 [-0.3000, -0.0200]); better with confidence: "
    )


@pytest.mark.parametrize("promoted", [False, True])
def test_a_gain_by_few_answers_promotes_nothing(promoted):
    gain = replace(figure(0.05, 0.1), enough=promoted)

    verdict = decide(comparison(gain), GATE, grew=False)

    assert verdict.promote == promoted
    assert ("not better with confidence" in verdict.reason) != promoted
    assert decide(comparison(gain), GATE, grew=True).promote  # not worse it is


@pytest.mark.parametrize(
    "recall",
    [
        figure(-0.2, 0.01, difference=-0.1),  # not known to fall
        figure(-0.06, -0.02, difference=-0.04),  # within the bound
        Difference(math.nan, 0.5, math.nan, math.nan, math.nan, True),  # of a new class
    ],
)
def test_a_class_that_is_not_known_to_fall_so_far_stops_nothing(recall):
    assert decide(comparison(figure(0.05, 0.1), recalls={"dog": recall}), GATE, grew=False).promote


def test_a_class_pays_for_the_whole_on_real_answers():
    """Cats gain more than dogs lose."""
    labels = ["cat"] * 150 + ["dog"] * 50
    one = ["dog"] * 50 + ["cat"] * 100 + ["dog"] * 50
    other = ["cat"] * 150 + ["cat"] * 15 + ["dog"] * 35

    verdict = decide(judged(side("A", labels, one), side("B", labels, other)), GATE, grew=False)

    assert not verdict.promote
    assert "recall of class 'dog' fell" in verdict.reason
    assert "better with confidence: accuracy 0.7500 -> 0.9250" in verdict.reason


@pytest.mark.parametrize("name", ["log_loss", "expected_calibration_error"])
def test_a_metric_of_which_less_is_better_is_turned(name):
    gate = GATE.model_copy(update={"metric": name})
    less = comparison(figure(-0.1, -0.04, up=False), name=name)
    more = comparison(figure(0.04, 0.1, up=False), name=name)

    assert decide(less, gate, grew=False).promote
    refused = decide(more, gate, grew=True)
    assert not refused.promote
    assert refused.reason.startswith("worse with confidence")


def test_log_loss_of_real_answers_falls_where_more_are_right():
    gate = GATE.model_copy(update={"metric": "log_loss"})
    one, other = side("A", *told(160)), side("B", *told(190))

    assert decide(judged(one, other), gate, grew=False).promote
    assert not decide(judged(other, one), gate, grew=True).promote


@pytest.mark.parametrize("metric", [None, figure(math.nan, math.nan)])
def test_an_undefined_metric_promotes_nothing(metric):
    verdict = decide(comparison(metric), GATE, grew=True)

    assert not verdict.promote
    assert verdict.reason == "accuracy is undefined on the common test images"


def test_the_auc_of_one_class_alone_is_undefined():
    gate = GATE.model_copy(update={"metric": "roc_auc"})
    alike = ["cat"] * 40
    one, other = side("A", alike, ["dog"] * 20 + alike[:20]), side("B", alike, alike)

    assert "roc_auc is undefined" in decide(judged(one, other), gate, grew=True).reason


def test_other_test_sets_are_compared_on_what_they_share_and_it_is_said():
    one = side("A", *told(150, 200))
    other = side("B", *told(240, 240), first=40)

    verdict = decide(judged(one, other), GATE, grew=True)

    assert verdict.promote
    assert "on the 160 test images that both know (of 200, 240)" in verdict.reason


def renamed(words: list[str], names: dict[str, str]) -> list[str]:
    return [names.get(word, word) for word in words]


@pytest.mark.parametrize(
    "names",
    [{"cat": "Cat"}, {"cat": "Cat", "dog": "Dog"}, {"cat": "dog"}, {"cat": "dog", "dog": "cat"}],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_class_that_is_renamed_or_merged_or_parted_is_for_people_to_judge(names, turned):
    """A model that cannot say the other's name would be wrong wherever it stands."""
    old = side("A", *told(190))
    labels, answers = told(150)
    classes = tuple(dict.fromkeys(renamed(["cat", "dog"], names)))
    new = side("B", renamed(labels, names), renamed(answers, names), classes=classes)

    verdict = decide(judged(*((new, old) if turned else (old, new))), GATE, grew=True)

    assert not verdict.promote
    assert re.search(r"\d+ of 200 common test images have another label, such as", verdict.reason)


def test_a_rare_class_that_is_renamed_is_for_people_to_judge():
    labels, answers = told(185)
    old = side("A", labels, told(160)[1])
    new = side("B", ["Cat"] * 3 + labels[3:], answers, classes=("cat", "dog", "Cat"))

    assert not decide(judged(old, new), GATE, grew=True).promote


@pytest.mark.parametrize(("foxes", "promote"), [(2, True), (3, False), (40, False)])
def test_a_class_that_is_gone_with_its_images_is_for_people_to_judge(foxes, promote):
    """None of the common images speaks for it; a word misspelt once may go."""
    labels, answers = told(140)
    three = ("cat", "dog", "fox")
    old = side("A", ["fox"] * foxes + labels[foxes:], answers, classes=three)
    new = side("B", labels[foxes:], told(200)[1][foxes:], first=foxes)

    verdict = decide(judged(old, new), GATE, grew=True)

    assert verdict.promote == promote
    if not promote:
        known = f"does not know 'fox', of {foxes} of the champion's 200 test images"
        assert known in verdict.reason


@pytest.mark.parametrize("label", ["dog", "lynx"])
def test_a_corrected_label_is_judged_as_any(label):
    labels, answers = told(185)
    old = side("A", labels, told(160)[1])
    new = side("B", [label, *labels[1:]], answers, classes=("cat", "dog", "lynx"))

    assert decide(judged(old, new), GATE, grew=False).promote


@pytest.mark.parametrize(("common", "promote"), [(COMMON_UNITS - 1, False), (COMMON_UNITS, True)])
def test_a_few_images_in_common_say_nothing(common, promote):
    old, new = side("A", *told(0)), side("B", *told(200), first=200 - common)

    verdict = decide(judged(old, new), GATE, grew=True)

    assert verdict.promote == promote
    if not promote:
        assert verdict.reason.startswith(f"only {common} test images in common")


@pytest.mark.parametrize(("groups", "promote"), [(COMMON_UNITS - 1, False), (COMMON_UNITS, True)])
def test_many_images_of_a_few_groups_say_nothing(groups, promote):
    old, new = side("A", *told(0)), side("B", *told(200))
    new.splits["group"] = [f"patient {number % groups}" for number in range(200)]

    verdict = decide(judged(old, new), GATE, grew=True)

    assert verdict.promote == promote
    if not promote:
        reason = f"only 200 test images in common with the champion, in {groups} groups"
        assert verdict.reason.startswith(reason)


def test_nothing_in_common_is_no_comparison():
    with pytest.raises(NothingInCommonError, match="no test image in common"):
        judged(side("A", *told(10, 20)), side("B", *told(10, 20), first=100))


bounds = st.floats(0, 0.2)
ends = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)).map(sorted)


@given(st.data(), ends, st.floats(0, 0.5))
def test_a_better_figure_never_turns_a_promotion_into_a_refusal(data, interval, better):
    """Nor more data, nor looser bounds."""
    low, high = interval
    share, min_gain, max_regression = (
        data.draw(some) for some in (st.floats(0, 1), bounds, bounds)
    )
    grew, up = data.draw(st.booleans()), data.draw(st.booleans())
    gate = GATE.model_copy(update={"min_gain": min_gain, "max_regression": max_regression})
    found = figure(low, high, difference=low + share * (high - low))
    best = replace(
        found,
        low=found.low + better,
        high=found.high + better,
        difference=found.difference + better,
    )
    surer = replace(found, low=min(found.low + better, found.difference))
    if not up:
        found, best, surer = (
            replace(one, difference=-one.difference, low=-one.high, high=-one.low,
                    higher_is_better=False)
            for one in (found, best, surer)
        )  # fmt: skip

    if decide(comparison(found), gate, grew=grew).promote:
        assert decide(comparison(best), gate, grew=grew).promote
        assert decide(comparison(surer), gate, grew=grew).promote
        assert decide(comparison(found), gate, grew=True).promote
        loose = gate.model_copy(update={"min_gain": 0.0, "max_regression": 1.0})
        assert decide(comparison(found), loose, grew=grew).promote


@given(st.floats(-1, 0), bounds)
def test_a_class_that_falls_less_never_turns_a_promotion_into_a_refusal(fall, bound):
    gate = GATE.model_copy(update={"max_class_regression": bound})

    def promotes(by: float) -> bool:
        falls = {"dog": figure(2 * by - 0.01, -0.005, difference=by)}
        return decide(comparison(figure(0.1, 0.2), recalls=falls), gate, grew=False).promote

    assert promotes(fall) is (fall >= -bound - NOISE)
    assert promotes(fall / 2) or not promotes(fall)


def test_the_shipped_gate_is_one_and_a_bad_one_is_refused():
    gate = load_section(ROOT / "params.yaml", "promotion", PromotionParams)

    assert gate.metric == "accuracy"
    for key, value in (("confidence", 1.0), ("min_gain", -0.1), ("metric", "hits")):
        with pytest.raises(ValidationError):
            PromotionParams(**{**gate.model_dump(), key: value})

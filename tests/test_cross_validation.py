"""Cross-validation of the head: each fold is scored once, by what never saw it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.features import Features
from pipeline.params import load_section
from pipeline.training.cross_validation import cross_validate, interval
from pipeline.training.head import HeadParams
from tests.conftest import DATA, ROOT

PARAMS = load_section(ROOT / "params.yaml", "train_head", HeadParams).model_copy(
    update={"hidden": [], "epochs": 10, "learning_rate": 0.3}
)


def learnable(count: int = 120, folds: int = 4) -> tuple[pd.DataFrame, Features]:
    """Pictures of two classes that a line through their features tells apart, mostly."""
    random = np.random.default_rng(0)
    light = random.integers(0, 2, count)
    digests = [f"digest-{number:03}" for number in range(count)]
    features = (random.normal(size=(count, 5)) + light[:, np.newaxis]).astype(np.float32)
    images = pd.DataFrame({"digest": digests, "weight": 1.0, "group": ""})
    images["label"] = np.where(light, "light", "dark")
    images["fold"] = [str(number % folds) for number in range(count)]
    return images, Features(features, pd.DataFrame({"digest": digests, "view": 0}))


def validated(images: pd.DataFrame, cached: Features) -> dict:
    return cross_validate(PARAMS, images, ["dark", "light"], cached)


def test_every_picture_is_scored_once_and_none_trains_for_its_own_score(keras):
    images, cached = learnable()

    result = validated(images, cached)

    assert [fold["fold"] for fold in result["per_fold"]] == [0, 1, 2, 3]
    assert sum(fold["images"] for fold in result["per_fold"]) == len(images)
    assert all(fold["training_images"] == 60 for fold in result["per_fold"])
    assert 0.75 < result["accuracy_mean"] < 1
    assert result["accuracy_low"] < result["accuracy_mean"] < result["accuracy_high"]


def test_a_fold_neither_trains_nor_chooses_for_its_own_score(keras):
    """With the labels of one fold turned round, its head is the same and its hits are misses."""
    images, cached = learnable()
    turned = images.copy()
    of_fold = turned["fold"] == "2"
    turned.loc[of_fold, "label"] = turned["label"].map({"dark": "light", "light": "dark"})

    before, after = (validated(table, cached)["per_fold"] for table in (images, turned))

    assert after[2]["epoch"] == before[2]["epoch"]
    assert after[2]["accuracy"] == pytest.approx(1 - before[2]["accuracy"], abs=1e-6)
    assert after[0]["accuracy"] < before[0]["accuracy"]


@pytest.mark.slow
def test_the_order_of_the_folds_changes_nothing(keras):
    """Each head starts from the same seed, whatever was trained before it."""
    images, cached = learnable(folds=3)

    one = validated(images, cached)
    renamed = images.assign(fold=images["fold"].map({"0": "1", "1": "2", "2": "0"}))
    other = validated(renamed, cached)

    by_fold = {fold["fold"]: fold["accuracy"] for fold in other["per_fold"]}
    assert [by_fold[(k + 1) % 3] for k in range(3)] == [f["accuracy"] for f in one["per_fold"]]


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_the_interval_is_students_with_the_correction(part):
    accuracies = np.array([0.8, 0.85, 0.9, 0.7])

    low, high = interval(accuracies, part)

    plain = stats.t.interval(0.95, 3, accuracies.mean(), stats.sem(accuracies))
    wider = np.sqrt((1 / 4 + part) / (1 / 4))
    assert high - low <= 1
    assert low == pytest.approx(max(0, accuracies.mean() - wider * np.ptp(plain) / 2))
    assert high == pytest.approx(min(1, accuracies.mean() + wider * np.ptp(plain) / 2))


def test_folds_change_no_weight_that_ships(filled, keras):
    """The stage writes the same head with and without them, and the same names of files."""
    assert filled.run(*DATA, "extract", "train_head") == 0
    report, weights = (
        filled.folder / "reports/cross_validation.json",
        filled.folder / "models/head.weights.h5",
    )
    without, off = weights.read_bytes(), json.loads(report.read_text())
    filled.set("split", folds=3)

    keras.backend.clear_session()
    assert filled.run("split", "train_head") == 0

    result = json.loads(report.read_text())
    assert off == {"folds": 0}
    assert result["folds"] == 3
    assert sum(fold["images"] for fold in result["per_fold"]) == 19  # of 24, without test
    assert weights.read_bytes() == without

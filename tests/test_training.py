"""How images are fed, and which weights are kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from pipeline.errors import InputError
from pipeline.params import load_section
from pipeline.training.epochs import Epochs, Gather, Held, image_weights, one_hot, view_rows
from pipeline.training.head import (
    HeadParams,
    build_head,
    held_out,
    loss_of,
    training_epochs,
)
from pipeline.training.learning import judge, learn, make_deterministic, optimizer, predict_rows
from pipeline.training.step import compile_step
from tests.conftest import ROOT

PARAMS = load_section(ROOT / "params.yaml", "train_head", HeadParams)


def looked_up_in(array: np.ndarray) -> Gather:
    return lambda rows: [array[rows]]


def epochs_of(views: list[int], batch_size: int = 3) -> Epochs:
    """Images whose every view's row holds (image, view)."""
    rows = np.array([(i, v) for i, count in enumerate(views) for v in range(count)], np.float32)
    first = np.cumsum([0, *views[:-1]])
    ones = np.ones(len(views), np.float32)
    labels = one_hot(
        pd.Series([str(i) for i in range(len(views))]), [str(i) for i in range(len(views))]
    )
    return Epochs(looked_up_in(rows), first, np.array(views), labels, ones, batch_size, seed=1)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(1, 7))
def test_an_epoch_holds_every_image_once_under_its_own_label(views, batch_size):
    epochs = epochs_of(views, batch_size)

    batches = list(epochs.batches(3))

    seen = np.concatenate([inputs[0][:, 0] for inputs, _, _ in batches])
    labels = np.concatenate([labels.argmax(axis=1) for _, labels, _ in batches])
    assert sorted(seen) == list(range(len(views)))
    np.testing.assert_array_equal(seen, labels)
    assert len(batches) == epochs.steps


def test_each_epoch_shows_another_view_until_all_were_seen():
    views = [4, 1, 3]
    epochs = epochs_of(views)
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}

    for epoch in range(1, 13):
        for inputs, _, _ in epochs.batches(epoch):
            for image, view in inputs[0].astype(int):
                seen[image].append(view)

    for image, count in enumerate(views):
        for start in range(0, 12, count):
            assert set(seen[image][start : start + count]) == set(range(count))


def test_the_order_changes_from_epoch_to_epoch_and_not_from_run_to_run():
    def order(epoch: int) -> list[float]:
        return [float(x) for i, _, _ in epochs_of([1] * 30).batches(epoch) for x in i[0][:, 0]]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_rows_are_found_by_digest():
    index = pd.DataFrame({"digest": ["a", "a", "b", "c", "c", "c"], "view": [0, 1, 0, 0, 1, 2]})

    first, views = view_rows(pd.Series(["c", "a"]), index)

    assert (first.tolist(), views.tolist()) == ([3, 0], [3, 2])


def test_balanced_weights_are_those_of_scikit_learn():
    images = pd.DataFrame({"label": list("aaaab"), "weight": [1, 0.5, 1, 1, 0.2]})

    ours = image_weights(images, balanced=True, from_table=False)
    both = image_weights(images, balanced=True, from_table=True)
    none = image_weights(images, balanced=False, from_table=False)

    expected = compute_sample_weight("balanced", images["label"])
    np.testing.assert_allclose(ours, expected)
    np.testing.assert_allclose(both, expected * images["weight"], rtol=1e-6)
    assert set(none) == {1}


def separable(count: int = 60):
    """Features that tell two classes apart, as training epochs and held-out images."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, count)
    features = (random.normal(size=(count, 5)) + 2 * labels[:, np.newaxis]).astype(np.float32)
    known = np.eye(2, dtype=np.float32)[labels]
    ones = np.ones(count, np.int64)
    inputs, weights = looked_up_in(features), ones.astype(np.float32)
    train = Epochs(inputs, np.arange(count), ones, known, weights, 8, 1)
    return train, Held(inputs, np.arange(count), known, weights, np.arange(count))


@pytest.mark.parametrize("hidden", [[], [7], [6, 5]])
def test_the_head_has_the_layers_asked_for(keras, hidden):
    head = build_head(PARAMS.model_copy(update={"hidden": hidden, "l2": 0.01}), 5, 3)

    dense = [layer for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    dropout = [layer for layer in head.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.units for layer in dense] == [*hidden, 3]
    assert [layer.activation.__name__ for layer in dense] == ["relu"] * len(hidden) + ["softmax"]
    assert len(dropout) == len(hidden)
    assert all(layer.kernel_regularizer.l2 == pytest.approx(0.01) for layer in dense)


@pytest.mark.parametrize(
    "changes", [{}, {"ema_momentum": 0.5}, {"optimizer": "rmsprop"}, {"optimizer": "adamw"}]
)
def test_learning_keeps_the_epoch_that_the_log_names(keras, changes):
    params = PARAMS.model_copy(
        update={"hidden": [], "epochs": 6, "learning_rate": 0.05, **changes}
    )
    make_deterministic(1)
    head = build_head(params, 5, 2)
    train, held = separable()

    log = learn(head, params, params.loss, train, held, keep_start=True, what="test")

    kept = log[log["kept"] == 1].iloc[0]
    probabilities = predict_rows(head, held.inputs, held.rows)
    surprise = -np.log((probabilities * held.labels).sum(axis=1)).mean()
    assert surprise == pytest.approx(kept["val_loss"], abs=1e-5)
    assert kept["val_loss"] == log["val_loss"].min()  # it falls with every epoch
    assert kept["epoch"] == 6
    assert log["epoch"].tolist() == list(range(7))


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "binary_crossentropy"])
def test_a_step_is_that_of_keras(keras, loss):
    """With weights, penalties, an average and a last batch that is smaller."""
    random = np.random.default_rng(0)
    params = PARAMS.model_copy(update={"l2": 0.01, "dropout": 0.0, "ema_momentum": 0.9})
    ours, theirs = (build_head(params, 5, 3) for _ in range(2))
    theirs.set_weights(ours.get_weights())
    theirs.compile(optimizer(params, 4), loss, metrics=["accuracy"])
    step = compile_step(ours, optimizer(params, 4), loss)

    for count in (8, 8, 8, 3):
        inputs = random.normal(size=(count, 5)).astype(np.float32)
        labels = np.eye(3, dtype=np.float32)[random.integers(0, 3, count)]
        weights = random.uniform(0.5, 2, count).astype(np.float32)
        theirs.reset_metrics()
        expected = theirs.train_on_batch(inputs, labels, weights, return_dict=True)

        loss_sum, hits = np.asarray(step(inputs, labels, weights)) / count

        np.testing.assert_allclose(loss_sum, expected["loss"], rtol=1e-5)
        np.testing.assert_allclose(hits, expected["accuracy"], rtol=1e-5)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_learning_that_ruins_leaves_what_came(keras):
    """A learning rate that ruins everything leaves the weights of epoch 0."""
    params = PARAMS.model_copy(update={"hidden": [], "epochs": 3, "patience": 2})
    train, held = separable()
    head = build_head(params, 5, 2)
    learn(
        head,
        params.model_copy(update={"epochs": 30}),
        params.loss,
        train,
        held,
        keep_start=True,
        what="good",
    )
    before = head.get_weights()

    ruin = params.model_copy(update={"learning_rate": 1e38, "optimizer": "sgd"})
    log = learn(head, ruin, params.loss, train, held, keep_start=True, what="ruin")

    assert log["kept"].tolist() == [1, 0, 0]  # and patience ended it
    for now, then in zip(head.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_patience_is_not_lost_over_epochs_that_are_no_worse(keras):
    """Steps too small to change a weight: the last epoch is as good as the first, and kept."""
    params = PARAMS.model_copy(
        update={"hidden": [], "epochs": 4, "patience": 1, "learning_rate": 1e-30}
    )
    train, held = separable()

    log = learn(build_head(params, 5, 2), params, params.loss, train, held, keep_start=True,
                what="test")  # fmt: skip

    assert log["kept"].tolist() == [0, 0, 0, 0, 1]


def tempting(keras):
    """A head whose held-out loss falls while its accuracy does, from 0.9 to 0.2.

    Three groups of images, one feature each.  A (eight of ten held out) is
    right by a little and learns to be wrong by a little; C is very wrong and
    learns to be right.
    """
    head = build_head(PARAMS.model_copy(update={"hidden": []}), 3, 2)
    margins = np.array([0.5, 5.0, -6.0], np.float32)
    head.set_weights([np.stack([-margins / 2, margins / 2], axis=1), np.zeros(2, np.float32)])
    group, ones = np.eye(3, dtype=np.float32), np.ones(10, np.float32)
    learnt = np.eye(2, dtype=np.float32)[[0] * 5 + [1] * 5]
    shown = looked_up_in(group[[0] * 9 + [2]])
    train = Epochs(shown, np.arange(10), np.ones(10, int), learnt, ones, 10, 1)
    all_of_class_1 = np.eye(2, dtype=np.float32)[[1] * 10]
    judged = looked_up_in(group[[0] * 8 + [1, 2]])
    return head, train, Held(judged, np.arange(10), all_of_class_1, ones, np.arange(10))


@pytest.mark.parametrize("keep_start", [True, False])
def test_a_lower_loss_does_not_excuse_a_clearly_lower_accuracy(keras, keep_start):
    """Unless there is nothing to keep: a head in training begins with chance."""
    head, train, held = tempting(keras)
    params = PARAMS.model_copy(
        update={"epochs": 40, "patience": 40, "learning_rate": 1.0, "optimizer": "sgd"}
    ).model_copy(update={"schedule": "constant"})

    log = learn(head, params, params.loss, train, held, keep_start=keep_start, what="test")

    kept = log[log["kept"] == 1].iloc[0]
    assert log["val_loss"].idxmin() > 0
    assert log["val_accuracy"][log["val_loss"].idxmin()] < log["val_accuracy"][0]
    assert (kept["val_accuracy"] >= log["val_accuracy"][0]) == keep_start


def test_a_head_that_diverges_is_an_error(keras):
    """There is nothing to keep: random weights must not ship in silence."""
    params = PARAMS.model_copy(
        update={"hidden": [], "epochs": 2, "learning_rate": 1e30, "optimizer": "sgd"}
    )
    train, held = separable()
    held = held._replace(inputs=lambda rows: [np.full((len(rows), 5), np.nan, np.float32)])

    with pytest.raises(InputError, match=r"train_head: the validation loss was not finite"):
        learn(build_head(params, 5, 2), params, params.loss, train, held, keep_start=False,
              what="train_head")  # fmt: skip


@pytest.mark.parametrize(
    ("values", "harms"), [({"learning_rate": 1e6, "optimizer": "sgd"}, True), ({}, False)]
)
def test_learning_that_does_harm_says_so(keras, capsys, values, harms):
    """A head is kept all the same: there is none before it."""
    params = PARAMS.model_copy(update={"hidden": [], "epochs": 1, **values})
    train, held = separable()

    learn(build_head(params, 5, 2), params, params.loss, train, held, keep_start=False,
          what="train_head")  # fmt: skip

    said = capsys.readouterr().err
    assert ("train_head: learning made the validation loss worse, " in said) == harms


def test_rows_that_are_not_there_are_an_error():
    index = pd.DataFrame({"digest": ["a"], "view": [0]})

    with pytest.raises(InputError, match="lacks views of 1 images, such as b"):
        view_rows(pd.Series(["a", "b"]), index)


def test_a_moving_average_is_judged_and_the_latest_weights_learn_on(keras):
    """By hand, with plain gradient steps: the average of each step's weights."""
    momentum, steps = 0.5, 4
    params = PARAMS.model_copy(
        update={"hidden": [], "epochs": steps, "learning_rate": 0.5, "optimizer": "sgd"}
    ).model_copy(update={"schedule": "constant", "ema_momentum": momentum, "patience": 99})
    train, held = separable(8)
    head, plain = build_head(params, 5, 2), build_head(params, 5, 2)
    plain.set_weights(head.get_weights())
    plain.compile(keras.optimizers.SGD(0.5), params.loss)
    losses, average = [], None
    for epoch in range(1, steps + 1):
        for inputs, labels, weights in train.batches(epoch):
            plain.train_on_batch(inputs[0], labels, weights)
        latest = plain.get_weights()
        average = [
            momentum * old + (1 - momentum) * new
            for old, new in zip(average or latest, latest, strict=True)
        ]
        trained = plain.get_weights()
        plain.set_weights(average)
        losses.append(judge(plain, params.loss, held).loss)
        plain.set_weights(trained)

    log = learn(head, params, params.loss, train, held, keep_start=True, what="test")

    np.testing.assert_allclose(log["val_loss"][1:], losses, atol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [0.1, 0.1, 0.1]),
        ("constant", 1, [0.0, 0.1, 0.1]),
        ("cosine", 0, [0.1, 0.05, 0.0]),
        ("cosine", 2, [0.0, 0.1, 0.0]),
    ],
)
def test_the_learning_rate_follows_its_schedule(keras, schedule, warmup, expected):
    """At the first step, halfway through 4 epochs (or at the end of warm-up), at the end."""
    params = PARAMS.model_copy(
        update={"learning_rate": 0.1, "schedule": schedule, "warmup_epochs": warmup, "epochs": 4}
    )

    rate = optimizer(params, steps_per_epoch=10)._learning_rate

    rates = [float(rate(step)) if callable(rate) else float(rate.numpy()) for step in (0, 20, 40)]
    assert rates == pytest.approx(expected, abs=1e-6)


def drawn_by(epochs: Epochs, number: int) -> np.ndarray:
    """(draw, 2) image and view of each draw of an epoch."""
    return np.concatenate([inputs[0] for inputs, _, _ in epochs.batches(number)]).astype(int)


def of_classes(classes: list[int], views: int = 3, seed: int = 1) -> Epochs:
    """Images of these classes, whose every view's row holds (image, view)."""
    rows = np.array([(i, v) for i in range(len(classes)) for v in range(views)], np.float32)
    first, count = np.arange(len(classes)) * views, np.full(len(classes), views)
    labels, weights = np.eye(3, dtype=np.float32)[classes], np.ones(len(classes), np.float32)
    return Epochs(looked_up_in(rows), first, count, labels, weights, 4, seed, balanced=True)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 9))
def test_a_balanced_epoch_draws_each_class_alike(classes, number):
    """And each image of a class as often as any other, give or take one."""
    drawn = drawn_by(of_classes(classes), number)[:, 0]

    of_class = pd.Series(np.array(classes)[drawn]).value_counts()
    of_image = pd.Series(0, range(len(classes))).add(pd.Series(drawn).value_counts(), fill_value=0)
    assert len(drawn) == len(classes)
    assert set(of_class.index) == set(classes)
    assert of_class.max() - of_class.min() <= 1
    assert (of_image.groupby(np.array(classes)).agg(np.ptp) <= 1).all()


def test_a_balanced_epoch_shows_a_rare_image_in_its_other_views():
    drawn = drawn_by(of_classes([0] * 11 + [1]), 5)

    rare = drawn[drawn[:, 0] == 11]
    assert len(rare) == 6
    assert sorted(rare[:, 1]) == [0, 0, 1, 1, 2, 2]


def test_a_balanced_epoch_comes_to_every_image_in_the_end():
    epochs = of_classes([0] * 30 + [1] * 3)

    seen = {image for number in range(1, 15) for image in drawn_by(epochs, number)[:, 0]}

    assert seen == set(range(33))
    np.testing.assert_array_equal(drawn_by(epochs, 3), drawn_by(epochs, 3))
    assert (drawn_by(epochs, 3) != drawn_by(epochs, 4)).any()


def test_the_focal_loss_is_that_of_its_paper(keras):
    """(1 - p) ** gamma times cross-entropy; with gamma 0, cross-entropy."""
    random = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.float32)[random.integers(0, 3, 40)]
    probabilities = random.dirichlet([1, 1, 1], 40).astype(np.float32)
    true = (labels * probabilities).sum(axis=1).clip(1e-7, 1)
    focal = PARAMS.model_copy(update={"loss": "categorical_focal_crossentropy"})

    for gamma in (0.0, 2.0, 0.5):
        loss = loss_of(focal.model_copy(update={"focal_gamma": gamma}))
        expected = (1 - true) ** gamma * -np.log(true)
        np.testing.assert_allclose(loss(labels, probabilities), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "changes", [{"loss": "categorical_focal_crossentropy"}, {"sampling": "balanced"}]
)
def test_each_way_against_imbalance_learns(keras, changes):
    params = PARAMS.model_copy(
        update={"hidden": [], "epochs": 6, "learning_rate": 0.05, **changes}
    )
    make_deterministic(1)
    head = build_head(params, 5, 2)
    train, held = separable()
    train = dataclasses.replace(train, balanced=params.sampling == "balanced")

    log = learn(head, params, loss_of(params), train, held, keep_start=True, what="test")

    assert log["val_loss"].min() < log["val_loss"][0] / 2


def test_balancing_reaches_epochs_and_validation_once():
    """By weights or by draws, not by both."""
    groups = ["p", "p", "q", ""]
    images = pd.DataFrame(
        {"digest": list("abcd"), "label": list("xxxy"), "weight": 1.0, "group": groups}
    )
    index = pd.DataFrame({"digest": list("abcd"), "view": 0})
    lookup = {"inputs": looked_up_in(np.zeros((4, 5), np.float32)), "index": index}
    drawn = PARAMS.model_copy(update={"sampling": "balanced"})
    weighed = PARAMS.model_copy(update={"class_weights": "balanced"})
    plain, by_draws, by_weights = (
        training_epochs(params, images, ["x", "y"], **lookup, batch_size=32)
        for params in (PARAMS, drawn, weighed)
    )

    assert (plain.balanced, by_draws.balanced, by_weights.balanced) == (False, True, False)
    assert set(plain.weights) == set(by_draws.weights) == {1}
    assert by_weights.weights[3] == 3 * by_weights.weights[0]
    for params, ratio in ((PARAMS, 1), (drawn, 3), (weighed, 3)):
        held = held_out(params, images, ["x", "y"], **lookup)
        assert held.weights[3] == ratio * held.weights[0]
        assert held.units.tolist() == [0, 0, 1, 2]
    with pytest.raises(ValueError, match="would balance the classes twice"):
        HeadParams(**{**drawn.model_dump(), "class_weights": "balanced"})


def test_weights_that_are_all_0_are_an_error():
    images = pd.DataFrame({"digest": list("ab"), "label": list("xy"), "weight": 0.0})
    index = pd.DataFrame({"digest": list("ab"), "view": 0})
    lookup = {"inputs": looked_up_in(np.zeros((2, 5), np.float32)), "index": index}
    params = PARAMS.model_copy(update={"sample_weights": True})

    with pytest.raises(InputError, match="column weight: is 0 for every image to train on"):
        training_epochs(params, images, ["x", "y"], **lookup, batch_size=32)

"""The head: what turns pooled features into class probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pandas as pd
from pydantic import Field, model_validator

from pipeline.errors import InputError
from pipeline.features import Features
from pipeline.tables import units_of
from pipeline.training.epochs import Epochs, Gather, Held, image_weights, one_hot, view_rows
from pipeline.training.learning import MOST, LearningParams
from pipeline.training.step import Loss

if TYPE_CHECKING:
    import keras

OVERHEAD = 65_536  # bytes, of HDF5 for a few dozen layers


class HeadParams(LearningParams):
    """The head's layers, what it minimises and how it learns; section `train_head`."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    hidden: list[Annotated[int, Field(ge=1, le=65536)]]  # units; empty: logistic regression
    dropout: Annotated[float, Field(ge=0, lt=1)]  # after each hidden layer
    l2: Annotated[float, Field(ge=0, le=MOST)]  # penalty on the kernels
    loss: Literal[
        "categorical_crossentropy", "binary_crossentropy", "categorical_focal_crossentropy"
    ]
    focal_gamma: Annotated[float, Field(ge=0, le=10)]  # of the focal loss; 0: cross-entropy
    class_weights: Literal["balanced", "none"]
    sampling: Literal["all", "balanced"]  # what an epoch draws: every image, or classes alike
    sample_weights: bool  # weigh images by the table's column `weight`
    epochs: Annotated[int, Field(ge=1, le=MOST)]  # at most; a head must have learnt something

    @model_validator(mode="after")
    def _balances_once(self) -> HeadParams:
        if self.class_weights == self.sampling == "balanced":
            raise ValueError(
                "class_weights and sampling would balance the classes twice; keep one of them"
            )
        return self

    @property
    def balances_classes(self) -> bool:
        """Whether rare classes count as much as frequent ones, on validation too."""
        return self.class_weights == "balanced" or self.sampling == "balanced"


def loss_of(params: HeadParams) -> Loss:
    """What each image's loss is; see `learn`.

    The focal loss (Lin et al. 2017, arXiv 1708.02002) is that of Keras with
    alpha 1: one number for all classes would only scale it, and cross-entropy
    is then the case of gamma 0.
    """
    if params.loss != "categorical_focal_crossentropy":
        return params.loss
    import keras  # noqa: PLC0415

    return partial(
        keras.losses.categorical_focal_crossentropy, alpha=1.0, gamma=params.focal_gamma
    )


def build_head(params: HeadParams, channels: int, classes: int) -> keras.Model:
    """Hidden relu layers with dropout, then softmax, with random weights.

    Returns:
        Model from features (n, channels) float32 to probabilities (n, classes).
    """
    import keras  # noqa: PLC0415

    def dense(units: int, activation: str, name: str) -> keras.Layer:
        penalty = keras.regularizers.L2(params.l2) if params.l2 else None
        return keras.layers.Dense(
            units, activation=activation, kernel_regularizer=penalty, name=name
        )

    x = features = keras.Input((channels,), name="features")
    for number, units in enumerate(params.hidden, start=1):
        x = dense(units, "relu", f"hidden_{number}")(x)
        if params.dropout:
            x = keras.layers.Dropout(params.dropout, name=f"dropout_{number}")(x)
    return keras.Model(features, dense(classes, "softmax", "probabilities")(x), name="head")


def size_of(*models: keras.Model) -> int:
    """What the weights of models take on a disk, in bytes."""
    return sum(4 * int(model.count_params()) for model in models) + OVERHEAD


def load_head(params: HeadParams, channels: int, classes: int, weights: Path) -> keras.Model:
    """Build the head and give it the weights that `train_head` saved.

    Raises:
        InputError: The weights cannot be read or are of another head.
    """
    head = build_head(params, channels, classes)
    try:
        with warnings.catch_warnings(action="ignore"):
            head.load_weights(weights)
    except Exception as error:  # whose words, and Keras' warnings, hold all weights
        reason = f"holds no head of train_head.hidden {params.hidden}"
        reason += f" for {channels} channels and {classes} classes"
        raise InputError(weights, reason, "run `dvc repro train_head`") from error
    return head


def prepare(
    params: HeadParams, parts: Sequence[pd.DataFrame], classes: Sequence[str], cached: Features
) -> tuple[keras.Model, Epochs, list[Held]]:
    """A head with random weights, the first part's images to train it, the others' to judge it.

    Raises:
        InputError: As `training_epochs` does.
    """
    train, *others = parts
    inputs, index = cached.rows, cached.index
    head = build_head(params, cached.array.shape[1], len(classes))
    epochs = training_epochs(
        params, train, classes, inputs=inputs, index=index, batch_size=params.batch_size
    )
    return (
        head,
        epochs,
        [held_out(params, part, classes, inputs=inputs, index=index) for part in others],
    )


def training_epochs(
    params: HeadParams,
    train: pd.DataFrame,
    classes: Sequence[str],
    *,
    inputs: Gather,
    index: pd.DataFrame,
    batch_size: int,
) -> Epochs:
    """Training images as `params` weighs them.

    Args:
        train: Training images; columns digest, label and weight.
        inputs: Looks up the rows of `index` (digest, view).

    Raises:
        InputError: They have no weight, or the views are others'.
    """
    first_row, views = view_rows(train["digest"], index)
    weights = image_weights(
        train, balanced=params.class_weights == "balanced", from_table=params.sample_weights
    )
    if not weights.any():
        fix = "give some a weight above 0, or set train_head.sample_weights to false"
        raise InputError("column weight", "is 0 for every image to train on", fix)
    labels = one_hot(train["label"], classes)
    return Epochs(
        inputs,
        first_row,
        views,
        labels,
        weights,
        batch_size,
        params.seed,
        balanced=params.sampling == "balanced",
    )


def held_out(
    params: HeadParams,
    images: pd.DataFrame,
    classes: Sequence[str],
    *,
    inputs: Gather,
    index: pd.DataFrame,
) -> Held:
    """Images to validate on, their classes balanced where training balances them."""
    weights = image_weights(images, balanced=params.balances_classes, from_table=False)
    rows, _ = view_rows(images["digest"], index)
    labels = one_hot(images["label"], classes)
    return Held(inputs, rows, labels, weights, units_of(images["group"]))

"""Feed a model epoch after epoch, with another view of each image each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import InputError

Gather = Callable[[NDArray[np.int64]], list[NDArray[np.float32]]]
"""From rows of a plan of views to a model's inputs for them: arrays (row, ...)."""

Batch = tuple[list[NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Epochs:
    """Training images with their views, to be drawn in batches.

    Args:
        inputs: Looks rows of views up.
        first_row: (image,) row of each image's view 0; its other views follow.
        views: (image,) number of views of each image.
        labels: (image, class) float32, one-hot.
        weights: (image,) float32.
        seed: Decides the order of each epoch.
        balanced: Whether an epoch draws as many images of each class, frequent
            classes in part and rare ones again and again, instead of every image.
    """

    inputs: Gather
    first_row: NDArray[np.int64]
    views: NDArray[np.int64]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    batch_size: int
    seed: int
    balanced: bool = False

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Every image once, or each class alike, shuffled, in the view whose turn it is.

        Args:
            epoch: Counted from 1.

        Yields:
            Inputs, one-hot labels, weights; the first axis is the image.
        """
        random = np.random.default_rng([self.seed, epoch])
        if self.balanced:
            order, again = self._balanced(random)
        else:
            order, again = random.permutation(len(self.labels)), np.zeros_like(self.views)
        for start in range(0, len(order), self.batch_size):
            images = order[start : start + self.batch_size]
            turn = images + epoch + again[start : start + self.batch_size]
            rows = self.first_row[images] + turn % self.views[images]
            yield self.inputs(rows), self.labels[images], self.weights[images]

    def _balanced(
        self, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As many images as there are, an equal part of each class that there is.

        No image comes twice more often than another of its class.

        Returns:
            (draw,) images, and how often each came before, so that it shows another view.
        """
        of_class = self.labels.argmax(axis=1)
        present = random.permutation(np.unique(of_class))
        total, drawn, again = len(of_class), [], []
        for rank, label in enumerate(present):
            count = total // len(present) + (rank < total % len(present))
            images = np.flatnonzero(of_class == label)
            rounds = -(-count // len(images))
            drawn.append(
                np.concatenate([random.permutation(images) for _ in range(rounds)])[:count]
            )
            again.append(np.arange(count) // len(images))
        order = random.permutation(total)
        return np.concatenate(drawn)[order], np.concatenate(again)[order]


class Held(NamedTuple):
    """Images that nothing is learnt from.

    `rows` are the rows of `inputs` to look at; `labels` (image, class) are
    one-hot; `weights` (image,) say how much each image counts, and `units`
    (image,) which are of one group (`tables.units_of`).
    """

    inputs: Gather
    rows: NDArray[np.int64]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    units: NDArray[np.int64]


def view_rows(
    digests: pd.Series, index: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find each image's rows in an index with columns digest and view.

    Returns:
        (image,) the row of view 0, and (image,) how many views there are.

    Raises:
        InputError: The index lacks an image: it was made from other splits.
    """
    rows = pd.Series(np.arange(len(index)), index["digest"])
    by_digest = rows.groupby(level=0).agg(["min", "size"])
    absent = digests[~digests.isin(by_digest.index)]
    if not absent.empty:
        reason = f"lacks views of {len(absent)} images, such as {absent.iloc[0]}"
        reason += ", or what was made from it does"
        raise InputError("data/views.csv", reason, "run `dvc repro`, which makes all anew")
    by_digest = by_digest.loc[digests]
    return by_digest["min"].to_numpy(np.int64), by_digest["size"].to_numpy(np.int64)


def one_hot(labels: pd.Series, classes: Sequence[str]) -> NDArray[np.float32]:
    """(image, class) float32 with a 1 in the column of each image's class."""
    columns = pd.Categorical(labels, categories=list(classes)).codes
    return np.asarray(np.eye(len(classes), dtype=np.float32)[columns])


def image_weights(
    images: pd.DataFrame, *, balanced: bool, from_table: bool
) -> NDArray[np.float32]:
    """How much each training image counts; 1 on average over the classes where balanced.

    Args:
        balanced: Weigh classes as scikit-learn's "balanced" does: by
            images / (classes * images of the class).
        from_table: Multiply by the column `weight`.
    """
    weights = np.ones(len(images))
    if balanced:
        of_class = images["label"].map(images["label"].value_counts()).to_numpy()
        weights *= len(images) / (images["label"].nunique() * of_class)
    if from_table:
        weights *= images["weight"].to_numpy()
    return weights.astype(np.float32)


def bare(inputs: Sequence[Any]) -> Any:
    """What Keras takes for a model's inputs: one bare, several in a tuple."""
    return inputs[0] if len(inputs) == 1 else tuple(inputs)

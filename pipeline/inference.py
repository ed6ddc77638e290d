"""Run a shipped model over pictures, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.console import progress
from pipeline.images.decode import Pixels

if TYPE_CHECKING:
    import keras

BATCH = 32  # pictures


def classify(
    model: keras.Model, pictures: Iterable[Pixels], count: int, what: str
) -> NDArray[np.float64]:
    """Predict every picture.

    Args:
        pictures: (size, size, 3) uint8 RGB each, `count` of them.
        what: Named beside the progress bar.

    Returns:
        (picture, class) float64 probabilities.
    """
    rows = [np.empty((0, model.output_shape[-1]))]
    with progress(what, count, "image") as bar:
        for batch in _batches(pictures):
            rows.append(np.asarray(model.predict_on_batch(batch), np.float64))
            bar(len(batch))
    return np.concatenate(rows)


def _batches(pictures: Iterable[Pixels]) -> Iterator[Pixels]:
    remaining = iter(pictures)
    while batch := list(islice(remaining, BATCH)):
        yield np.stack(batch)

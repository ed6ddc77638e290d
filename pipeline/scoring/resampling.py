"""The bootstrap: how often each image is drawn in each of many resamples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.scoring.metrics import Floats

CHUNK = 4_000_000  # weights in memory at a time


def units_of(groups: pd.Series) -> NDArray[np.int64]:
    """Number what is drawn as one: the images of a group; one without a group by itself.

    Images of one patient or module are alike, so a test set says as much as it
    has groups.  Drawing images would make intervals too narrow.

    Args:
        groups: (image,) text, "" where an image has none.

    Returns:
        (image,) from 0 on without a gap; where no image has a group, its own number.
    """
    own = np.arange(len(groups))
    first = pd.Series(own).groupby(groups.to_numpy()).transform("min").to_numpy()
    return np.unique(np.where(groups == "", own, first), return_inverse=True)[1].astype(np.int64)


def resample(units: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """Draw units with replacement, as many as there are, again and again.

    Args:
        units: (image,) from `units_of`.

    Yields:
        (resample, image) how often each was drawn, some resamples at a time.
    """
    count = int(units.max()) + 1
    random = np.random.default_rng(seed)
    for start in range(0, resamples, step := max(1, CHUNK // len(units))):
        size = min(step, resamples - start)
        drawn = random.multinomial(count, np.full(count, 1 / count), size=size)
        yield drawn[:, units].astype(np.float64)

"""The bootstrap: how often each image is drawn in each of many resamples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.console import progress
from pipeline.scoring.metrics import Floats

CHUNK = 500_000  # weights at a time: what stays in a processor's own cache


def resample(units: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """Draw units with replacement, as many as there are, again and again.

    Args:
        units: (image,) from `tables.units_of`.

    Yields:
        (resample, image) how often each was drawn, some resamples at a time.
    """
    count = int(units.max()) + 1
    random = np.random.default_rng(seed)
    with progress("bootstrap", resamples, "resample") as bar:
        for start in range(0, resamples, step := max(1, CHUNK // len(units))):
            size = min(step, resamples - start)
            drawn = random.multinomial(count, np.full(count, 1 / count), size=size)
            yield drawn[:, units].astype(np.float64)
            bar(size)

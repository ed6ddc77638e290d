"""Which epoch of a run is kept, judged on images that nothing is learnt from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Judged(NamedTuple):
    """What a model says of each held-out image.

    `losses` (image,) float64 are without penalties, `hits` (image,) bool say
    where the likeliest class is the label, `weights` (image,) float how much
    each image counts.
    """

    losses: NDArray[np.float64]
    hits: NDArray[np.bool_]
    weights: NDArray[np.float32]

    @property
    def loss(self) -> float:
        """Weighted mean."""
        return float(np.average(self.losses, weights=self.weights))

    @property
    def accuracy(self) -> float:
        """Weighted share of hits."""
        return float(np.average(self.hits, weights=self.weights))


class Choice:
    """Chooses, as epochs come, the latest that is no worse than the best beyond noise.

    The best has the lowest loss.  Another is worse beyond noise if its images'
    losses lie above the best's by more than a standard error: among epochs that
    a few hundred images cannot tell apart, the one that has learnt longest is
    kept (docs/decisions/0007-which-epoch-ships.md).

    Args:
        start: What the model that came was worth, where it may be kept as epoch
            0.  An epoch then counts only if its accuracy is not below that
            beyond noise either.

    Attributes:
        kept: The epoch; 0 until one is chosen.
        lowest: The epoch of the lowest loss.
    """

    def __init__(self, start: Judged | None) -> None:
        self.kept = self.lowest = 0
        self._start = self._best = start

    def keeps(self, epoch: int, judged: Judged) -> bool:
        """Whether this epoch, later than all before, is the one to keep so far."""
        if not np.isfinite(judged.losses).all() or self._loses_hits(judged):
            return False
        if self._best is None or judged.loss < self._best.loss:
            self._best, self.lowest = judged, epoch
        if beyond_noise(judged.losses - self._best.losses, judged.weights):
            return False
        self.kept = epoch
        return True

    def _loses_hits(self, judged: Judged) -> bool:
        if self._start is None:
            return False
        return beyond_noise(self._start.hits.astype(np.float64) - judged.hits, judged.weights)


def beyond_noise(differences: NDArray[np.float64], weights: NDArray[np.float32]) -> bool:
    """Whether paired differences lie above 0 by more than a standard error of their sum.

    It is that of differences around 0, as in McNemar's test: images each of
    which might as well have differed the other way.  A single image never
    says enough.

    Args:
        differences, weights: (image,).
    """
    weighted = weights * differences
    return bool(np.sum(weighted) > np.sqrt(np.sum(weighted**2)))

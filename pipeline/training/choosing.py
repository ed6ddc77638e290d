"""Which epoch of a run is kept, judged on images that nothing is learnt from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Judged(NamedTuple):
    """What a model says of each held-out image.

    `losses` (image,) float64 are without penalties, `hits` (image,) bool say
    where the likeliest class is the label; `weights` (image,) say how much each
    image counts, and `units` (image,) which are of one group.
    """

    losses: NDArray[np.float64]
    hits: NDArray[np.bool_]
    weights: NDArray[np.float32]
    units: NDArray[np.int64]

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
    """

    def __init__(self, start: Judged | None) -> None:
        self.kept = 0
        self._start = self._best = start

    def consider(self, epoch: int, judged: Judged) -> bool:
        """Take an epoch, later than all before, into account; return whether it is now kept."""
        if not np.isfinite(judged.losses).all() or self._loses_hits(judged):
            return False
        if self._best is None or not self._best.loss <= judged.loss:
            self._best = judged
        if _beyond_noise(judged.losses - self._best.losses, judged):
            return False
        self.kept = epoch
        return True

    def _loses_hits(self, judged: Judged) -> bool:
        if self._start is None:
            return False
        return _beyond_noise(self._start.hits.astype(np.float64) - judged.hits, judged)


def _beyond_noise(differences: NDArray[np.float64], judged: Judged) -> bool:
    """Whether the mean of paired differences lies above 0 by more than its standard error.

    Of one unit there is no error to tell, so it never does.

    Args:
        differences: (image,), weighed and grouped as `judged` is.
    """
    of_unit = np.bincount(judged.units, judged.weights * differences)
    return bool(of_unit.sum() > np.sqrt(np.sum(of_unit**2)))  # as mean > s / sqrt(n), rearranged

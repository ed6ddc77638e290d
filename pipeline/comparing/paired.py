"""Differences on the same images: the paired bootstrap, and McNemar's exact test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.comparing.pairs import Pairs
from pipeline.scoring.metrics import Floats, headline, per_class, ratio
from pipeline.scoring.names import HIGHER_IS_BETTER
from pipeline.scoring.resampling import resample

Key = tuple[str, ...]
"""("metric", name), ("class", label, part) or ("slice", column, value)."""

FEW_UNITS = 10  # groups or images; of fewer, all resamples may be alike and say nothing


@dataclass(frozen=True)
class Difference:
    """A figure on both sides, and second minus first with its interval; NaN where undefined.

    Undefined is, on these images, the precision of a class that a side never
    answers, or what the images cannot tell, such as the recall of a class they
    lack.  `changed` is by how many groups or images it can differ, those that one
    side answers otherwise; None of a figure that goes by probabilities.  `enough` is
    whether these are enough for the interval to count.
    """

    one: float
    other: float
    difference: float
    low: float
    high: float
    higher_is_better: bool
    changed: int | None = None
    enough: bool = True

    @property
    def sign(self) -> int:
        """1 where the second side is better with confidence, -1 where worse, else 0."""
        _, low, high = self.gain
        return (low > 0) - (high < 0) if self.enough else 0

    @property
    def gain(self) -> tuple[float, float, float]:
        """(difference, low, high), turned so that above 0 the second side is better."""
        if self.higher_is_better:
            return self.difference, self.low, self.high
        return -self.difference, -self.high, -self.low


@dataclass(frozen=True)
class McNemar:
    """How often one side alone was right, and how likely so uneven a share is by chance."""

    only_one: int
    only_other: int
    p: float


def differences(
    pairs: Pairs, *, resamples: int, seed: int, confidence: float
) -> dict[Key, Difference]:
    """Every figure of both sides and its difference.

    Each resample draws images with replacement, those of a group as one, and
    weighs both sides' answers alike; the interval lies between the percentiles
    of the differences (Efron & Tibshirani 1993, chapter 13).  It is as wide as
    the sides disagree, which two intervals of their own do not show.

    Returns:
        Key to difference; what is undefined on both sides is absent.
    """
    once = np.ones((1, len(pairs.labels)))
    one, other = side_figures(pairs, pairs.one, once), side_figures(pairs, pairs.other, once)
    spread = _spread(pairs, resamples, seed)
    tail = 50 * (1 - confidence)
    changed = _changed(pairs)
    found: dict[Key, Difference] = {}
    for key in one:
        values = float(one[key][0]), float(other[key][0])
        if np.isnan(values).all():
            continue
        low = high = np.nan
        if not np.isnan(values).any():
            low, high = np.nanpercentile(spread[key], [tail, 100 - tail])
        better = HIGHER_IS_BETTER[key[1]] if key[0] == "metric" else True
        interval = float(low), float(high)
        difference = values[1] - values[0]
        # the sign test: of fewer, all one way, most resamples hold some, so that the
        # interval leaves out 0 however little they say
        few = changed.get(key)
        enough = few is None or 2.0 ** (1 - few) <= 1 - confidence
        found[key] = Difference(*values, difference, *interval, better, few, enough)
    return found


def _changed(pairs: Pairs) -> dict[Key, int]:
    """By figure that goes by answers: groups or images whose answers make it differ."""
    one, other = pairs.one.argmax(axis=1), pairs.other.argmax(axis=1)
    turned = (one == pairs.labels) != (other == pairs.labels)
    units = pairs.count_units
    found: dict[Key, int] = {
        ("metric", "accuracy"): units(turned),
        ("metric", "balanced_accuracy"): units(turned),
        ("metric", "macro_f1"): units(one != other),
    }
    for number, label in enumerate(pairs.classes):
        answered = (one == number) != (other == number)
        found["class", label, "recall"] = units(answered & (pairs.labels == number))
        found["class", label, "precision"] = found["class", label, "f1"] = units(answered)
    for name in pairs.slices:
        for value in pairs.slices[name].unique():
            member = (pairs.slices[name] == value).to_numpy()
            found["slice", str(name), str(value)] = units(turned & member)
    return found


def side_figures(pairs: Pairs, probabilities: Floats, weights: Floats) -> dict[Key, Floats]:
    """Every figure of one side: headline metrics, each class's and each slice's.

    Args:
        weights: (sample, image).

    Returns:
        Key to (sample,); NaN where undefined.
    """
    labels = pairs.labels
    found: dict[Key, Floats] = {
        ("metric", name): values
        for name, values in headline(labels, probabilities, weights).items()
    }
    parts = per_class(labels, probabilities, weights)
    for column, label in enumerate(pairs.classes):
        found |= {("class", label, part): values[:, column] for part, values in parts.items()}
    right = weights * (probabilities.argmax(axis=1) == labels)
    for name in pairs.slices:
        codes, values = pd.factorize(pairs.slices[name], sort=True)
        member = np.eye(len(values))[codes]
        accuracy = ratio(right @ member, weights @ member)
        found |= {
            ("slice", str(name), str(value)): accuracy[:, number]
            for number, value in enumerate(values)
        }
    return found


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> McNemar:
    """McNemar's test of accuracy, exact: the images that one side alone told rightly.

    Were both sides as good, each such image would be either side's with
    probability one half (McNemar 1947; exact by the binomial distribution).

    Args:
        one: (image,) whether the first side is right.
        other: (image,) whether the second is.
    """
    from scipy.stats import binomtest  # noqa: PLC0415

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    apart = only_one + only_other
    p = float(binomtest(min(only_one, only_other), apart).pvalue) if apart else 1.0
    return McNemar(only_one, only_other, p)


def _spread(pairs: Pairs, resamples: int, seed: int) -> dict[Key, Floats]:
    """Second side minus first in each resample: (resample,) by key."""
    chunks: list[dict[Key, Floats]] = []
    for weights in resample(pairs.units, resamples, seed):
        one, other = (side_figures(pairs, side, weights) for side in (pairs.one, pairs.other))
        chunks.append({key: other[key] - one[key] for key in one})
    return {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]}

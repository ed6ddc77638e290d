"""All figures of one model on one test set, flat, with bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.scoring.metrics import Floats, headline, per_class
from pipeline.scoring.resampling import resample
from pipeline.tables import units_of

DECIMALS = 6


def figures(
    images: pd.DataFrame,
    classes: list[str],
    probabilities: Floats,
    *,
    slices: list[str],
    majority: str,
    resamples: int,
    seed: int,
) -> dict[str, float]:
    """Every figure of a model on the images.

    Args:
        images: One row an image; columns label, group and those of `slices`.
        probabilities: (image, class).
        slices: Columns by whose values accuracy is given.
        majority: The training set's most frequent class, the baseline's only answer.
        resamples: Of the bootstrap; 95% intervals lie between its 2.5 and 97.5
            percentiles (Efron & Tibshirani 1993, chapter 13).

    Returns:
        Name to number; a headline metric m comes with m_low and m_high (not of one
        image or group, whose resamples are all alike), and
        `groups` where images have some.  What the images leave undefined is absent.
    """
    labels = pd.Categorical(images["label"], categories=classes).codes.astype(np.int64)
    scores: dict[str, float] = {"images": len(images)}
    once = np.ones((1, len(images)))
    values = headline(labels, probabilities, once)
    units = units_of(images["group"])
    if (count := int(units.max()) + 1) < len(images):
        scores["groups"] = count
    spread = bootstrap(labels, probabilities, units, resamples=resamples, seed=seed)
    for name, value in values.items():
        if np.isfinite(value[0]):
            scores[name] = float(value[0])
            if count == 1:
                continue  # all resamples are alike, and say nothing
            low, high = np.nanpercentile(spread[name], [2.5, 97.5])
            scores[f"{name}_low"], scores[f"{name}_high"] = float(low), float(high)
    scores["majority_baseline_accuracy"] = float((images["label"] == majority).mean())
    support = np.bincount(labels, minlength=len(classes))[np.newaxis]
    parts = {**per_class(labels, probabilities, once), "support": support}
    for number, name in enumerate(classes):
        scores |= {f"{part}_{name}": float(found[0, number]) for part, found in parts.items()}
    hits = pd.Series(probabilities.argmax(axis=1) == labels, images.index)
    for column in slices:
        for value, of_slice in hits.groupby(images[column]):
            scores[f"accuracy_{column}={value}"] = float(of_slice.mean())
            scores[f"images_{column}={value}"] = len(of_slice)
    defined = {name: float(score) for name, score in scores.items() if np.isfinite(score)}
    return {name: round(score, DECIMALS) for name, score in defined.items()}


def bootstrap(
    labels: NDArray[np.int64],
    probabilities: Floats,
    units: NDArray[np.int64],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """The headline metrics of resamples of the images, drawn by `units`.

    Returns:
        Name to (resample,) float64.
    """
    drawn = resample(units, resamples, seed)
    parts = [headline(labels, probabilities, weights) for weights in drawn]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

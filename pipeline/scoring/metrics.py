"""Metrics of a classifier, each computed for many weightings of the images at once.

A bootstrap resample is a weighting: how often each image was drawn.  With all
weights 1 the figures are scikit-learn's (a test holds them to it); of macro F1
where every class has images, for a mean here is over those that have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15  # of equal width, as in Guo et al. 2017 (arXiv 1706.04599)

Floats = NDArray[np.float64]


def headline(
    labels: NDArray[np.int64], probabilities: Floats, weights: Floats
) -> dict[str, Floats]:
    """The metrics that get an interval.

    Args:
        labels: (image,) column of the true class.
        probabilities: (image, class), rows sum to 1.
        weights: (sample, image), 0 or more.

    Returns:
        Name to (sample,); NaN where a sample leaves a metric undefined.
        `roc_auc` and `average_precision` are means over the classes, each
        against the rest, and `macro_f1` is that over the classes with images.
    """
    support, predicted, hits = class_counts(labels, probabilities, weights)
    by_image = np.ascontiguousarray(weights.T)  # sorting images moves whole rows
    auc, precision = zip(
        *(
            _ranking(labels == column, probabilities[:, column], by_image)
            for column in range(probabilities.shape[1])
        ),
        strict=True,
    )
    total = weights.sum(axis=1)
    return {
        "accuracy": hits.sum(axis=1) / total,
        "balanced_accuracy": _mean(ratio(hits, support)),
        "macro_f1": _mean(ratio(2 * hits, np.where(support > 0, support + predicted, 0))),
        "roc_auc": _mean(np.stack(auc, axis=1)),
        "average_precision": _mean(np.stack(precision, axis=1)),
        "log_loss": weights @ _surprise(labels, probabilities) / total,
        "expected_calibration_error": _calibration_gap(labels, probabilities, weights) / total,
    }


def class_counts(
    labels: NDArray[np.int64], probabilities: Floats, weights: Floats
) -> tuple[Floats, Floats, Floats]:
    """Images of each class, those called so and those rightly called so: (sample, class) each."""
    guesses = probabilities.argmax(axis=1)
    eye = np.eye(probabilities.shape[1])
    rightly = eye[labels] * (guesses == labels)[:, np.newaxis]
    return weights @ eye[labels], weights @ eye[guesses], weights @ rightly


def per_class(
    labels: NDArray[np.int64], probabilities: Floats, weights: Floats
) -> dict[str, Floats]:
    """Precision, recall and F1 of each class: (sample, class) each; NaN where undefined.

    Args:
        weights: (sample, image).
    """
    support, predicted, hits = class_counts(labels, probabilities, weights)
    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, support),
        "f1": ratio(2 * hits, support + predicted),
    }


def ratio(part: Floats, whole: Floats) -> Floats:
    """`part / whole`, NaN where the whole is 0."""
    found: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
    return found


def calibration_bin(confidence: Floats) -> NDArray[np.int64]:
    """(image,) the bin of each confidence in [0, 1]; a bin's upper edge belongs to it."""
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1
    return bins.clip(0, CALIBRATION_BINS - 1)


def _surprise(labels: NDArray[np.int64], probabilities: Floats) -> Floats:
    true = probabilities[np.arange(len(labels)), labels]
    surprise: Floats = -np.log(true.clip(np.finfo(np.float64).eps, 1))
    return surprise


def _calibration_gap(labels: NDArray[np.int64], probabilities: Floats, weights: Floats) -> Floats:
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == labels) - confidence
    in_bin = np.eye(CALIBRATION_BINS)[calibration_bin(confidence)]
    in_sample: Floats = weights @ (in_bin * gap[:, np.newaxis])
    gap_by_bin: Floats = np.abs(in_sample)
    return np.asarray(gap_by_bin.sum(axis=1))


def _ranking(
    positive: NDArray[np.bool_], scores: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Area under the ROC curve, and average precision, of one class: (sample,) each.

    Both are sums over the thresholds at which images of the class come in; of
    what comes in between, the total weight is enough.

    Args:
        weights: (image, sample).
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))  # of ties
    ends = np.append(starts[1:], len(order))
    ranks = np.flatnonzero(positive[order])
    if not len(ranks):
        undefined = np.full(weights.shape[1], np.nan)
        return undefined, undefined
    ties, firsts = np.unique(np.searchsorted(ends, ranks, side="right"), return_index=True)
    gained = np.add.reduceat(weights[order[ranks]], firsts, axis=0)  # (tie, sample)
    hits = gained.cumsum(axis=0)
    edges = np.unique(np.concatenate([[0, len(order)], starts[ties], ends[ties]]))
    seen = np.add.reduceat(weights[order], edges[:-1], axis=0).cumsum(axis=0)
    before = np.vstack([np.zeros(weights.shape[1]), seen])[np.searchsorted(edges, starts[ties])]
    through = seen[np.searchsorted(edges, ends[ties]) - 1]
    others = seen[-1] - hits[-1]
    above = (through - hits + before - (hits - gained)) / 2  # others, half of those in the tie
    area = ratio((gained * (others - above)).sum(axis=0), hits[-1] * others)
    precision = np.nan_to_num(ratio(hits, through))
    return area, ratio((gained * precision).sum(axis=0), hits[-1])


def _mean(values: Floats) -> Floats:
    """Mean over the classes (last axis) for which the value is defined."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0).sum(axis=1)
    return ratio(total, defined.sum(axis=1).astype(np.float64))

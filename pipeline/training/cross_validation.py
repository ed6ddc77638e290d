"""Cross-validate the head: each fold is scored once by a head that never saw it.

As in the splits, one part chooses the epoch and another is scored: the fold
after the one to score takes the place of val, the others train.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.features import Features
from pipeline.tables import FOLD
from pipeline.training.head import HeadParams, loss_of, prepare
from pipeline.training.learning import judge, learn, make_deterministic

NO_FOLDS: dict[str, Any] = {"folds": 0}
CONFIDENCE = 0.95
DECIMALS = 6


def cross_validate(
    params: HeadParams, images: pd.DataFrame, classes: Sequence[str], cached: Features
) -> dict[str, Any]:
    """Train a head for each fold and score it.

    Args:
        images: One row a picture of train and val; columns as of the splits, with
            three folds or more.

    Returns:
        The number of folds, mean, standard deviation and 95% interval of
        accuracy, and each fold's images, chosen epoch and accuracy.
    """
    folds = sorted(images[FOLD].unique(), key=int)
    results = []
    for scored, chooses in zip(folds, [*folds[1:], folds[0]], strict=True):
        of_fold = images[FOLD]
        train = images[(of_fold != scored) & (of_fold != chooses)]
        unseen = images[of_fold == scored]
        epoch, accuracy = score(
            params, [train, images[of_fold == chooses], unseen], classes, cached
        )
        results.append(
            {
                "fold": int(scored),
                "images": len(unseen),
                "training_images": len(train),
                "epoch": epoch,
                "accuracy": round(accuracy, DECIMALS),
            }
        )
    accuracies = np.array([result["accuracy"] for result in results])
    part = sum(r["images"] for r in results) / sum(r["training_images"] for r in results)
    low, high = interval(accuracies, part)
    return {
        "folds": len(folds),
        "accuracy_mean": round(float(accuracies.mean()), DECIMALS),
        "accuracy_standard_deviation": round(float(accuracies.std(ddof=1)), DECIMALS),
        "accuracy_low": round(low, DECIMALS),
        "accuracy_high": round(high, DECIMALS),
        "per_fold": results,
    }


def score(
    params: HeadParams, parts: Sequence[pd.DataFrame], classes: Sequence[str], cached: Features
) -> tuple[int, float]:
    """Train on the first part: the epoch that the second chose, the accuracy on the third."""
    make_deterministic(params.seed)
    head, epochs, (held, scored) = prepare(params, parts, classes, cached)
    loss = loss_of(params)
    log = learn(head, params, loss, epochs, held, keep_start=False, what="train_head")
    hits = judge(head, loss, scored).hits
    return int(log.loc[log["kept"] == 1, "epoch"].iloc[0]), float(hits.mean())


def interval(accuracies: NDArray[np.float64], part: float) -> tuple[float, float]:
    """A 95% interval of the mean of the folds' accuracies, within [0, 1].

    Folds share training images, so their spread alone says too little: the
    variance is that of Nadeau & Bengio 2003, "Inference for the generalization
    error", with Student's t.

    Args:
        accuracies: (fold,).
        part: Scored images by training images of a fold.
    """
    from scipy.special import stdtrit  # noqa: PLC0415

    count = len(accuracies)
    error = accuracies.std(ddof=1) * np.sqrt(1 / count + part)
    reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2) * error)
    mean = float(accuracies.mean())
    return max(0.0, mean - reach), min(1.0, mean + reach)

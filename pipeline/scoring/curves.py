"""The points behind the plots: ROC, precision-recall and calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.scoring.metrics import Floats, calibration_bin

DECIMALS = 6
MAX_POINTS = 1000  # a curve; more cannot be told apart on a screen


def roc(positive: Floats, scores: Floats) -> pd.DataFrame:
    """Columns false_positive_rate, true_positive_rate and threshold, by falling threshold.

    Empty where all answers are of one kind: there is no such curve.
    """
    if positive.min() == positive.max():
        return pd.DataFrame(columns=["false_positive_rate", "true_positive_rate", "threshold"])
    from sklearn.metrics import roc_curve  # noqa: PLC0415

    fall_out, recall, thresholds = roc_curve(positive, scores)
    thresholds = thresholds.clip(max=1)
    return _thinned(
        {"false_positive_rate": fall_out, "true_positive_rate": recall, "threshold": thresholds}
    )


def precision_recall(positive: Floats, scores: Floats) -> pd.DataFrame:
    """Columns recall, precision and threshold, by rising threshold."""
    from sklearn.metrics import precision_recall_curve  # noqa: PLC0415

    precision, recall, thresholds = precision_recall_curve(positive, scores)
    return _thinned(
        {"recall": recall, "precision": precision, "threshold": np.append(thresholds, 1)}
    )


def calibration(hits: Floats, confidence: Floats) -> pd.DataFrame:
    """Columns confidence, accuracy and images of each non-empty bin of the top probability."""
    bins = calibration_bin(confidence)
    table = pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": hits})
    grouped = table.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), images=("bin", "size")
    )
    return grouped.round(DECIMALS).reset_index(drop=True)


def _thinned(columns: dict[str, Floats]) -> pd.DataFrame:
    table = pd.DataFrame(columns).round(DECIMALS)
    kept = np.linspace(0, len(table) - 1, min(len(table), MAX_POINTS)).round().astype(int)
    return table.iloc[kept].reset_index(drop=True)

"""What the headline metrics are called, and which way each is better."""

from __future__ import annotations

HEADLINE = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "log_loss": "log loss (lower is better)",
    "expected_calibration_error": "expected calibration error (lower is better)",
}
HIGHER_IS_BETTER = {
    name: name not in {"log_loss", "expected_calibration_error"} for name in HEADLINE
}

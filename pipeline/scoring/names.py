"""What the headline metrics are called, which way each is better, and what they are of."""

from __future__ import annotations

from collections.abc import Mapping

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


def with_interval(figures: Mapping[str, float], name: str) -> str:
    """A figure of reports/metrics.json with the ends of its interval, where it has them."""
    if name not in figures:
        return "undefined"
    ends = [f"{figures[end]:.4f}" for end in (f"{name}_low", f"{name}_high") if end in figures]
    return f"{figures[name]:.4f} [{', '.join(ends)}]" if ends else f"{figures[name]:.4f}"


def judged_on(figures: Mapping[str, float]) -> str:
    """The test images of a model's figures in reports/metrics.json, in words."""
    groups = f" in {figures['groups']:.0f} groups" if "groups" in figures else ""
    return f"{figures['images']:.0f} test images{groups}"

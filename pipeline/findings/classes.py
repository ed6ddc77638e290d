"""Classes with far fewer pictures than others."""

from __future__ import annotations

import pandas as pd

from pipeline.findings.finding import EXAMPLES, Example, Finding, together

RARE = 10  # times fewer than the largest class


def rare_classes(labelled: pd.DataFrame) -> Finding:
    """Classes with less than a tenth of the largest one's distinct pictures."""
    counts = labelled["label"].value_counts().sort_index()
    rare = counts[counts * RARE < counts.max()].sort_values(kind="stable")
    shown = rare.head(EXAMPLES)
    members = together(labelled, "label", shown.index)
    most = str(counts.idxmax())
    examples = [
        Example(f"{label!r} has {counts[label]}, {most!r} has {counts.max()}", pictures)
        for label, pictures in members.items()
    ]
    sentence = (
        f"classes with less than 1/{RARE} of the largest one's pictures: "
        "consider train_head.class_weights balanced"
    )
    return Finding("rare_classes", sentence, len(rare), examples)

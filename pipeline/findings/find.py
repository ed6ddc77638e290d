"""All findings over a manifest and the measures of its pictures."""

from __future__ import annotations

import pandas as pd

from pipeline.findings.classes import rare_classes
from pipeline.findings.constant import black, near_constant
from pipeline.findings.copies import exact_duplicates, two_labels
from pipeline.findings.finding import Finding
from pipeline.findings.labels import same_group, same_label, similar_labels
from pipeline.findings.near_duplicates import near_duplicates
from pipeline.findings.outliers import blurred, too_bright, too_dark
from pipeline.findings.shapes import odd_aspect_ratios, odd_sizes
from pipeline.tables import distinct


def find(
    manifest: pd.DataFrame, measures: pd.DataFrame, near_duplicate_distance: int
) -> list[Finding]:
    """Look for everything, what matters most first; what is not there has count 0.

    Args:
        manifest: One row a file.
        measures: One row a digest, as `pipeline.tables.read_measures` returns it.
        near_duplicate_distance: In bits of the perceptual hash.
    """
    # numbers in the digests' order: a million texts of 64 letters are slow to compare
    numbers, digests = pd.factorize(manifest["digest"], sort=True)
    shown = manifest[["path", "label", "group", "width", "height"]].assign(digest=numbers)
    measured = measures.set_index("digest").loc[digests].reset_index(drop=True)
    pictures = pd.concat([distinct(shown), measured], axis="columns")
    labelled = shown.drop_duplicates(["digest", "label"])
    return [
        two_labels(shown),
        exact_duplicates(shown),
        near_duplicates(pictures, near_duplicate_distance),
        same_label(labelled),
        similar_labels(labelled),
        same_group(shown.drop_duplicates(["digest", "group"])),
        rare_classes(labelled),
        black(pictures),
        near_constant(pictures),
        too_dark(pictures),
        too_bright(pictures),
        blurred(pictures),
        odd_sizes(pictures),
        odd_aspect_ratios(pictures),
    ]

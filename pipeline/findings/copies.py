"""One picture in several files: equal pixels, whatever their names and formats."""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd

from pipeline.findings.finding import EXAMPLES, Example, Finding, listed, together


def exact_duplicates(manifest: pd.DataFrame) -> Finding:
    """Files that repeat another's pixels under the same label."""
    repeated = manifest[manifest["digest"].duplicated(keep=False)]
    alike = repeated[~repeated["digest"].isin(_digests_of_two_labels(manifest))]
    files = alike["digest"].value_counts()
    files = files.sort_index().sort_values(ascending=False, kind="stable")
    shown = files.head(EXAMPLES)
    pictures = together(alike, "digest", shown.index)
    examples = [Example(f"{shown[digest]} files", pictures[digest]) for digest in pictures]
    sentence = "files that repeat another, pixel for pixel: a split keeps them together"
    return Finding("exact_duplicates", sentence, int((files - 1).sum()), examples)


def two_labels(manifest: pd.DataFrame) -> Finding:
    """Pictures that stand under more than one label."""
    digests = _digests_of_two_labels(manifest)
    labelled = manifest.drop_duplicates(["digest", "label"])
    labels = labelled.loc[labelled["digest"].isin(digests), "digest"].value_counts().to_dict()
    pictures = together(labelled, "digest", digests[:EXAMPLES])
    examples = [
        Example(listed([repr(picture.label) for picture in of_digest], labels[digest]), of_digest)
        for digest, of_digest in pictures.items()
    ]
    sentence = "pictures under several labels, which `split` will refuse: remove the wrong files"
    return Finding("two_labels", sentence, len(digests), examples)


def _digests_of_two_labels(manifest: pd.DataFrame) -> list[Hashable]:
    repeated = manifest.loc[manifest["digest"].duplicated(keep=False), ["digest", "label"]]
    labelled = repeated.drop_duplicates()
    return sorted(labelled.loc[labelled["digest"].duplicated(), "digest"].unique())

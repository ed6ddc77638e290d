"""Pictures of another size or shape than the rest."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.findings.finding import Finding, one_by_one
from pipeline.findings.outliers import FAR, robust_z

# of the logarithm: so even where all are of one size, what is odd is so much off
SIZE_MAD = 0.6745 * np.log(2) / FAR
ASPECT_MAD = 0.6745 * np.log(1.5) / FAR


def odd_sizes(pictures: pd.DataFrame) -> Finding:
    """Pictures of far more or fewer pixels than the rest, by a factor of 2 a side at least."""
    z = robust_z(np.log((pictures["width"] * pictures["height"]).to_numpy()) / 2, SIZE_MAD)
    sentence = "pictures much larger or smaller than the rest"
    return _odd("odd_size", sentence, pictures, z)


def odd_aspect_ratios(pictures: pd.DataFrame) -> Finding:
    """Pictures whose long side is to their short one as in few others; portrait or landscape."""
    longest = pictures[["width", "height"]].max(axis="columns")
    shortest = pictures[["width", "height"]].min(axis="columns")
    z = robust_z(np.log((longest / shortest).to_numpy()), ASPECT_MAD)
    sentence = "pictures of another shape than the rest, which resizing will distort"
    return _odd("odd_aspect_ratio", sentence, pictures, z)


def _odd(code: str, sentence: str, pictures: pd.DataFrame, z: NDArray[np.float64]) -> Finding:
    found = pictures.assign(far=np.abs(z))
    found = found[found["far"] > FAR].sort_values(["far", "path"], ascending=[False, True])
    usual = f"median {pictures['width'].median():g} x {pictures['height'].median():g}"
    sizes = zip(found["width"], found["height"], strict=True)
    notes = (f"{width} x {height}, {usual}" for width, height in sizes)
    return Finding(code, sentence, len(found), one_by_one(found, notes))

"""Pictures that look the same: their perceptual hashes differ in few bits."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.findings.constant import shows_nothing
from pipeline.findings.finding import EXAMPLES, Example, Finding, Picture
from pipeline.findings.near_pairs import near_pairs


def near_duplicates(pictures: pd.DataFrame, distance: int) -> Finding:
    """Pairs of pictures whose perceptual hashes are at most `distance` bits apart.

    A picture that shows nothing is left out: it has no frequencies to hash.

    Args:
        pictures: One row a digest, ordered by digest.
    """
    seen = pictures.loc[~shows_nothing(pictures), ["path", "label", "perceptual_hash"]]
    packed = bytes.fromhex("".join(seen["perceptual_hash"].tolist()))
    hashes = np.frombuffer(packed, dtype=">u8").astype(np.uint64)
    pairs = near_pairs(hashes, distance, EXAMPLES)
    files = seen[["path", "label"]]
    examples = [
        Example(f"{bits} of 64 bits apart", sorted(Picture(*files.iloc[i]) for i in pair))
        for bits, *pair in pairs.nearest
    ]
    counts = ", ".join(
        f"{count:,} at {bits}" for bits, count in enumerate(pairs.by_distance) if count
    )
    sentence = f"pairs of pictures that look alike: at most {distance} of 64 bits apart"
    if counts:
        sentence += f" ({counts})"
    if pairs.crowded:
        sentence += (
            f"; there may be more: {pairs.crowded:,} pictures look so much alike that each was "
            f"compared with the nearest {pairs.window} in some sortings only"
        )
    return Finding("near_duplicates", sentence, sum(pairs.by_distance), examples)

"""Pictures that show nothing."""

from __future__ import annotations

import pandas as pd

from pipeline.findings.finding import Finding, one_by_one

LOWEST_CONTRAST = 2.0  # standard deviation, of 255; JPEG's own noise on a plain area is below
BLACK = 8.0  # brightness, of 255; what an unlit 8-bit sensor or a truncated file shows is below


def shows_nothing(pictures: pd.DataFrame) -> pd.Series:
    """Whether each picture is of almost one colour."""
    return pictures["contrast"] < LOWEST_CONTRAST


def black(pictures: pd.DataFrame) -> Finding:
    """Pictures that are black all over."""
    found = pictures[shows_nothing(pictures) & (pictures["brightness"] < BLACK)]
    sentence = f"black pictures: brightness below {BLACK:g} of 255, and nothing to see"
    return _finding("black", sentence, found)


def near_constant(pictures: pd.DataFrame) -> Finding:
    """Pictures of almost one colour that is not black."""
    found = pictures[shows_nothing(pictures) & (pictures["brightness"] >= BLACK)]
    sentence = f"pictures of almost one colour: contrast below {LOWEST_CONTRAST:g} of 255"
    return _finding("near_constant", sentence, found)


def _finding(code: str, sentence: str, found: pd.DataFrame) -> Finding:
    found = found.sort_values(["contrast", "path"], kind="stable")
    measured = zip(found["brightness"], found["contrast"], strict=True)
    notes = (f"brightness {mean:.1f}, contrast {spread:.1f}" for mean, spread in measured)
    return Finding(code, sentence, len(found), one_by_one(found, notes))

"""Pictures that lie far from the rest, where the rest says what far is.

A value's robust z is 0.6745 (x - median) / MAD, MAD being the median absolute
deviation; beyond 3.5 it is an outlier: Iglewicz & Hoaglin 1993, "How to Detect
and Handle Outliers".
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.findings.constant import shows_nothing
from pipeline.findings.finding import Finding, one_by_one

FAR = 3.5
FEWEST = 20  # of fewer pictures none can be said to be unlike the rest
LEAST_BRIGHTNESS_MAD = 2.0  # levels of 255: below, pictures are of one brightness to the eye
LEAST_SHARPNESS_MAD = 0.2  # of the natural logarithm
LEAST_SHARPNESS = 0.001  # of what is flat, whose logarithm would be infinite


def robust_z(values: NDArray[np.float64], least_mad: float) -> NDArray[np.float64]:
    """How far each value lies from the median.

    Args:
        least_mad: Taken where the MAD is smaller, so that values which are
            almost equal have no outliers, and none at all divides by 0.
    """
    if len(values) < FEWEST:
        return np.zeros(len(values))
    off = values - np.median(values)
    return np.asarray(0.6745 * off / max(float(np.median(np.abs(off))), least_mad))


def too_dark(pictures: pd.DataFrame) -> Finding:
    """Pictures much darker than the rest."""
    judged = pictures[~shows_nothing(pictures)]  # what shows nothing is a finding of its own
    sentence = "pictures much darker than the rest"
    return _finding("too_dark", sentence, judged, "brightness", -_brightness_z(judged))


def too_bright(pictures: pd.DataFrame) -> Finding:
    """Pictures much brighter than the rest."""
    judged = pictures[~shows_nothing(pictures)]
    sentence = "pictures much brighter than the rest"
    return _finding("too_bright", sentence, judged, "brightness", _brightness_z(judged))


def blurred(pictures: pd.DataFrame) -> Finding:
    """Pictures much less sharp than the rest, but for dark and bright ones, where all is faint."""
    judged = pictures[~shows_nothing(pictures)]
    judged = judged[np.abs(_brightness_z(judged)) <= FAR]
    sharpness = np.log(np.maximum(judged["sharpness"].to_numpy(np.float64), LEAST_SHARPNESS))
    sentence = "pictures much less sharp than the rest: blurred, or with little in them"
    z = robust_z(sharpness, LEAST_SHARPNESS_MAD)
    return _finding("blurred", sentence, judged, "sharpness", -z)


def _brightness_z(pictures: pd.DataFrame) -> NDArray[np.float64]:
    return robust_z(pictures["brightness"].to_numpy(np.float64), LEAST_BRIGHTNESS_MAD)


def _finding(
    code: str, sentence: str, judged: pd.DataFrame, measure: str, far: NDArray[np.float64]
) -> Finding:
    """What is far off; `far` grows with how odd a picture is."""
    found = judged.assign(far=far)[far > FAR]
    found = found.sort_values(["far", "path"], ascending=[False, True])
    middle = judged[measure].median()
    notes = (f"{measure} {value:.1f}, median {middle:.1f}" for value in found[measure])
    return Finding(code, sentence, len(found), one_by_one(found, notes))

"""A 64-bit hash that similar pictures share all or most bits of.

The "pHash" of Zauner 2010, "Implementation and Benchmarking of Perceptual Image
Hash Functions", as the package imagehash has it (its `phash` with a
`highfreq_factor` of 8), but in whole numbers, so that it is the same on every
machine: docs/decisions/0023-perceptual-hash-in-whole-numbers.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.images.gray_copy import SIDE

FREQUENCIES = 8  # of each axis; 8 x 8 bits
SCALE = 4096  # of the rounded cosines

_samples = np.arange(SIDE) + 0.5
_waves = np.outer(np.arange(FREQUENCIES), _samples) * np.pi / SIDE
COSINES = np.rint(SCALE * np.cos(_waves))  # (frequency, sample) float64, whole numbers


def perceptual_hashes(copies: NDArray[np.uint8]) -> list[str]:
    """Which of a picture's lowest frequencies are stronger than their median.

    Every product and sum is a whole number below 2^53, so float64 is exact and
    the order of summation, which differs between machines, does not matter.

    Args:
        copies: (image, SIDE, SIDE) uint8.

    Returns:
        16 hexadecimal digits each, the lowest frequency in the first bit.
    """
    spectrum = COSINES @ copies.astype(np.float64) @ COSINES.T
    strengths = spectrum.reshape(len(copies), FREQUENCIES**2)
    middle = strengths.shape[1] // 2
    ordered = np.sort(strengths, axis=1)
    median_twice = ordered[:, middle - 1] + ordered[:, middle]
    bits = 2 * strengths > median_twice[:, None]
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]

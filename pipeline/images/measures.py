"""What a picture's small gray copy says of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.images.perceptual_hash import perceptual_hashes

DECIMALS = 3


class Measures(NamedTuple):
    """Of one picture; a function of its pixels alone, and the same on every machine."""

    perceptual_hash: str  # 16 hexadecimal digits
    brightness: float  # mean, of 255
    contrast: float  # standard deviation, of 255
    sharpness: float  # variance of the Laplacian: Pech-Pacheco et al. 2000


def measure(copies: NDArray[np.uint8]) -> list[Measures]:
    """Measure pictures, several at once because that is several times faster.

    Args:
        copies: (picture, SIDE, SIDE) uint8, from `gray_copy`.
    """
    gray = copies.astype(np.int16)
    inner = gray[:, 1:-1, 1:-1]
    laplacian = 4 * inner - gray[:, :-2, 1:-1] - gray[:, 2:, 1:-1]
    laplacian -= gray[:, 1:-1, :-2]
    laplacian -= gray[:, 1:-1, 2:]
    means, variances = _moments(gray)
    _, sharpness = _moments(laplacian)
    columns = [means, np.sqrt(variances), sharpness]
    numbers = np.column_stack([column.round(DECIMALS) for column in columns]).tolist()
    hashes = perceptual_hashes(copies)
    return [Measures(name, *row) for name, row in zip(hashes, numbers, strict=True)]


def _moments(values: NDArray[np.int16]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each picture's values, from sums of whole numbers, which are exact."""
    flat = values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float64)
    count = flat.shape[1]
    sums, squares = flat.sum(axis=1), np.einsum("ij,ij->i", flat, flat)
    return sums / count, (squares * count - sums * sums) / count**2

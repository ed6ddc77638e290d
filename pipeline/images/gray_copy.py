"""A small gray copy of a picture, of one size whatever the picture's, to be measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.decode import Pixels, is_gray

SIDE = 64  # pixels; docs/decisions/0024-measures-on-a-small-copy.md says why no more
MIN_ROWS = 160  # of a taller picture every n-th row is read, but at least so many


def gray_copy(pixels: Pixels) -> NDArray[np.uint8]:
    """Average a picture's channels and shrink it, or enlarge it, to a square.

    The aspect ratio is not kept.  The bytes of a row are handed to Pillow as
    one channel, so that averaging the colours, shrinking, and leaving out rows
    are one pass over what is already in memory.

    Args:
        pixels: (height, width, 3) uint8 RGB, as `decode` returns it.

    Returns:
        (SIDE, SIDE) uint8, the mean of red, green and blue.
    """
    height, width, _ = pixels.shape
    step = max(1, height // MIN_ROWS)
    rows = pixels[step // 2 :: step]
    # equal pixels give equal measures whatever the file, and the mean of three equal
    # channels may be rounded otherwise than one
    channels = 1 if is_gray(rows) else 3
    plane = rows[..., 0] if channels == 1 else rows.reshape(len(rows), -1)
    plane = np.ascontiguousarray(plane)
    image = Image.frombuffer("L", plane.shape[::-1], plane, "raw", "L", 0, 1)
    across, down = max(1, width // SIDE), max(1, len(rows) // SIDE)
    if (channels * across, down) != (1, 1):
        image = image.reduce((channels * across, down))
    # the last of the reduced pixels may stand for fewer: the box ends where the picture does
    box = (0, 0, width / across, min(image.height, height / step / down))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))

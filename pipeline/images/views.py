"""Views of an image: what one is, and how it is rendered.

A view is data: a row of numbers in data/views.csv.  View 0 is the image itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image, ImageEnhance

from pipeline.images.decode import Pixels, is_gray

ResizeFilter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]  # Pillow's

DECIMALS = 6  # in the plan; a view is what the plan says, so it is rounded when drawn


@dataclass(frozen=True)
class View:
    """What happens to an image, in this order, on its way to the network's input.

    Resizing is done to the part that is kept before it is turned over.
    """

    horizontal_flip: int = 0  # 0 or 1
    vertical_flip: int = 0  # 0 or 1
    quarter_turns: int = 0  # 0 to 3, counter-clockwise
    crop: float = 1.0  # side of the part that is kept, as a fraction of the image's
    crop_x: float = 0.0  # where it begins, from 0 (left) to 1 (as far right as it fits)
    crop_y: float = 0.0  # the same, from top to bottom
    rotation: float = 0.0  # degrees, counter-clockwise, of the resized picture
    brightness: float = 1.0  # factor
    contrast: float = 1.0  # factor, about the mean gray


IDENTITY = View()


def render(pixels: Pixels, view: View, size: int, resize: ResizeFilter) -> Pixels:
    """Make the picture that the network sees.

    Args:
        pixels: (height, width, 3) uint8 RGB.
        size: Side of the result, in pixels.
        resize: Pillow widens the filter with the reduction, so shrinking does
            not alias.

    Returns:
        (size, size, 3) uint8 RGB.  The aspect ratio is not kept.
    """
    return render_all(as_image(pixels), [view], size, resize)[0]


def as_image(pixels: Pixels) -> Image.Image:
    """Pillow's form of a picture, to render many views of: "L" if it is gray, else "RGB".

    Pillow treats each channel alone and alike, so one channel of gray, repeated
    at the end, gives the same bits as three at a third of the work.
    """
    shown = pixels[..., 0] if is_gray(pixels) else pixels
    return Image.fromarray(np.ascontiguousarray(shown))


def render_all(
    image: Image.Image, views: Iterable[View], size: int, resize: ResizeFilter
) -> list[Pixels]:
    """Do as `render` does for some views of what `as_image` returned.

    A picture is resized before it is turned over, when it takes less time to
    turn, and once for all views that keep the same part.
    """

    @cache
    def resized(box: tuple[float, float, float, float]) -> Image.Image:
        return image.resize((size, size), Image.Resampling[resize.upper()], box=box)

    return [_finished(resized(_crop_box(image, view)), view) for view in views]


def _crop_box(image: Image.Image, view: View) -> tuple[float, float, float, float]:
    """The part that is kept, in the image as it stands before its flips and turns."""
    across, down = view.crop_x, view.crop_y
    for _ in range(view.quarter_turns):
        across, down = 1 - down, across
    across = 1 - across if view.horizontal_flip else across
    down = 1 - down if view.vertical_flip else down
    width, height = image.width * view.crop, image.height * view.crop
    left, top = (image.width - width) * across, (image.height - height) * down
    return left, top, min(left + width, image.width), min(top + height, image.height)


def _finished(image: Image.Image, view: View) -> Pixels:
    """All that happens to a view once it has its size."""
    if view.horizontal_flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if view.vertical_flip:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if view.quarter_turns:
        image = image.transpose(Image.Transpose[f"ROTATE_{90 * view.quarter_turns}"])
    if view.rotation:
        image = rotate(image, view.rotation)
    if view.brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(view.brightness)
    if view.contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(view.contrast)
    return np.asarray(image if image.mode == "RGB" else Image.merge("RGB", [image] * 3))


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Turn a square picture about its centre, its border mirrored outwards."""
    size, angle = image.width, math.radians(degrees)
    margin = math.ceil(math.sin(min(abs(angle), math.pi / 2)) * size / 2) + 2
    pixels = np.asarray(image)
    border = [(margin, margin), (margin, margin), (0, 0)][: pixels.ndim]
    padded = Image.fromarray(np.pad(pixels, border, mode="symmetric"))
    cos, sin = math.cos(angle), math.sin(angle)
    # from a pixel of the result to where it was; both centres lie at size / 2
    to_x = (cos, -sin, size / 2 * (1 - cos + sin) + margin)
    to_y = (sin, cos, size / 2 * (1 - cos - sin) + margin)
    turn = Image.Transform.AFFINE
    return padded.transform((size, size), turn, (*to_x, *to_y), Image.Resampling.BILINEAR)

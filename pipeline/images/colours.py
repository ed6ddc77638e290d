"""Colours that an ICC profile defines, as sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

SPACES = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}  # mode: ICC's own word
STEP = 15  # levels between the colours by which a profile is compared with sRGB
SAME = 1  # level: by so much profiles of sRGB differ in rounding
KEPT = 16  # profiles, in each process: images of one source share theirs


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an image of mode L, RGB, RGBA or CMYK from its embedded profile.

    By littleCMS with the perceptual intent.  A
    profile that cannot be read, or is of another kind of colours than the
    image, is left out of account, as browsers do; so is one that differs from
    sRGB by no more than rounding, which is what most are.

    Returns:
        Of mode L, RGB, RGBA or, where no profile applies, the image itself.
    """
    conversion = _conversion(profile, image.mode)
    if conversion is None:
        return image
    if isinstance(conversion, list):
        return image.point(conversion)
    return _apply(image, conversion)


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """Convert CIELAB under D50, as TIFF holds it."""
    return _apply(image, _lab())


@lru_cache(1)
def _lab() -> ImageCmsTransform:
    from PIL import ImageCms  # noqa: PLC0415

    return ImageCms.buildTransform(
        ImageCms.createProfile("LAB", 5000), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )


@lru_cache(KEPT)
def _conversion(profile: bytes, mode: str) -> list[int] | ImageCmsTransform | None:
    """How to convert, gray by a table of its 256 levels; None: there is nothing to be done."""
    from PIL import ImageCms  # noqa: PLC0415

    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGBA" if mode == "RGBA" else "RGB",
            flags=ImageCms.Flags.NOCACHE,  # threads share it
        )
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None
    colours = _colours(mode)
    before = np.asarray(colours)
    after = np.asarray(_apply(colours, transform))
    if mode == "L":
        after = after[..., 1]  # of equal channels
    if mode != "CMYK" and np.abs(after.astype(int) - before).max() <= SAME:
        return None
    return after.ravel().tolist() if mode == "L" else transform


def _apply(image: Image.Image, transform: ImageCmsTransform) -> Image.Image:
    converted = transform.apply(image)
    converted.info = {}  # it has no profile any more
    return converted


def _colours(mode: str) -> Image.Image:
    """Every level of gray, or a grid of colours."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.arange(0, 256, STEP, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    return Image.fromarray(grid).convert(mode)

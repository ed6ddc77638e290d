"""Every mode that Pillow reads as 8-bit gray or RGB of sRGB."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import RejectedImage
from pipeline.images.colours import lab_to_srgb, to_srgb

BACKGROUND = (255, 255, 255)  # what shows through transparent pixels
WIDEST = 65535  # the highest value of gray of more than 8 bits, unless the file says less


class Samples(NamedTuple):
    """What a file says of gray: its highest value beyond 8 bits, is high dark, is there a sign."""

    highest: int
    inverted: bool
    signed: bool


def to_gray_or_rgb(image: Image.Image, samples: Samples) -> Image.Image:
    """Convert to mode L or RGB.

    Gray of more than 8 bits is scaled from [0, `samples.highest`]; float gray in
    [0, 1] is multiplied by 255; an ICC profile is converted to sRGB as `to_srgb`
    says; transparency is laid over `BACKGROUND`; CMYK without a profile and the
    other modes go through Pillow's own conversion.

    Raises:
        RejectedImage: The values have no agreed meaning as 8 bits.
    """
    clear = image.info.get("transparency")
    profile = image.info.get("icc_profile")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image, clear, samples)
    elif image.mode == "LAB":
        image = lab_to_srgb(image)
        profile = None
    elif image.has_transparency_data:
        image = image.convert("LA" if image.mode in {"L", "LA"} else "RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode == "LA":
        image, profile = _gray_with_alpha(image, profile)
    if profile:
        image = to_srgb(image, profile)
    if image.mode == "RGBA":
        over = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(over, image)
    return image if image.mode in {"L", "RGB"} else image.convert("RGB")


def _gray_with_alpha(
    image: Image.Image, profile: bytes | None
) -> tuple[Image.Image, bytes | None]:
    """Mode LA as RGBA, by its profile if that is one of gray; and the profile still to be used."""
    gray, alpha = image.split()
    converted = to_srgb(gray, profile) if profile else gray
    whole = Image.merge("LA", (converted, alpha)).convert("RGBA")
    return whole, profile if converted is gray else None


def _to_8_bit(image: Image.Image, clear: object, samples: Samples) -> Image.Image:
    """Gray of other than 8 bits as "L", or "LA" where one value stands for transparent."""
    values = np.asarray(image)
    gray = _from_float(values) if image.mode == "F" else _from_integers(values, samples)
    # Pillow inverts 8 bits only
    narrow = Image.fromarray(255 - gray if samples.inverted else gray)
    if not isinstance(clear, int):
        return narrow
    narrow.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return narrow


def _from_integers(values: NDArray[np.generic], samples: Samples) -> NDArray[np.uint8]:
    """[0, samples.highest] to [0, 255], rounded."""
    highest = samples.highest
    if values.dtype == np.int32 and not samples.signed:
        values = values.view(np.uint32)  # Pillow gives 32 bits a sign
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > highest:
        raise RejectedImage("unknown_range", f"integers in [{low}, {high}], not in [0, {highest}]")
    return ((values.astype(np.int32) * 510 + highest) // (2 * highest)).astype(np.uint8)


def _from_float(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    with np.errstate(invalid="ignore"):  # of what is no number, which is found below
        real = values.astype(np.float64)
    if not (np.isfinite(real).all() and real.min() >= 0 and real.max() <= 1):
        found = f"[{real.min():g}, {real.max():g}]"
        raise RejectedImage("unknown_range", f"floats in {found}, not in [0, 1]")
    return np.rint(real * 255).astype(np.uint8)

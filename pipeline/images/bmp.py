"""What Pillow mistakes of a BMP."""

from __future__ import annotations

import struct

from PIL import Image

from pipeline.errors import RejectedImage

CORE = 12  # bytes of OS/2's header, whose depth stands elsewhere
DEPTHS = {"1": 1, "L": 8}  # bits of a pixel, of what Pillow takes for black and white or gray


def check_bmp(image: Image.Image, encoded: bytes) -> None:
    """Refuse a palette of gray by which Pillow takes pixels for those of another depth.

    Raises:
        RejectedImage: It has one.
    """
    (size,) = struct.unpack_from("<I", encoded, 14)
    (depth,) = struct.unpack_from("<H", encoded, 24 if size == CORE else 28)
    if DEPTHS.get(image.mode, depth) != depth:
        reason = f"is a BMP of {depth} bits with few grays, which Pillow mistakes; save it as PNG"
        raise RejectedImage("unsupported_format", reason)


def without_blank_alpha(image: Image.Image) -> Image.Image:
    """The image, or its colours alone where alpha is 0 everywhere: viewers show them."""
    blank = image.mode == "RGBA" and not image.getchannel("A").getbbox()
    return image.convert("RGB") if blank else image

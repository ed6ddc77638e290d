"""Decode an image file to the RGB pixels that its viewer would see.

Every reader of pictures (ingest, extract, fine_tune, evaluate, predict) calls
`decode`, so that all of them see the same pixels.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import RejectedImage
from pipeline.sources.place import check_file, in_words

BACKGROUND = (255, 255, 255)  # what shows through transparent pixels
MAX_PIXELS = 100_000_000  # a larger picture is taken for a decompression bomb

# decoders of untrusted files; Pillow's others include one that starts Ghostscript
FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
warnings.filterwarnings("ignore", module=r"PIL\.")  # they name no file; what fails is rejected

PHOTOMETRIC, MIN_IS_WHITE = 262, 0  # a TIFF tag and its value for inverted gray

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB


def decode(file: Path) -> Pixels:
    """Read the first frame of an image in full, upright, as 8-bit RGB.

    The EXIF orientation is applied.  Gray is repeated over the channels; 16-bit
    gray is divided by 257; float gray in [0, 1] is multiplied by 255;
    transparency is laid over `BACKGROUND`; CMYK and the other modes go through
    Pillow's own conversion.

    Returns:
        Read-only, and of gray a view that holds one channel, so not contiguous.

    Raises:
        RejectedImage: The file is absent, no image, damaged, truncated, too
            large or of a range that has no agreed meaning as 8 bits.
    """
    check_file(file)
    return _decoded(file)


def decode_bytes(content: bytes) -> Pixels:
    """Decode the bytes of an image file as `decode` does.

    Raises:
        RejectedImage: As `decode` does.
    """
    if not content:
        raise RejectedImage("empty_file", "has 0 bytes")
    return _decoded(BytesIO(content))


def _decoded(file: Path | BytesIO) -> Pixels:
    try:
        pixels = np.atleast_3d(np.asarray(_upright(file)))
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    except RejectedImage:
        raise
    except PermissionError as error:
        raise RejectedImage("no_permission", in_words(error)) from error
    except UnidentifiedImageError as error:
        raise RejectedImage("not_an_image", "no image format that Pillow knows") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RejectedImage("too_large", in_words(error)) from error
    except MemoryError as error:
        raise RejectedImage("too_large", "does not fit into memory") from error
    except Exception as error:
        raise RejectedImage("damaged", in_words(error)) from error


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 of the size and the pixels: equal pictures share it, whatever their files."""
    digest = hashlib.sha256(struct.pack("<II", *pixels.shape[:2]))
    if not pixels.flags.c_contiguous:  # repeated gray: a seventh of ascontiguousarray's time
        pixels = np.dstack([pixels[..., channel] for channel in range(3)])
    digest.update(pixels.data)
    return digest.hexdigest()


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright(file: Path | BytesIO) -> Image.Image:
    with Image.open(file, formats=_formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width} x {image.height}"
            raise RejectedImage("too_large", f"{size} pixels, more than {MAX_PIXELS:,}")
        image.load()
        inverted = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == MIN_IS_WHITE
        return _to_gray_or_rgb(ImageOps.exif_transpose(image), inverted=inverted)


def _to_gray_or_rgb(image: Image.Image, *, inverted: bool) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        narrow = _from_float if image.mode == "F" else _from_16_bit
        gray = narrow(np.asarray(image))
        # Pillow inverts gray of 8 bits only
        return Image.fromarray(255 - gray if inverted else gray)
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(over, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def _from_16_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """[0, 65535] to [0, 255], rounded: 65535 / 257 is 255."""
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        found = f"[{wide.min()}, {wide.max()}]"
        raise RejectedImage("unknown_range", f"integers in {found}, not in [0, 65535]")
    return ((wide + 128) // 257).astype(np.uint8)


def _from_float(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    real = values.astype(np.float64)
    if not (np.isfinite(real).all() and real.min() >= 0 and real.max() <= 1):
        found = f"[{real.min():g}, {real.max():g}]"
        raise RejectedImage("unknown_range", f"floats in {found}, not in [0, 1]")
    return np.rint(real * 255).astype(np.uint8)

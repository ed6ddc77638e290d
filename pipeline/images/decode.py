"""Decode an image file to the RGB pixels that its viewer would see.

Every reader of pictures (ingest, extract, fine_tune, evaluate, predict) calls
`decode`, so that all of them see the same pixels.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from pipeline.errors import RejectedImage
from pipeline.images.colours import lab_to_srgb, to_srgb
from pipeline.images.png import broken_chunk
from pipeline.sources.content import content
from pipeline.sources.place import Place, check_size, in_words

BACKGROUND = (255, 255, 255)  # what shows through transparent pixels

# decoders of untrusted files, by Pillow's module; its others include one that starts Ghostscript
FORMATS = {
    "JPEG": "Jpeg",  # and MPO
    "PNG": "Png",
    "AVIF": "Avif",
    "BMP": "Bmp",
    "GIF": "Gif",
    "ICO": "Ico",
    "JPEG2000": "Jpeg2K",
    "PPM": "Ppm",
    "TIFF": "Tiff",
    "WEBP": "WebP",
}
for module in FORMATS.values():
    import_module(f"PIL.{module}ImagePlugin")
KNOWN = tuple(name for name in FORMATS if name in Image.OPEN)  # to this build of Pillow
FOREIGN = {  # what a file begins with, at which byte; to say what it is
    "a HEIC photo": (4, (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")),
    "a JPEG XL picture": (0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    "a PDF document": (0, (b"%PDF",)),
    "PostScript": (0, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    "a Photoshop file": (0, (b"8BPS",)),
    "an SVG drawing": (0, (b"<svg", b"\xef\xbb\xbf<svg")),
}
warnings.filterwarnings("ignore", module=r"PIL\.")  # they name no file; what fails is rejected

HASHED_AT_ONCE = 32_768  # pixels: what stays in a processor's own cache
PHOTOMETRIC, MIN_IS_WHITE = 262, 0  # a TIFF tag and its value for inverted gray
PNG_STEPS = {"L;2": 85, "L;4": 17}  # between levels of gray of few bits, once they are 8
METADATA = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # Pillow's names
TURNS = {  # EXIF orientation to what puts the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB


class Limits(NamedTuple):
    """What an image may cost at most; more is taken for a bomb.

    `pixels` of the first frame or the canvas, `file_bytes` of the file, `frames`
    of an animation or a file of many pages, although only the first is used.
    """

    pixels: int = 100_000_000
    file_bytes: int = 1_000_000_000
    frames: int = 1_000


DEFAULT_LIMITS = Limits()


def decode(file: Path, limits: Limits | None = DEFAULT_LIMITS) -> Pixels:
    """Read the first frame of an image in full, upright, as 8-bit sRGB.

    The EXIF orientation is applied.  Gray is repeated over the channels; 16-bit
    gray is divided by 257; float gray in [0, 1] is multiplied by 255; an ICC
    profile is converted to sRGB as `to_srgb` says; transparency is laid over
    `BACKGROUND`; CMYK without a profile and the other modes go through Pillow's
    own conversion.  Metadata that cannot be read is left out of account, as
    viewers do.

    Args:
        limits: None: none, for what `ingest` has accepted and whose digest is compared.

    Returns:
        Read-only, and of gray a view that holds one channel, so not contiguous.

    Raises:
        RejectedImage: The file is absent, no image, damaged, truncated, over a
            limit or of a range that has no agreed meaning as 8 bits.
    """
    return decode_at(Place(file), limits)


def decode_at(place: Place, limits: Limits | None = DEFAULT_LIMITS) -> Pixels:
    """Decode the image at a place as `decode` does.

    Raises:
        RejectedImage: As `decode` does, or what holds the image is damaged.
    """
    return as_pixels(image_at(place, limits))


def decode_bytes(encoded: bytes, limits: Limits | None = DEFAULT_LIMITS) -> Pixels:
    """Decode the bytes of an image file as `decode` does.

    Raises:
        RejectedImage: As `decode` does.
    """
    return as_pixels(image_of(encoded, limits))


def image_at(place: Place, limits: Limits | None = DEFAULT_LIMITS) -> Image.Image:
    """What `decode_at` reads, before it becomes an array: an image of mode L or RGB.

    Raises:
        RejectedImage: As `decode_at` does.
    """
    return image_of(content(place, limits.file_bytes if limits else None), limits)


def as_pixels(image: Image.Image) -> Pixels:
    """An image of mode L or RGB as `decode` returns it."""
    pixels = np.atleast_3d(np.asarray(image))
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def image_of(encoded: bytes, limits: Limits | None) -> Image.Image:
    """What `decode_bytes` reads, before it becomes an array.

    Raises:
        RejectedImage: As `decode_bytes` does.
    """
    if not encoded:
        raise RejectedImage("empty_file", "has 0 bytes")
    check_size(len(encoded), limits.file_bytes if limits else None)
    try:
        return _upright(encoded, limits)
    except RejectedImage:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(encoded) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RejectedImage("too_large", in_words(error)) from error
    except MemoryError as error:
        raise RejectedImage("too_large", "needs more memory than a picture may take") from error
    except Exception as error:
        raise RejectedImage("damaged", in_words(error)) from error


def _unidentified(encoded: bytes) -> RejectedImage:
    for kind, (at, beginnings) in FOREIGN.items():
        if encoded[at:].startswith(beginnings):
            return RejectedImage("unsupported_format", f"is {kind}; save it as PNG or JPEG")
    for name in KNOWN:
        if Image.OPEN[name][1](encoded[:16]):  # type: ignore[misc]  # each of ours has such a test
            return RejectedImage("damaged", f"begins as {name} does, but cannot be read as one")
    return RejectedImage("not_an_image", "no image format that Pillow knows")


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 of the size and the pixels: equal pictures share it, whatever their files."""
    digest = hashlib.sha256(struct.pack("<II", *pixels.shape[:2]))
    if not pixels.flags.c_contiguous:  # repeated gray: a seventh of ascontiguousarray's time
        pixels = np.dstack([pixels[..., channel] for channel in range(3)])
    digest.update(pixels.data)
    return digest.hexdigest()


def image_digest(image: Image.Image) -> str:
    """`pixel_digest` of what `image_at` returned, in less time: a few rows after others."""
    digest = hashlib.sha256(struct.pack("<II", image.height, image.width))
    rows = max(1, HASHED_AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        below = min(top + rows, image.height)
        few = image if rows >= image.height else image.crop((0, top, image.width, below))
        some = few.tobytes()
        if image.mode == "RGB":
            digest.update(some)
        else:
            gray = np.frombuffer(some, np.uint8)
            repeated = np.empty((len(gray), 3), np.uint8)
            repeated[:, 0] = repeated[:, 1] = repeated[:, 2] = gray
            digest.update(repeated.data)
    return digest.hexdigest()


def _upright(encoded: bytes, limits: Limits | None) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = limits.pixels if limits else None  # of the formats within formats
    with Image.open(BytesIO(encoded), formats=KNOWN) as image:
        if limits:
            _check_size(image, limits)
            _check_frames(image, limits)
        if image.format == "PNG":
            _check_png(image, encoded)
        image.load()
        if limits:
            _check_size(image, limits)  # an icon's picture may be larger than it says
        inverted = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == MIN_IS_WHITE
        turn = TURNS.get(_orientation(image))
        plain = image if turn is None else image.transpose(turn)
        return _to_gray_or_rgb(plain, inverted=inverted)


def _check_size(image: Image.Image, limits: Limits) -> None:
    if image.width * image.height > limits.pixels:
        size = f"{image.width} x {image.height}"
        raise RejectedImage("too_large", f"{size} pixels, more than {limits.pixels:,}")


def _check_frames(image: Image.Image, limits: Limits) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > limits.frames:
        raise RejectedImage("too_many_frames", f"{frames:,} frames, more than {limits.frames:,}")


def _check_png(image: ImageFile.ImageFile, encoded: bytes) -> None:
    """Check what Pillow does not: the pixels' checksums; and scale a level that it does not."""
    if broken := broken_chunk(encoded):
        raise RejectedImage("damaged", f"PNG chunk {broken} has a wrong checksum")
    clear = image.info.get("transparency")
    if isinstance(clear, int) and image.mode == "L":
        image.info["transparency"] = clear * PNG_STEPS.get(str(image.tile[0].args), 1)


def _orientation(image: Image.Image) -> int:
    """What EXIF or XMP says, or 1 (upright) where they cannot be read."""
    if image.info.keys().isdisjoint(METADATA) and not hasattr(image, "tag_v2"):
        return 1  # at a tenth of what it takes Pillow to say so
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # Pillow's parser raises whatever it stumbles over
        return 1
    return found if isinstance(found, int) else 1


def _to_gray_or_rgb(image: Image.Image, *, inverted: bool) -> Image.Image:
    clear = image.info.get("transparency")
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image, clear, inverted=inverted)
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
    return image if image.mode == "L" else image.convert("RGB")


def _gray_with_alpha(
    image: Image.Image, profile: bytes | None
) -> tuple[Image.Image, bytes | None]:
    """Mode LA as RGBA, by its profile if that is one of gray; and the profile still to be used."""
    gray, alpha = image.split()
    converted = to_srgb(gray, profile) if profile else gray
    whole = Image.merge("LA", (converted, alpha)).convert("RGBA")
    return whole, profile if converted is gray else None


def _to_8_bit(image: Image.Image, clear: object, *, inverted: bool) -> Image.Image:
    """Gray of other than 8 bits as "L", or "LA" where one value stands for transparent."""
    values = np.asarray(image)
    gray = _from_float(values) if image.mode == "F" else _from_16_bit(values)
    narrow = Image.fromarray(255 - gray if inverted else gray)  # Pillow inverts 8 bits only
    if not isinstance(clear, int):
        return narrow
    narrow.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return narrow


def _from_16_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """[0, 65535] to [0, 255], rounded: 65535 / 257 is 255."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise RejectedImage("unknown_range", f"integers in [{low}, {high}], not in [0, 65535]")
    return ((values.astype(np.int32) + 128) // 257).astype(np.uint8)


def _from_float(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    real = values.astype(np.float64)
    if not (np.isfinite(real).all() and real.min() >= 0 and real.max() <= 1):
        found = f"[{real.min():g}, {real.max():g}]"
        raise RejectedImage("unknown_range", f"floats in {found}, not in [0, 1]")
    return np.rint(real * 255).astype(np.uint8)

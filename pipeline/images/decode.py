"""Decode an image file to the RGB pixels that its viewer would see.

Every reader of pictures calls a function of this module, so that all of them
see the same pixels.
"""

from __future__ import annotations

import logging
import re
import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from pipeline.errors import RejectedImage, in_words
from pipeline.images.bmp import check_bmp, without_blank_alpha
from pipeline.images.jpeg import has_end
from pipeline.images.jpeg2000 import profile_in
from pipeline.images.modes import BACKGROUND, to_gray_or_rgb
from pipeline.images.orientation import upright
from pipeline.images.png import check_png
from pipeline.images.tiff import LACKING_CODECS, check_tiff, samples_of
from pipeline.sources.content import content
from pipeline.sources.place import Place, check_size

# decoders of untrusted files, by Pillow's module; its others include one that starts Ghostscript
FORMATS = {
    "JPEG": "Jpeg",  # and MPO
    "PNG": "Png",
    "AVIF": "Avif",
    "BMP": "Bmp",
    "GIF": "Gif",
    "JPEG2000": "Jpeg2K",
    "PPM": "Ppm",
    "TIFF": "Tiff",
    "WEBP": "WebP",
}
for module in FORMATS.values():
    import_module(f"PIL.{module}ImagePlugin")
KNOWN = tuple(name for name in FORMATS if name in Image.OPEN)  # to this build of Pillow
FOREIGN = {  # what a file begins with, at which byte; to say what it is
    "a HEIC photo": (4, (b"ftyphe", b"ftypmif1", b"ftypmif2", b"ftypmsf1")),
    "a TGA picture": (0, tuple(bytes([0, 0, kind, 0, 0, 0, 0, 0]) for kind in (2, 3, 10, 11))),
    "an icon or a cursor": (0, (b"\0\0\1\0", b"\0\0\2\0", b"icns")),
    "a camera's raw photo": (0, (b"IIRO", b"IIU\0", b"FUJIFILMCCD-RAW")),
    "a raw photo of Canon's": (4, (b"ftypcrx ",)),
    "a PAM or PFM picture": (0, (b"P7\n", b"PF\n")),
    "a QOI picture": (0, (b"qoif",)),
    "a picture of high dynamic range": (0, (b"v/1\x01", b"#?RADIANCE", b"#?RGBE")),
    "a DDS texture": (0, (b"DDS ",)),
    "a FITS picture": (0, (b"SIMPLE  =",)),
    "a DICOM picture": (128, (b"DICM",)),
    "a JPEG-LS picture": (0, (b"\xff\xd8\xff\xf7", b"\xff\xd8\xff\xe8\0\x20SPIFF")),
    "a JPEG XL picture": (0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    "a PDF document": (0, (b"%PDF",)),
    "PostScript": (0, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    "a Photoshop file": (0, (b"8BPS",)),
    "an SVG drawing": (0, (b"<svg", b"\xef\xbb\xbf<svg")),
}
LACKING = re.compile("[Uu]nsupported|not yet supported|unknown pixel mode|cannot handle")  # a kind
PngImagePlugin.MAX_TEXT_CHUNK = 2**24  # bytes, unpacked: some printers' profiles have millions
warnings.filterwarnings("ignore", module=r"PIL\.")  # they name no file; what fails is rejected
logging.getLogger("PIL").addHandler(logging.NullHandler())  # nor does what it logs

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

    The EXIF orientation is applied.  Modes become RGB as `to_gray_or_rgb` says,
    and gray is repeated over the channels.  Metadata that cannot be read is left
    out of account, as viewers do.

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
    return decode_bytes(content(place, limits.file_bytes if limits else None), limits)


def decode_bytes(encoded: bytes, limits: Limits | None = DEFAULT_LIMITS) -> Pixels:
    """Decode the bytes of an image file as `decode` does.

    Raises:
        RejectedImage: As `decode` does.
    """
    return as_pixels(image_of(encoded, limits))


def as_pixels(image: Image.Image) -> Pixels:
    """An image of mode L or RGB as `decode` returns it."""
    pixels = np.asarray(image)
    if image.mode == "RGB":
        return pixels
    return np.broadcast_to(pixels[..., np.newaxis], (*pixels.shape, 3))


def is_gray(pixels: Pixels) -> bool:
    """Whether the channels are equal, as `decode` repeats one, or as a file may hold them.

    A colour picture is told by a few of its pixels.
    """
    if pixels.strides[2] == 0:
        return True
    for seen in (pixels[::8, ::8], pixels):
        red, green, blue = (seen[..., channel] for channel in range(3))
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            return False
    return True


def image_of(encoded: bytes, limits: Limits | None) -> Image.Image:
    """What `decode_bytes` reads, before it becomes an array: an image of mode L or RGB.

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
        words = in_words(error)
        if "out of memory" in words:
            raise RejectedImage("too_large", words) from error
        raise _refused(words, words) from error


def _unidentified(encoded: bytes) -> RejectedImage:
    for kind, (at, beginnings) in FOREIGN.items():
        if encoded.startswith(beginnings, at):
            return RejectedImage("unsupported_format", f"is {kind}; save it as PNG or JPEG")
    for name in KNOWN:
        if Image.OPEN[name][1](encoded[:16]):  # type: ignore[misc]  # each of ours has such a test
            fault = f"begins as {name} does, but cannot be read as one"
            return _refused(f"{name}: {_plugin_words(name, encoded)}", fault)
    return RejectedImage("not_an_image", "no image format that Pillow knows")


def _plugin_words(name: str, encoded: bytes) -> str:
    """Why Pillow's reader of a format refuses a file, which `Image.open` does not pass on."""
    try:
        Image.OPEN[name][0](BytesIO(encoded), "")
    except Exception as error:  # noqa: BLE001  # its words are all that is wanted
        words = in_words(error)
        codec = LACKING_CODECS.get(words)
        return f"unsupported compression {codec}" if codec else words
    return ""


def _refused(words: str, fault: str) -> RejectedImage:
    """`unsupported_format` where Pillow's words say that it lacks the kind, or else `damaged`."""
    if LACKING.search(words):
        return RejectedImage("unsupported_format", f"{words}; save it as PNG")
    return RejectedImage("damaged", fault)


def _upright(encoded: bytes, limits: Limits | None) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = limits.pixels if limits else None  # of the formats within formats
    with Image.open(BytesIO(encoded), formats=KNOWN) as image:
        if limits:
            _check_size(image, limits)
            _check_frames(image, encoded, limits)
        if image.format == "PNG":
            check_png(image, encoded)
        if image.format == "TIFF":
            check_tiff(getattr(image, "tag_v2", {}), encoded)
        if image.format == "BMP":
            check_bmp(image, encoded)
        if image.format == "JPEG2000" and (profile := profile_in(encoded)):
            image.info["icc_profile"] = profile
        drawn = getattr(image, "dispose_extent", None)  # of a GIF
        image.load()
        if image.format in {"JPEG", "MPO"} and not has_end(encoded):
            raise RejectedImage("damaged", "JPEG without an end mark: part of it may be missing")
        samples = samples_of(getattr(image, "tag_v2", {}))
        whole = without_blank_alpha(image) if image.format == "BMP" else image
        converted = to_gray_or_rgb(upright(whole), samples)
        return converted if drawn is None else _on_canvas(converted, drawn)


def _check_size(image: Image.Image, limits: Limits) -> None:
    if image.width * image.height > limits.pixels:
        size = f"{image.width} x {image.height}"
        raise RejectedImage("too_large", f"{size} pixels, more than {limits.pixels:,}")


def _on_canvas(image: Image.Image, drawn: tuple[int, int, int, int]) -> Image.Image:
    """A GIF's first frame alone, the canvas around it transparent as viewers have it."""
    if drawn == (0, 0, *image.size):
        return image
    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(image.crop(drawn), drawn)
    return canvas


def _check_frames(image: Image.Image, encoded: bytes, limits: Limits) -> None:
    if image.format in {"TIFF", "GIF"}:  # to count leaves a later one's profile behind
        with Image.open(BytesIO(encoded), formats=[image.format]) as another:
            frames = getattr(another, "n_frames", 1)
    else:
        frames = getattr(image, "n_frames", 1)
    if frames > limits.frames:
        raise RejectedImage("too_many_frames", f"{frames:,} frames, more than {limits.frames:,}")

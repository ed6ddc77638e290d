"""What Pillow and libtiff say nothing of: pixels that a TIFF lacks, or that they would mistake.

Tags as in https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.errors import RejectedImage
from pipeline.images.jpeg import has_end
from pipeline.images.modes import WIDEST, Samples

WIDTH, HEIGHT, BITS, COMPRESSION = 256, 257, 258, 259
STRIPS = (273, 279)  # where each begins, and its bytes
TILES = (324, 325)
SAMPLES, ROWS, PLANAR, TILE_WIDTH, TILE_HEIGHT = 277, 278, 284, 322, 323
PHOTOMETRIC, FORMAT = 262, 339  # what a sample means, and its sort
MIN_IS_WHITE, PALETTE, YCC, LAB = 0, 3, 6, 8
SIGNED, FLOAT = 2, 3
SUBFILE, SUBFILES, REDUCED = 254, 330, 1  # what a page is, and those within it
COLOURS, RAW_PHOTO = 320, 50706
RAW, JPEG, DEFLATE, WEBP = {1}, {7}, {8, 32946}, {50001}
LACKING_CODECS = {  # compressions that Pillow has no name for: of them it says the number alone
    "33003": "JPEG 2000",
    "33005": "JPEG 2000",
    "34661": "JBIG",
    "34712": "JPEG 2000",
    "34887": "LERC",
    "34892": "JPEG of a raw photo",
    "34933": "PNG",
    "34934": "JPEG XR",
    "50002": "JPEG XL",
    "52546": "JPEG XL",
}
SEPARATE = 2  # a plane for each sample
AT_ONCE = 2**20  # bytes unpacked to see whether there are more


def check_tiff(tags: Mapping[int, Any], encoded: bytes) -> None:
    """Look at the first page of a TIFF.

    Args:
        tags: Of that page.

    Raises:
        RejectedImage: Part of the pixels is not there, or Pillow would mistake them.
    """
    samples, planes = _number(tags, SAMPLES, 1), 1
    if samples > 1 and _number(tags, PLANAR, 1) == SEPARATE:
        planes = samples
        wide = np.max(np.atleast_1d(tags.get(BITS, 1))) > 8
        if samples == 2 or (wide and _number(tags, COMPRESSION, 1) in RAW):
            reason = "is a TIFF of separate planes, of two or of 16 bits, which Pillow mistakes"
            raise RejectedImage("unsupported_format", f"{reason}; save it with one plane")
    if fault := _fault_of_kind(tags, planes, encoded):
        raise RejectedImage("unsupported_format", f"is a TIFF {fault}; save it as PNG")
    width, height = _number(tags, WIDTH), _number(tags, HEIGHT)
    begins, sizes = TILES if TILES[0] in tags else STRIPS
    if begins == TILES[0]:
        across, down = _number(tags, TILE_WIDTH), _number(tags, TILE_HEIGHT)
        expected = math.ceil(width / across) * math.ceil(height / down)
    else:
        expected = math.ceil(height / min(height, _number(tags, ROWS, height)))
    offsets = np.atleast_1d(tags.get(begins, []))
    counts = np.atleast_1d(tags.get(sizes, np.full(len(offsets), len(encoded))))
    expected *= planes
    there = int(np.count_nonzero(offsets[:expected])), int(np.count_nonzero(counts[:expected]))
    if len(offsets) > expected:
        raise RejectedImage("damaged", f"TIFF of {len(offsets)} pieces where {expected} make it")
    if min(there) < expected:
        reason = f"TIFF that holds {min(there)} of its {expected} pieces"
        raise RejectedImage("damaged", reason)
    whole = {**dict.fromkeys(DEFLATE, _is_unpacked), **dict.fromkeys(JPEG, has_end)}
    is_whole = whole.get(_number(tags, COMPRESSION, 1))
    pieces = zip(offsets[:expected].tolist(), counts[:expected].tolist(), strict=True)
    for number, (begin, size) in enumerate(pieces, start=1):
        if is_whole and not is_whole(encoded[begin : begin + size]):
            raise RejectedImage("damaged", f"piece {number} of {expected} of a TIFF is not whole")


def _fault_of_kind(tags: Mapping[int, Any], planes: int, encoded: bytes) -> str:
    """What Pillow takes for something else, in words."""
    meaning, raw = _number(tags, PHOTOMETRIC), _number(tags, COMPRESSION, 1) in RAW
    if RAW_PHOTO in tags or (_number(tags, SUBFILE) & REDUCED and SUBFILES in tags):
        return "of a camera's raw photo, of which only a small copy can be read"
    if _number(tags, COMPRESSION, 1) in WEBP:
        return "of WebP, for which Pillow's libtiff is seldom built"
    if meaning == YCC and raw:
        return "of YCbCr that is not compressed, which Pillow mistakes"
    if meaning == LAB and planes > 1:
        return "of CIELAB in separate planes, which Pillow mistakes"
    if meaning == PALETTE and 0 < np.max(np.atleast_1d(tags.get(COLOURS, 0))) < 256:
        return "with a palette of 8 bits where 16 belong, which Pillow mistakes"
    wide = _number(tags, BITS, 1) > 8 and _number(tags, FORMAT, 1) in {SIGNED, FLOAT}
    mistaken = wide and not raw and encoded.startswith(b"MM")
    fault = "of compressed floats or signed integers, high byte first, which Pillow mistakes"
    return fault if mistaken else ""


def samples_of(tags: Mapping[int, Any]) -> Samples:
    """What Pillow does not tell of a TIFF, of whose `tags` other formats have none."""
    if not tags:
        return Samples(WIDEST, inverted=False, signed=False)
    bits = np.atleast_1d(tags.get(BITS, 1))[0]
    signed = np.atleast_1d(tags.get(FORMAT, 1))[0] == SIGNED
    if signed and bits <= 8:  # with more, Pillow's values show their signs
        raise RejectedImage("unknown_range", f"integers of {bits} bits with a sign")
    highest = 2 ** int(bits) - 1 if 8 < bits < 16 else WIDEST
    inverted = tags.get(PHOTOMETRIC) == MIN_IS_WHITE
    return Samples(highest, inverted, signed=bool(signed))


def _is_unpacked(piece: bytes) -> bool:
    """Whether zlib comes to an end of its data, and to the checksum that they have."""
    stream = zlib.decompressobj()
    try:
        while not stream.eof and (stream.decompress(piece, AT_ONCE) or stream.unconsumed_tail):
            piece = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof


def _number(tags: Mapping[int, Any], tag: int, otherwise: int = 0) -> int:
    """The first value of a tag."""
    return int(np.atleast_1d(tags.get(tag, otherwise))[0])

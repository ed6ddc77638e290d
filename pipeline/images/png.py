"""What Pillow does not check of a PNG, or would mistake."""

from __future__ import annotations

import struct
import zlib

from PIL import ImageFile

from pipeline.errors import RejectedImage

SIGNATURE = 8  # bytes before the first chunk
HEAD, CRC = struct.Struct(">I4s"), struct.Struct(">I")
STEPS = {"L;2": 85, "L;4": 17}  # between levels of gray of few bits, once they are 8
ANCILLARY = 0x20  # bit of a name's first letter: a reader can do without the chunk


def check_png(image: ImageFile.ImageFile, encoded: bytes) -> None:
    """Check what Pillow does not: checksums and the end; and scale a level that it does not.

    Raises:
        RejectedImage: It is damaged, or Pillow would mistake it.
    """
    if fault := _fault(encoded):
        raise RejectedImage("damaged", f"PNG {fault}")
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and "16B" in str(image.tile[0].args):
        reason = "PNG with one transparent colour of 16 bits, which Pillow cannot tell from others"
        raise RejectedImage("unsupported_format", f"is {reason}; save it with an alpha channel")
    if isinstance(clear, int) and image.mode == "L":
        image.info["transparency"] = clear * STEPS.get(str(image.tile[0].args), 1)


def _fault(content: bytes) -> str:
    """What is wrong with the chunks that a picture needs, or "".

    https://www.w3.org/TR/png-3/#5Chunk-layout.
    """
    at, whole = SIGNATURE, memoryview(content)
    while at + 12 <= len(content):
        length, name = HEAD.unpack_from(content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            break
        if not name[0] & ANCILLARY:
            (crc,) = CRC.unpack_from(content, end)
            if zlib.crc32(whole[at + 4 : end]) != crc:
                shown = ascii(name.decode("latin-1")).strip("'")
                return f"chunk {shown} has a wrong checksum"
        if name == b"IEND":
            return ""
        at = end + 4
    return "ends before its last chunk does"

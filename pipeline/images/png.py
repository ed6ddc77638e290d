"""A PNG's end, and its checksums, which Pillow checks for its header but not for its pixels."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = 8  # bytes before the first chunk
HEAD, CRC = struct.Struct(">I4s"), struct.Struct(">I")
ANCILLARY = 0x20  # bit of a name's first letter: a reader can do without the chunk


def fault_of_png(content: bytes) -> str:
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

"""Checksums of a PNG, which Pillow checks for its header but not for its pixels."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = 8  # bytes before the first chunk
HEAD, CRC = struct.Struct(">I4s"), struct.Struct(">I")
ANCILLARY = 0x20  # bit of a name's first letter: a reader can do without the chunk


def broken_chunk(content: bytes) -> str | None:
    """The name of the first chunk that a picture needs and whose CRC-32 is wrong, or None.

    https://www.w3.org/TR/png-3/#5Chunk-layout.  A file that is cut short ends
    the search: its decoder finds that.
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
                return ascii(name.decode("latin-1")).strip("'")
        if name == b"IEND":
            break
        at = end + 4
    return None

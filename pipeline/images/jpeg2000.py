"""What Pillow mistakes of a JPEG 2000 file, or passes over.

Boxes and markers as in ITU-T T.800.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipeline.errors import RejectedImage

SIGNATURE = b"jP  "  # the first box of a file; a bare codestream has none
SIZE = b"\xff\x4f\xff\x51"  # the marker that begins a codestream, and that of its sizes
COMPONENTS = 40  # bytes from the start of both to how many there are
SIGN, DEPTH = 0x80, 0x7F  # bits of a component's byte: has it a sign, and its depth less one
ENUMERATED, PROFILES = 1, {2, 3}  # how a colour space is given
GRAY = 2  # components at most, one of them alpha
SPACES = {16, 17, 18}  # sRGB, gray of sRGB, and YCC
COLOUR, ALL = 0, (0, 65535)  # a channel's sort, and associations with no one colour


def profile_in(encoded: bytes) -> bytes | None:
    """The ICC profile that a file brings.

    Raises:
        RejectedImage: Pillow would mistake its samples or colours; or gray has a sign.
    """
    fault = _fault_of_depths(encoded)
    profile = None
    boxes = dict(_boxes(encoded, 0, len(encoded))) if encoded[4:8] == SIGNATURE else {}
    if span := boxes.get(b"jp2h"):
        inner = {kind: encoded[start:end] for kind, (start, end) in _boxes(encoded, *span)}
        colour = inner.get(b"colr", b"")
        if colour[:1] and colour[0] in PROFILES:
            profile = colour[3:]
        fault = fault or _fault_of_header(inner, colour)
    if fault:
        reason = f"is a JPEG 2000 file {fault}, which Pillow mistakes; save it as PNG"
        raise RejectedImage("unsupported_format", reason)
    return profile


def _fault_of_depths(encoded: bytes) -> str:
    at = encoded.find(SIZE) + COMPONENTS
    if at < COMPONENTS or at + 2 > len(encoded):
        return ""  # damaged, as Pillow will say
    (count,) = struct.unpack_from(">H", encoded, at)
    sizes = encoded[at + 2 : at + 2 + 3 * count : 3]
    depths = {(size & DEPTH) + 1 for size in sizes}
    signed = any(size & SIGN for size in sizes)
    if count <= GRAY and signed:  # Pillow moves its range to begin at 0
        raise RejectedImage("unknown_range", f"integers of {max(depths)} bits with a sign")
    if min(depths, default=8) < 8:
        return "of less than 8 bits"
    if max(depths, default=8) > 8 and (count > 1 or min(depths) == 9):
        return "of colours, or gray with alpha, of more than 8 bits" if count > 1 else "of 9 bits"
    return ""


def _fault_of_header(inner: dict[bytes, bytes], colour: bytes) -> str:
    if b"pclr" in inner:
        return "with a palette"
    if len(colour) >= 7 and colour[0] == ENUMERATED:
        (space,) = struct.unpack_from(">I", colour, 3)
        if space not in SPACES:
            return f"of the colour space {space}"
    channels = inner.get(b"cdef", b"")[2:]
    whole = len(channels) // 6 * 6
    for number, sort, which in struct.iter_unpack(">HHH", channels[:whole]):
        if sort == COLOUR and which not in {*ALL, number + 1}:
            return "of colours in an order of its own"
    return ""


def _boxes(encoded: bytes, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Each kind of box and where its content lies; of one kind the first, at the end."""
    found: dict[bytes, tuple[int, int]] = {}
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", encoded, at)
        start = at + 8
        if size == 1 and at + 16 <= end:
            (size,) = struct.unpack_from(">Q", encoded, start)
            start = at + 16
        after = end if size == 0 else at + size
        if after < start or after > end:
            break
        found.setdefault(kind, (start, after))
        at = after
    yield from found.items()

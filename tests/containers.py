"""Image files written by hand, byte for byte, where Pillow's writers would write a sound one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"
D50 = (0.9642, 1.0, 0.8249)
SRGB_PRIMARIES = (  # XYZ under D50 of red, green and blue, IEC 61966-2-1
    (0.4360747, 0.2225045, 0.0139322),
    (0.3850649, 0.7168786, 0.0971045),
    (0.1430804, 0.0606169, 0.7141733),
)
SHORT, LONG, RATIONAL = 3, 4, 5  # of TIFF
SIZES = {SHORT: "H", LONG: "I"}


def chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    """A chunk of a PNG; its checksum is right unless one is given."""
    check = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    before: bytes = b"",
    end: bytes | None = None,
) -> bytes:
    """A PNG of unfiltered rows, each without its filter byte; `before` stands before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    length = len(rows) // height if height else 0
    plain = b"".join(b"\0" + rows[at : at + length] for at in range(0, len(rows), length or 1))
    closing = chunk(b"IEND", b"") if end is None else end
    return PNG + chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(plain)) + closing


def png_of_claimed_size(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data does not have."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return PNG + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def tiff(
    tags: Mapping[int, tuple[int, Sequence[int]]],
    data: bytes,
    *,
    order: str = "<",
    next_page: int = 0,
) -> bytes:
    """A TIFF of one page; its data begin at byte 8, its directory follows them."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    data += b"\0" * (len(data) % 2)
    directory = 8 + len(data)
    far = directory + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}{SIZES[kind]}", *numbers)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", far + len(values))
            values += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + place
    count = struct.pack(f"{order}H", len(tags))
    following = struct.pack(f"{order}I", next_page)
    return mark + struct.pack(f"{order}I", directory) + data + count + entries + following + values


def plain_tiff(pixels: np.ndarray, photometric: int, **options: object) -> bytes:
    """A TIFF of uncompressed (height, width[, channel]) pixels in one strip."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    bits = pixels.dtype.itemsize * 8
    data = pixels.tobytes()
    tags = {
        256: (LONG, [pixels.shape[1]]),
        257: (LONG, [pixels.shape[0]]),
        258: (SHORT, [bits] * channels),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        273: (LONG, [8]),
        277: (SHORT, [channels]),
        278: (LONG, [pixels.shape[0]]),
        279: (LONG, [len(data)]),
        **options.pop("tags", {}),  # type: ignore[arg-type]
    }
    return tiff(tags, data, **options)  # type: ignore[arg-type]


def bmp(
    width: int,
    height: int,
    bits: int,
    data: bytes,
    *,
    compression: int = 0,
    palette: bytes = b"",
    masks: bytes = b"",
) -> bytes:
    """A BMP with the header of Windows 3."""
    extra = masks + palette
    header = struct.pack(
        "<IiiHHIIiiII",
        40,
        width,
        height,
        1,
        bits,
        compression,
        len(data),
        0,
        0,
        len(palette) // 4,
        0,
    )
    start = 14 + len(header) + len(extra)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + header + extra + data


def gif(width: int, height: int, frames: int = 1, *, tail: bytes = b";") -> bytes:
    """A GIF whose frames are one black pixel each."""
    palette = bytes([0, 0, 0, 255, 255, 255])
    frame = b"!\xf9\x04\0\x0a\0\0\0," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\0"
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
        + palette
        + frame * frames
        + tail
    )


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of some chunks."""
    body = b"WEBP"
    for kind, content in chunks:
        body += kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def icon(picture: bytes, width: int, height: int) -> bytes:
    """An icon that holds a PNG."""
    entry = struct.pack("<BBBBHHII", width % 256, height % 256, 0, 0, 1, 32, len(picture), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + picture


def box(kind: bytes, content: bytes) -> bytes:
    """A box of a JPEG 2000 file."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def jp2(encoded: bytes, boxes: bytes) -> bytes:
    """A JPEG 2000 file with other boxes behind the first one of its header."""
    at = encoded.index(b"jp2h") - 4
    (size,) = struct.unpack_from(">I", encoded, at)
    first = encoded[at + 8 : at + 30]  # ihdr
    return encoded[:at] + box(b"jp2h", first + boxes) + encoded[at + size :]


def segments(jpeg: bytes) -> list[tuple[int, bytes]]:
    """The marker segments of a JPEG before its first scan, and the rest under marker 0."""
    found, at = [], 2
    while jpeg[at + 1] != 0xDA:
        length = struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        found.append((jpeg[at + 1], jpeg[at : at + 2 + length]))
        at += 2 + length
    return [*found, (0, jpeg[at:])]


def joined(parts: Sequence[tuple[int, bytes]]) -> bytes:
    """A JPEG of such segments."""
    return b"\xff\xd8" + b"".join(body for _, body in parts)


def matrix_profile(
    primaries: Sequence[Sequence[float]] = SRGB_PRIMARIES, *, linear: bool = False
) -> bytes:
    """An ICC profile of a display with such primaries and the curve of sRGB, or none."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = {
        name: b"XYZ \0\0\0\0" + _fixed(*xyz) for name, xyz in zip(names, primaries, strict=True)
    }
    curve = _curve(linear=linear)
    return _profile(b"RGB ", {**tags, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def gray_profile(*, linear: bool) -> bytes:
    """An ICC profile of gray with the curve of sRGB, or none."""
    return _profile(b"GRAY", {b"kTRC": _curve(linear=linear)})


def ink_profile(lightness: Mapping[tuple[int, int, int, int], int]) -> bytes:
    """An ICC profile of four inks: the lightness (0 to 100) of each full combination, no hue."""
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    table = b"".join(bytes([round(lightness[ink] * 2.55), 128, 128]) for ink in corners)
    straight = bytes(range(256))
    body = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    body += straight * 4 + table + straight * 3
    return _profile(b"CMYK", {b"A2B0": body}, kind=b"prtr", connection=b"Lab ")


def _curve(*, linear: bool) -> bytes:
    if linear:
        return b"curv\0\0\0\0" + struct.pack(">I", 0)
    signal = np.arange(4096) / 4095
    light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    levels = np.rint(light * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(levels)) + levels.tobytes()


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def _profile(
    space: bytes,
    tags: Mapping[bytes, bytes],
    *,
    kind: bytes = b"mntr",
    connection: bytes = b"XYZ ",
) -> bytes:
    white = b"XYZ \0\0\0\0" + _fixed(*D50)
    name = b"made up\0"
    words = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)
    every = {b"desc": words, b"wtpt": white, b"cprt": b"text\0\0\0\0none\0", **tags}
    table, bodies = struct.pack(">I", len(every)), b""
    start = 128 + 4 + 12 * len(every)
    for tag, body in every.items():
        table += tag + struct.pack(">II", start + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    size = start + len(bodies)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, kind, space, connection)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + bytes(4)
    header += _fixed(*D50)
    return header.ljust(128, b"\0") + table + bodies

"""Odd and bad image files and places, each with its pixels or its reason for rejection.

Expected pixels are computed from the arrays that a file was written from, by
the rules of the formats, and never by the decoder that is tested.  A picture is
8-bit RGB; `near` says by how many levels lossy codecs and colour arithmetic may
stray.
"""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms, features

from tests import containers as made

WHITE = 255
RANDOM = np.random.default_rng(7)
COLOURS = RANDOM.integers(0, 256, (5, 7, 3)).astype(np.uint8)  # (height, width, channel)
GRAYS = RANDOM.integers(0, 256, (5, 7)).astype(np.uint8)
SOFT = np.minimum(np.mgrid[0:48, 0:64].sum(axis=0)[..., None] * [1, 2, 1] + [40, 10, 120], 255)
SOFT = SOFT.astype(np.uint8)  # what JPEG keeps within a few levels
NOISE = RANDOM.integers(0, 256, (48, 64, 3)).astype(np.uint8)
ORIENTATION = 0x0112
DAMAGED = ("damaged",)
UNSUPPORTED = ("unsupported_format",)
REFUSED = ("too_large", "damaged")  # which comes first is the decoder's affair
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


class Kind(NamedTuple):
    """One file: its content, and its pixels or the reasons one of which it is rejected for."""

    name: str
    content: bytes
    expected: np.ndarray | tuple[str, ...]
    near: int = 0


Group = Callable[[], Iterator[Kind]]


def kinds(*, leave_out: Collection[Group] = ()) -> list[Kind]:
    """Every kind that this Pillow can write, but for some groups."""
    groups: tuple[Group, ...] = (
        orientations,
        grays,
        palettes,
        odd_samples,
        much_metadata,
        transparencies,
        inks,
        profiles,
        animations,
        jpegs,
        tiffs,
        unread,
        mistaken_tiffs,
        mistaken_bitmaps,
        mistaken_jpeg_2000,
        signed_jpeg_2000,
        bitmaps,
        other_formats,
        smallest,
        not_images,
        bombs,
        damaged,
        truncated,
    )
    return [kind for group in groups if group not in leave_out for kind in group()]


def saved(picture: np.ndarray | Image.Image, form: str, **options: Any) -> bytes:
    """A file as Pillow writes it."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def rgb(gray: np.ndarray) -> np.ndarray:
    """Gray over three channels."""
    return np.stack([gray] * 3, axis=-1)


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours through which white shows."""
    share = alpha[..., None] / 255
    return np.rint(colours * share + WHITE * (1 - share)).astype(np.uint8)


def exif(orientation: int) -> Image.Exif:
    """Metadata that say how a picture is to be turned."""
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found


def orientations() -> Iterator[Kind]:
    """How a camera was held."""
    for number, upright in UPRIGHT.items():
        png = saved(COLOURS, "PNG", exif=exif(number))
        yield Kind(f"PNG, orientation {number}", png, upright(COLOURS))
        jpeg = saved(SOFT, "JPEG", quality=100, subsampling=0, exif=exif(number))
        yield Kind(f"JPEG, orientation {number}", jpeg, upright(SOFT), 3)
        page = made.plain_tiff(COLOURS, 2, tags={274: (made.SHORT, [number])})
        yield Kind(f"TIFF, orientation {number}", page, upright(COLOURS))
        packed = saved(COLOURS, "TIFF", compression="tiff_lzw", tiffinfo={274: number})
        yield Kind(f"TIFF of LZW, orientation {number}", packed, upright(COLOURS))
    webp = saved(COLOURS, "WEBP", lossless=True, exif=exif(8))
    yield Kind("WebP, orientation 8", webp, UPRIGHT[8](COLOURS))
    yield Kind("orientation 9, which is none", saved(COLOURS, "PNG", exif=exif(9)), COLOURS)
    yield Kind(
        "EXIF that is noise", saved(COLOURS, "PNG", exif=b"Exif\0\0" + b"\x99" * 60), COLOURS
    )
    soft = saved(SOFT, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    yield Kind("EXIF that points outside", soft, SOFT, 3)
    cut = saved(SOFT, "JPEG", quality=100, subsampling=0, exif=exif(6).tobytes()[:20])
    yield Kind("EXIF that is cut short", cut, SOFT, 3)
    packet = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    xmp = saved(SOFT, "JPEG", quality=100, subsampling=0, xmp=packet)
    yield Kind("orientation in XMP", xmp, UPRIGHT[3](SOFT), 3)


def grays() -> Iterator[Kind]:
    """One channel of every depth."""
    ramp = np.arange(16, dtype=np.uint8)[None]
    for depth in (1, 2, 4, 8):
        levels = ramp & np.uint8((1 << depth) - 1)
        bits = np.unpackbits(levels[..., None], axis=-1)[..., -depth:].ravel()
        rows = np.packbits(bits).tobytes()
        expected = rgb(levels * (255 // ((1 << depth) - 1)))
        yield Kind(f"gray PNG of {depth} bits", made.png(16, 1, rows, depth=depth), expected)
    wide = np.array([[0, 1, 128, 129, 257, 32767, 65407, 65535]], np.uint16)
    narrow = rgb(np.floor(wide / 257 + 0.5).astype(np.uint8))
    sixteen = made.png(8, 1, wide.astype(">u2").tobytes(), depth=16)
    yield Kind("gray PNG of 16 bits", sixteen, narrow)
    yield Kind("gray TIFF of 16 bits", made.plain_tiff(wide, 1), narrow)
    big = made.plain_tiff(wide.astype(">u2"), 1, order=">")
    yield Kind("gray TIFF of 16 bits, big-endian", big, narrow)
    yield Kind("inverted gray TIFF of 16 bits", made.plain_tiff(wide, 0), 255 - narrow)
    yield Kind("inverted gray TIFF of 8 bits", made.plain_tiff(GRAYS, 0), rgb(255 - GRAYS))
    bits = {258: (made.SHORT, [1]), 256: (made.LONG, [16])}
    page = made.plain_tiff(np.array([[0b10100000, 0b00000011]], np.uint8), 0, tags=bits)
    black = np.array([[1, 0, 1, *[0] * 11, 1, 1]])
    yield Kind(
        "inverted TIFF of 1 bit, as of a fax", page, rgb((1 - black) * 255).astype(np.uint8)
    )
    for name, dtype, number in (("32", np.uint32, 1), ("signed 32", np.int32, 2)):
        tags = {339: (made.SHORT, [number])}
        integers = made.plain_tiff(wide.astype(dtype), 1, tags=tags)
        yield Kind(f"gray TIFF of {name} bits", integers, narrow)
    signed = {339: (made.SHORT, [2])}
    small = np.array([[0, 257, 32767]], np.int16)
    page = made.plain_tiff(small, 1, tags=signed)
    yield Kind("gray TIFF of signed 16 bits", page, rgb(np.array([[0, 1, 127]], np.uint8)), 1)
    for name, low, high in (("negative", -1, 5), ("large", 0, 65536)):
        page = made.plain_tiff(np.array([[low, high]], np.int32), 1, tags=signed)
        yield Kind(f"{name} integers", page, ("unknown_range",))
    real = {339: (made.SHORT, [3])}
    floats = np.array([[0, 0.25, 0.5, 1]])
    eight = rgb(np.array([[0, 64, 128, 255]], np.uint8))
    page = made.plain_tiff(floats.astype(np.float32), 1, tags=real)
    yield Kind("gray TIFF of floats", page, eight)
    page = made.plain_tiff(floats, 1, tags=real)
    yield Kind("gray TIFF of floats of 64 bits", page, UNSUPPORTED)
    page = made.plain_tiff(floats.astype(np.float32), 0, tags=real)
    yield Kind("inverted gray TIFF of floats", page, 255 - eight)
    for name, value in (("NaN", np.nan), ("infinite", np.inf), ("negative", -0.1), ("large", 1.5)):
        page = made.plain_tiff(np.array([[0, value]], np.float32), 1, tags=real)
        yield Kind(f"{name} float", page, ("unknown_range",))
    yield Kind("PGM of 16 bits", b"P5 8 1 65535\n" + wide.astype(">u2").tobytes(), narrow)
    yield Kind("PGM of 4 bits", b"P5 3 1 15\n\0\x05\x0f", rgb(np.array([[0, 85, 255]], np.uint8)))
    yield Kind("PGM as text", b"P2 # words\n3 1 255 7 8\n9", rgb(np.array([[7, 8, 9]], np.uint8)))
    yield Kind("PBM as text", b"P1 4 1 1 0 0 1", rgb(np.array([[0, 255, 255, 0]], np.uint8)))
    portable = b"Pf 4 1 -1.0\n" + floats.astype("<f4").tobytes()
    yield Kind("PFM", portable, eight)


def palettes() -> Iterator[Kind]:
    """Colours by number."""
    colours = RANDOM.integers(0, 256, (4, 3)).astype(np.uint8)
    numbers = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
    image = Image.fromarray(numbers, mode="P")
    image.putpalette(colours.ravel().tolist())
    shown = colours[numbers]
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        yield Kind(f"{form} with a palette", saved(image, form), shown)
    alpha = np.array([0, 128, 255, 255])
    half = saved(image, "PNG", transparency=bytes([0, 128]))
    expected = over_white(shown, alpha[numbers])
    yield Kind("PNG with a palette, two entries transparent", half, expected, 1)
    one = np.where(numbers[..., None] == 2, WHITE, shown)
    yield Kind("GIF with a transparent entry", saved(image, "GIF", transparency=2), one)
    yield Kind("PNG with a transparent entry", saved(image, "PNG", transparency=2), one)
    two = made.chunk(b"PLTE", colours[:2].tobytes())
    png = made.png(8, 1, b"\x0f", depth=1, colour=3, before=two)
    yield Kind("PNG with a palette of 1 bit", png, colours[np.array([[0] * 4 + [1] * 4])])
    png = made.png(8, 1, b"\x0f", depth=1, colour=3)
    yield Kind("PNG without its palette", png, DAMAGED)


def odd_samples() -> Iterator[Kind]:
    """Gray that Pillow gives other values than the file means."""
    page = made.plain_tiff(GRAYS, 1, tags={339: (made.SHORT, [2])})
    yield Kind("gray TIFF of 8 bits with a sign", page, ("unknown_range",))
    tags = {258: (made.SHORT, [12]), 256: (made.LONG, [2])}
    page = made.plain_tiff(np.array([[0xFF, 0xF8, 0x00]], np.uint8), 1, tags=tags)
    yield Kind("gray TIFF of 12 bits", page, rgb(np.array([[255, 128]], np.uint8)))
    tone = made.chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    like = struct.pack(">3H", 0x1299, 0x5699, 0x9A99)
    png = made.png(1, 1, like, depth=16, colour=2, before=tone)
    yield Kind("PNG of 16 bits with a transparent colour", png, ("unsupported_format",))


def much_metadata() -> Iterator[Kind]:
    """More than Pillow reads unless it is told: some printers' profiles have millions of bytes."""
    for name, head in ((b"zTXt", b"words\0\0"), (b"iCCP", b"name\0\0")):
        much = made.chunk(name, head + zlib.compress(bytes(4_000_000), 9))
        png = made.png(7, 5, COLOURS.tobytes(), colour=2, before=much)
        yield Kind(f"PNG with 4 MB of {name.decode()}", png, COLOURS)


def transparencies() -> Iterator[Kind]:
    """Pictures that white shines through."""
    alpha = RANDOM.integers(0, 256, GRAYS.shape).astype(np.uint8)
    alpha[0, :2] = 0, 255
    colours = np.dstack([COLOURS, alpha])
    expected = over_white(COLOURS, alpha)
    for form, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        yield Kind(f"{form} with alpha", saved(colours, form, **options), expected, 1)
    gray = Image.merge("LA", [Image.fromarray(GRAYS), Image.fromarray(alpha)])
    yield Kind("gray PNG with alpha", saved(gray, "PNG"), over_white(rgb(GRAYS), alpha), 1)
    deep = np.dstack([GRAYS.astype(">u2") * 257, alpha.astype(">u2") * 257])
    png = made.png(7, 5, deep.astype(">u2").tobytes(), depth=16, colour=4)
    yield Kind("gray PNG of 16 bits with alpha", png, over_white(rgb(GRAYS), alpha), 1)
    png = made.png(7, 5, (colours.astype(">u2") * 257).astype(">u2").tobytes(), depth=16, colour=6)
    yield Kind("PNG of 16 bits with alpha", png, expected, 1)
    tone = made.chunk(b"tRNS", struct.pack(">3H", *COLOURS[2, 3]))
    png = made.png(7, 5, COLOURS.tobytes(), colour=2, before=tone)
    clear = (COLOURS[2, 3] == COLOURS).all(axis=-1, keepdims=True)
    yield Kind("PNG with a transparent colour", png, np.where(clear, WHITE, COLOURS))
    tone = made.chunk(b"tRNS", struct.pack(">H", GRAYS[1, 1]))
    png = made.png(7, 5, GRAYS.tobytes(), before=tone)
    yield Kind(
        "gray PNG with a transparent level", png, rgb(np.where(GRAYS[1, 1] == GRAYS, WHITE, GRAYS))
    )
    wide = np.array([[5, 300, 300, 60000]], ">u2")
    tone = made.chunk(b"tRNS", struct.pack(">H", 300))
    png = made.png(4, 1, wide.tobytes(), depth=16, before=tone)
    yield Kind(
        "gray PNG of 16 bits with a transparent level",
        png,
        rgb(np.array([[0, 255, 255, 233]], np.uint8)),
    )
    tone = made.chunk(b"tRNS", struct.pack(">H", 0))
    png = made.png(8, 1, b"\x0f", depth=1, before=tone)
    yield Kind("PNG of 1 bit with a transparent level", png, rgb(np.full((1, 8), 255, np.uint8)))
    level = made.chunk(b"tRNS", struct.pack(">H", 5))
    png = made.png(2, 1, b"\x5a", depth=4, before=level)
    yield Kind(
        "PNG of 4 bits with a transparent level", png, rgb(np.array([[255, 170]], np.uint8))
    )
    solid = np.where(alpha > 200, alpha, 255).astype(np.uint8)
    premultiplied = np.rint(COLOURS * (solid[..., None] / 255)).astype(np.uint8)
    page = made.plain_tiff(np.dstack([premultiplied, solid]), 2, tags={338: (made.SHORT, [1])})
    shade = rgb(GRAYS)
    dimmed = (GRAYS.astype(np.uint16) * solid // 255).astype(np.uint8)
    grays = made.plain_tiff(np.dstack([dimmed, solid]), 1, tags={338: (made.SHORT, [1])})
    yield Kind("gray TIFF with premultiplied alpha", grays, over_white(shade, solid), 2)
    yield Kind("TIFF with premultiplied alpha", page, over_white(COLOURS, solid), 2)
    masked = np.dstack([COLOURS[..., ::-1], alpha])[::-1]
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 7, 5, 1, 32, 3, masked.size, 0, 0, 0, 0) + masks
    header = header.ljust(108, b"\0")
    bitmap = (
        struct.pack("<2sIHHI", b"BM", 122 + masked.size, 0, 0, 122) + header + masked.tobytes()
    )
    yield Kind("BMP with alpha", bitmap, expected, 1)


def inks() -> Iterator[Kind]:
    """Cyan, magenta, yellow and black."""
    amounts = np.zeros((16, 64, 4), np.uint8)  # flat fields, which JPEG keeps
    for place, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]):
        amounts[:, 16 * place : 16 * place + 16] = ink
    image = Image.frombytes("CMYK", (64, 16), amounts.tobytes())
    colours = [(255, 255, 255), (0, 255, 255), (255, 0, 0), (0, 0, 0)]
    shown = np.repeat(np.array([colours], np.uint8), 16, axis=1).repeat(16, axis=0)
    yield Kind("CMYK TIFF", saved(image, "TIFF"), shown)
    jpeg = saved(image, "JPEG", quality=100, subsampling=0)
    yield Kind("CMYK JPEG of Adobe's, inverted", jpeg, shown, 3)
    parts = [part for part in made.segments(jpeg) if part[0] != 0xEE]
    yield Kind("CMYK JPEG without Adobe's mark, taken as inverted", made.joined(parts), shown, 3)
    lightness = {
        (c, m, y, k): 100 if c + m + y + k == 0 else 50 if (c, m, y, k) == (0, 0, 0, 1) else 0
        for c in (0, 1)
        for m in (0, 1)
        for y in (0, 1)
        for k in (0, 1)
    }
    profile = made.ink_profile(lightness)
    black = np.zeros((8, 8, 4), np.uint8)
    black[:, 4:, 3] = 255
    image = Image.frombytes("CMYK", (8, 8), black.tobytes())
    # L* 50 is a luminance of 18.4%, which sRGB writes as 119
    gray = rgb(np.repeat([[255] * 4 + [119] * 4], 8, axis=0).astype(np.uint8))
    yield Kind("CMYK TIFF with a profile", saved(image, "TIFF", icc_profile=profile), gray, 2)


def to_signal(light: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] as sRGB writes it, IEC 61966-2-1."""
    low = light <= 0.0031308
    return np.rint(255 * np.where(low, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def profiles() -> Iterator[Kind]:
    """Colours that mean something else than sRGB, or only say so."""
    red, green, blue = made.SRGB_PRIMARIES
    swapped = made.matrix_profile((blue, green, red))
    turned = COLOURS[..., ::-1]
    for form, options in (
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ):
        name = f"{form} under red that is blue {options or ''}".strip()
        yield Kind(name, saved(COLOURS, form, icc_profile=swapped, **options), turned, 1)
    jpeg = saved(SOFT, "JPEG", quality=100, subsampling=0, icc_profile=swapped)
    yield Kind("JPEG under red that is blue", jpeg, SOFT[..., ::-1], 4)
    linear = made.matrix_profile(linear=True)
    light = to_signal(COLOURS / 255).astype(np.uint8)
    yield Kind("PNG of linear light", saved(COLOURS, "PNG", icc_profile=linear), light, 1)
    alpha = np.dstack([COLOURS, np.full(GRAYS.shape, 102, np.uint8)])
    png = saved(alpha, "PNG", icc_profile=swapped)
    yield Kind("PNG with alpha under red that is blue", png, over_white(turned, alpha[..., 3]), 1)
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    png = saved(image, "PNG", icc_profile=swapped)
    shown = np.array([[[0, 0, 255], [0, 255, 0]]], np.uint8)
    yield Kind("palette under red that is blue", png, shown, 1)
    bright = rgb(to_signal(GRAYS / 255).astype(np.uint8))
    dim = made.gray_profile(linear=True)
    yield Kind("gray PNG of linear light", saved(GRAYS, "PNG", icc_profile=dim), bright, 1)
    wide = saved(Image.fromarray(GRAYS.astype(np.uint16) * 257), "PNG", icc_profile=dim)
    yield Kind("gray PNG of 16 bits of linear light", wide, bright, 1)
    gray = Image.merge("LA", [Image.fromarray(GRAYS), Image.new("L", (7, 5), 255)])
    for name, profile in (("RGB", linear), ("gray", dim)):
        png = saved(gray, "PNG", icc_profile=profile)
        yield Kind(f"gray PNG with alpha, {name} profile", png, bright, 1)
    shown = rgb(np.where(GRAYS[1, 1] == GRAYS, WHITE, bright[..., 0]))
    png = saved(GRAYS, "PNG", icc_profile=dim, transparency=int(GRAYS[1, 1]))
    yield Kind("gray PNG of linear light with a transparent level", png, shown, 1)
    tone = made.chunk(b"tRNS", struct.pack(">H", int(GRAYS[1, 1]) * 257))
    profile = made.chunk(b"iCCP", b"x\0\0" + zlib.compress(dim))
    values = (GRAYS.astype(">u2") * 257).astype(">u2").tobytes()
    png = made.png(7, 5, values, depth=16, before=profile + tone)
    yield Kind("gray PNG of 16 bits of linear light with a transparent level", png, shown, 1)
    same = made.gray_profile(linear=False)
    yield Kind("gray PNG of sRGB's curve", saved(GRAYS, "PNG", icc_profile=same), rgb(GRAYS))
    for name, profile in (
        ("sRGB's profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        ("another profile of sRGB", made.matrix_profile()),
        ("a profile that is noise", b"\x93" * 300),
        ("a profile that is cut short", linear[:140]),
        ("a profile of 3 bytes", b"abc"),
        ("a profile of gray", dim),
    ):
        yield Kind(f"PNG with {name}", saved(COLOURS, "PNG", icc_profile=profile), COLOURS)
    yield Kind(
        "gray PNG with a profile of RGB", saved(GRAYS, "PNG", icc_profile=linear), rgb(GRAYS)
    )
    broken = made.chunk(b"iCCP", b"name\0\0" + b"\x55" * 40)
    png = made.png(7, 5, COLOURS.tobytes(), colour=2, before=broken)
    yield Kind("PNG whose profile does not unpack", png, COLOURS)
    lab = np.array([[[255, 128, 128], [128, 128, 128], [0, 128, 128]]], np.uint8)
    lab ^= np.array([0, 128, 128], np.uint8)  # a and b are signed
    page = made.plain_tiff(lab, 8)
    yield Kind("CIELAB TIFF", page, rgb(np.array([[255, 119, 0]], np.uint8)), 1)


def animations() -> Iterator[Kind]:
    """More pictures than one; the first counts."""
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "lime")]
    red = np.full((4, 6, 3), [255, 0, 0], np.uint8)
    for form, options in (
        ("GIF", {}),
        ("PNG", {}),
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
        ("MPO", {"quality": 100, "subsampling": 0}),
    ):
        content = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
        yield Kind(f"animated or many {form}", content, red, 2 if form == "MPO" else 0)
    if features.check("avif"):
        content = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], quality=100)
        yield Kind("animated AVIF", content, red, 6)
    yield Kind("GIF whose frame is smaller than its canvas", made.gif(4, 2), _corner(4, 2))
    green = Image.new("P", (2, 2))
    green.putpalette([9, 99, 0])
    local = (
        saved(green, "GIF").replace(b",\0\0\0\0", b",\1\0\2\0").replace(b"a\2\0\2\0", b"a\5\0\6\0")
    )
    placed = np.full((6, 5, 3), WHITE, np.uint8)
    placed[2:4, 1:3] = [9, 99, 0]
    yield Kind("GIF whose frame lies within its canvas", local, placed)
    yield Kind("GIF of a thousand frames", made.gif(2, 1, 1000), _corner(2, 1))
    yield Kind("GIF of a thousand and one frames", made.gif(2, 1, 1001), ("too_many_frames",))
    control = made.chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    png = made.png(7, 5, GRAYS.tobytes(), before=control)
    yield Kind("PNG that claims billions of frames", png, ("too_many_frames",))
    swapped = made.matrix_profile(made.SRGB_PRIMARIES[::-1])
    pages = [Image.fromarray(COLOURS), Image.fromarray(COLOURS[:3])]
    pages[1].info["icc_profile"] = swapped
    both = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    yield Kind("TIFF whose second page has a profile", both, COLOURS)
    page = made.plain_tiff(COLOURS, 2)
    looped = made.plain_tiff(COLOURS, 2, next_page=struct.unpack("<I", page[4:8])[0])
    yield Kind("TIFF whose pages form a loop", looped, COLOURS)
    lost = made.plain_tiff(COLOURS, 2, next_page=2**31)
    yield Kind("TIFF whose second page is not there", lost, DAMAGED)


def _corner(width: int, height: int) -> np.ndarray:
    """The canvas of `containers.gif`: black where its frame is; viewers show nothing elsewhere."""
    canvas = np.full((height, width, 3), WHITE, np.uint8)
    canvas[0, 0] = 0
    return canvas


def jpegs() -> Iterator[Kind]:
    """Sequential, progressive, and with what surrounds them."""
    plain = saved(SOFT, "JPEG", quality=100, subsampling=0)
    progressive = saved(SOFT, "JPEG", quality=100, subsampling=0, progressive=True)
    yield Kind("progressive JPEG", progressive, SOFT, 3)
    yield Kind("JPEG with half the colours", saved(SOFT, "JPEG", quality=100), SOFT, 6)
    yield Kind("gray JPEG", saved(SOFT[..., 0], "JPEG", quality=100), rgb(SOFT[..., 0]), 3)
    stay = saved(SOFT, "JPEG", quality=100, keep_rgb=True)
    yield Kind("JPEG of RGB", stay, SOFT, 3)
    restart = saved(SOFT, "JPEG", quality=100, subsampling=0, restart_marker_blocks=1)
    yield Kind("JPEG with restarts", restart, SOFT, 3)
    yield Kind("JPEG with words after its end", plain + b"words" * 99, SOFT, 3)
    yield Kind("JPEG after fill bytes", plain[:2] + b"\xff" * 9 + plain[2:], SOFT, 3)
    comment = b"\xff\xfe" + struct.pack(">H", 60_002) + b"x" * 60_000
    yield Kind("JPEG with long comments", plain[:2] + comment * 20 + plain[2:], SOFT, 3)
    parts = made.segments(plain)
    films = made.joined([part for part in parts if part[0] != 0xC4])
    yield Kind("JPEG without its Huffman tables, as in films", films, SOFT, 3)
    for name, marker in (("quantization", 0xDB), ("frame", 0xC0)):
        without = made.joined([part for part in parts if part[0] != marker])
        yield Kind(f"JPEG without its {name}", without, DAMAGED)
    for name, at, value in (
        ("a height of 0", 5, b"\0\0"),
        ("a width of 0", 7, b"\0\0"),
    ):
        changed = [
            (m, body[:at] + value + body[at + len(value) :]) if m == 0xC0 else (m, body)
            for m, body in parts
        ]
        yield Kind(f"JPEG of {name}", made.joined(changed), DAMAGED)
    yield Kind("JPEG that ends in its header", plain[:200], DAMAGED)
    half = len(plain) // 2
    yield Kind("JPEG whose second half is zeros", plain[:half] + bytes(half), DAMAGED)
    small = b"\xff\xe1" + struct.pack(">H", len(plain) + 8) + b"Exif\0\0" + plain
    thumbed = plain[:2] + small + plain[2:]
    yield Kind("JPEG with a JPEG as its thumbnail", thumbed, SOFT, 3)
    yield Kind("the same, its second half zeros", thumbed[:-half] + bytes(half), DAMAGED)
    film = b"\xff\xda\0\x02" + NOISE.tobytes()
    yield Kind("JPEG with a film after its end", plain + film, SOFT, 3)
    torn = plain[:half] + bytes(half)
    yield Kind("JPEG of zeros with a film after its end", torn + film + b"\xff\xd9", DAMAGED)
    yield Kind("JPEG of zeros before another picture", torn + plain, DAMAGED)
    several = progressive[:half] + bytes(len(progressive) - half) + b"words"
    yield Kind("progressive JPEG of zeros", several, DAMAGED)
    tables = b"".join(body for mark, body in parts if mark in (0xC4, 0xDB))
    apart = made.joined([part for part in parts if part[0] not in (0xC4, 0xDB)])
    abbreviated = b"\xff\xd8" + tables + b"\xff\xd9" + apart
    yield Kind("JPEG behind its tables, which have an end of their own", abbreviated, SOFT, 3)


def tiffs() -> Iterator[Kind]:
    """Compressions and arrangements."""
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"):
        try:
            page = saved(NOISE, "TIFF", compression=compression)
        except OSError:
            continue  # this libtiff has no such codec
        yield Kind(f"TIFF of {compression}", page, NOISE)
    page = saved(SOFT, "TIFF", compression="jpeg", quality=100)
    yield Kind("TIFF of JPEG", page, SOFT, 6)
    bits = NOISE[..., 0] > 127
    for compression in ("group3", "group4"):
        page = saved(Image.fromarray(bits), "TIFF", compression=compression)
        yield Kind(f"TIFF of {compression}", page, rgb(bits * np.uint8(255)))
    yield Kind("BigTIFF", saved(NOISE, "TIFF", big_tiff=True), NOISE)
    predicted = saved(NOISE, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield Kind("TIFF of differences", predicted, NOISE)
    tile = np.zeros((16, 16, 3), np.uint8)
    tile[:5, :7] = COLOURS
    frame = {256: (made.LONG, [7]), 257: (made.LONG, [5]), 258: (made.SHORT, [8, 8, 8])}
    frame |= {259: (made.SHORT, [1]), 262: (made.SHORT, [2]), 277: (made.SHORT, [3])}
    tiled = frame | {322: (made.LONG, [16]), 323: (made.LONG, [16]), 324: (made.LONG, [8])}
    tiled[325] = (made.LONG, [tile.size])
    yield Kind("TIFF of tiles", made.tiff(tiled, tile.tobytes()), COLOURS)
    planes = frame | {273: (made.LONG, [8, 43, 78]), 278: (made.LONG, [5]), 284: (made.SHORT, [2])}
    planes[279] = (made.LONG, [35, 35, 35])
    separate = made.tiff(planes, np.moveaxis(COLOURS, -1, 0).tobytes())
    yield Kind("TIFF of planes", separate, COLOURS)
    deep = COLOURS.astype(np.uint16) * 256 + 99
    yield Kind("TIFF of 16 bits a channel", made.plain_tiff(deep, 2), COLOURS)
    png = made.png(7, 5, deep.astype(">u2").tobytes(), depth=16, colour=2)
    yield Kind("PNG of 16 bits a channel", png, COLOURS)
    huge = frame | {322: (made.LONG, [2**24]), 323: (made.LONG, [2**24]), 324: (made.LONG, [8])}
    huge |= {325: (made.LONG, [100]), 259: (made.SHORT, [5])}
    yield Kind("TIFF with a huge tile", made.tiff(huge, b"\x80" * 100), REFUSED)
    wide = frame | {
        256: (made.LONG, [700]),
        273: (made.LONG, [8]),
        278: (made.LONG, [5]),
        279: (made.LONG, [2**32 - 1]),
    }
    yield Kind("TIFF with a strip beyond its end", made.tiff(wide, b"\x80" * 50), REFUSED)
    sized = made.plain_tiff(COLOURS, 2, tags={256: (made.LONG, [2**31 - 1])})
    yield Kind("TIFF of a huge width", sized, ("too_large",))
    for name, tag in (("width", 256), ("height", 257)):
        page = made.plain_tiff(COLOURS, 2, tags={tag: (made.LONG, [0])})
        yield Kind(f"TIFF of a {name} of 0", page, DAMAGED)
    odd = made.plain_tiff(COLOURS, 2, tags={258: (made.SHORT, [7, 7, 7])})
    yield Kind("TIFF of 7 bits", odd, UNSUPPORTED)


def unread() -> Iterator[Kind]:
    """Sound files of kinds that Pillow does not read, and damaged ones that look like them."""
    for name, pixels, meaning, sort in (
        ("floats of 16 bits", GRAYS.astype(np.float16), 1, 3),
        ("integers of 64 bits", GRAYS.astype(np.uint64), 1, 1),
        ("colours in floats", COLOURS.astype(np.float32), 2, 3),
        ("colours in signed integers", COLOURS.astype(np.int16), 2, 2),
    ):
        page = made.plain_tiff(pixels, meaning, tags={339: (made.SHORT, [sort])})
        yield Kind(f"TIFF of {name}", page, UNSUPPORTED)
    packings = {33003: "JPEG 2000", 34661: "JBIG", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}
    for number, name in packings.items():
        page = made.plain_tiff(COLOURS, 2, tags={259: (made.SHORT, [number])})
        yield Kind(f"TIFF packed as {name}", page, UNSUPPORTED)
    yield Kind("TIFF without its palette", made.plain_tiff(GRAYS, 3), DAMAGED)
    page = made.plain_tiff(COLOURS, 2, tags={259: (made.SHORT, [320])})
    yield Kind("TIFF packed as nobody does", page, DAMAGED)
    parts = made.segments(saved(SOFT, "JPEG"))
    for name, at, value in (("12 bits", 4, 12), ("9 channels", 9, 9)):
        frame = next(bytearray(body) for mark, body in parts if mark == 0xC0)
        frame[at] = value
        rest = [(mark, bytes(frame) if mark == 0xC0 else body) for mark, body in parts]
        yield Kind(f"JPEG of {name}", made.joined(rest), UNSUPPORTED)
    frame = b"\xff\xf7\0\x0b\x08" + struct.pack(">HH", 5, 7) + b"\1\1\x11\0"
    spiff = b"\xff\xe8\0\x20SPIFF\0" + bytes(24)
    for name, head in (("", b""), (" with a header of SPIFF", spiff)):
        stream = b"\xff\xd8" + head + frame + b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(99)
        yield Kind(f"JPEG-LS{name}", stream, UNSUPPORTED)
    masks = struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF)
    page = made.bmp(7, 5, 32, bytes(140), compression=3, masks=masks)
    yield Kind("BMP of 10 bits a colour", page, UNSUPPORTED)


def mistaken_tiffs() -> Iterator[Kind]:
    """What Pillow reads without a word, and wrongly."""
    frame = {256: (made.LONG, [7]), 257: (made.LONG, [5]), 259: (made.SHORT, [1])}
    frame |= {278: (made.LONG, [5]), 284: (made.SHORT, [2])}
    deep = np.moveaxis(COLOURS.astype(np.uint16) * 256 + 99, -1, 0)
    three = frame | {258: (made.SHORT, [16] * 3), 262: (made.SHORT, [2]), 277: (made.SHORT, [3])}
    three |= {273: (made.LONG, [8, 78, 148]), 279: (made.LONG, [70] * 3)}
    page = made.tiff(three, deep.tobytes())
    yield Kind("TIFF of planes of 16 bits", page, ("unsupported_format",))
    two = frame | {258: (made.SHORT, [8, 8]), 262: (made.SHORT, [1]), 277: (made.SHORT, [2])}
    two |= {273: (made.LONG, [8, 43]), 279: (made.LONG, [35, 35]), 338: (made.SHORT, [2])}
    page = made.tiff(two, GRAYS.tobytes() + b"\xff" * 35)
    yield Kind("TIFF of a plane of gray and one of alpha", page, ("unsupported_format",))
    for name, lists in {
        "lists one strip of two": {278: (made.LONG, [3])},
        "has not written its strip": {273: (made.LONG, [0])},
        "has a strip of no bytes": {279: (made.LONG, [0])},
    }.items():
        yield Kind(f"TIFF that {name}", made.plain_tiff(COLOURS, 2, tags=lists), DAMAGED)
    for compression, pixels in (("tiff_adobe_deflate", NOISE), ("jpeg", NOISE)):
        page = saved(pixels, "TIFF", compression=compression)
        tags = Image.open(BytesIO(page)).tag_v2  # type: ignore[attr-defined]
        end = tags[273][0] + tags[279][0]
        lost = tags[279][0] // 2
        torn = page[: end - lost] + bytes(lost) + page[end:]
        yield Kind(f"TIFF of {compression} whose strip's second half is zeros", torn, DAMAGED)

    raw = Image.fromarray(GRAYS)
    small = saved(raw, "TIFF", tiffinfo={254: 1, 330: 8})
    yield Kind("TIFF whose page is a copy of a larger one within", small, UNSUPPORTED)
    yield Kind("DNG", saved(raw, "TIFF", tiffinfo={50706: b"\1\4\0\0"}), UNSUPPORTED)
    yield Kind("TIFF of raw YCbCr", made.plain_tiff(COLOURS, 6), UNSUPPORTED)
    planes = np.moveaxis(COLOURS, -1, 0)
    apart = {284: (made.SHORT, [2]), 273: (made.LONG, [8, 43, 78]), 279: (made.LONG, [35] * 3)}
    apart |= {258: (made.SHORT, [8] * 3), 277: (made.SHORT, [3]), 256: (made.LONG, [7])}
    lab = made.plain_tiff(planes, 8, tags=apart | {257: (made.LONG, [5])})
    yield Kind("TIFF of CIELAB in planes", lab, UNSUPPORTED)
    for name, depth, kind in (("of 8 bits", 1, UNSUPPORTED), ("of 16 bits", 257, rgb(GRAYS))):
        steps = [number * depth for number in range(256)] * 3
        page = made.plain_tiff(GRAYS, 3, tags={320: (made.SHORT, steps)})
        yield Kind(f"TIFF with a palette {name}", page, kind)
    packed = zlib.compress((GRAYS / 255).astype(">f4").tobytes())
    tags = {258: (made.SHORT, [32]), 259: (made.SHORT, [8]), 339: (made.SHORT, [3])}
    tags |= {256: (made.LONG, [7]), 257: (made.LONG, [5]), 279: (made.LONG, [len(packed)])}
    tags |= {262: (made.SHORT, [1]), 273: (made.LONG, [8]), 277: (made.SHORT, [1])}
    page = made.tiff(tags | {278: (made.LONG, [5])}, packed, order=">")
    yield Kind("TIFF of packed floats, high byte first", page, UNSUPPORTED)
    extra = {273: (made.LONG, [8, 8]), 279: (made.LONG, [105, 105])}
    yield Kind("TIFF of a strip too many", made.plain_tiff(COLOURS, 2, tags=extra), DAMAGED)


def mistaken_bitmaps() -> Iterator[Kind]:
    """BMP of which Pillow takes the palette for another depth, or alpha at its word."""
    black_white = bytes([0, 0, 0, 0, 255, 255, 255, 0])
    mask = made.bmp(8, 1, 8, bytes([0, 1] * 4), palette=black_white)
    yield Kind("BMP of 8 bits in black and white", mask, UNSUPPORTED)
    mask = made.bmp(8, 1, 4, b"\x01" * 4, palette=black_white)
    yield Kind("BMP of 4 bits in black and white", mask, UNSUPPORTED)
    ramp = bytes(value for level in range(16) for value in (level, level, level, 0))
    dark = made.bmp(8, 1, 4, b"\x0f" * 4, palette=ramp)
    yield Kind("BMP of 4 bits in sixteen dark grays", dark, UNSUPPORTED)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    for name, alpha, shown in (("no", 0, COLOURS), ("full", 255, COLOURS)):
        four = np.dstack([COLOURS[::-1, :, ::-1], np.full((5, 7), alpha, np.uint8)])
        page = bytearray(made.bmp(7, 5, 32, four.tobytes(), compression=3, masks=masks))
        page[14] = 108  # bytes of a header that has the masks in it
        yield Kind(f"BMP of 32 bits, {name} alpha anywhere", bytes(page), shown)


def mistaken_jpeg_2000() -> Iterator[Kind]:
    """Depths, palettes and colours that Pillow mistakes; and a profile, over which it passes."""
    red, green, blue = made.SRGB_PRIMARIES
    swapped = made.matrix_profile((blue, green, red))
    good = saved(COLOURS, "JPEG2000", irreversible=False)
    profiled = made.jp2(good, made.box(b"colr", b"\2\0\0" + swapped))
    yield Kind("JPEG 2000 under red that is blue", profiled, COLOURS[..., ::-1], 1)
    plain = made.box(b"colr", b"\1\0\0" + struct.pack(">I", 16))
    yield Kind("JPEG 2000 of sRGB", made.jp2(good, plain), COLOURS)
    ordered = struct.pack(">H9H", 3, 0, 0, 1, 1, 0, 2, 2, 0, 3)
    named = made.jp2(good, plain + made.box(b"cdef", ordered))
    yield Kind("JPEG 2000 whose channels are as they come", named, COLOURS)
    for name, boxes in {
        "CIELAB": made.box(b"colr", b"\1\0\0" + struct.pack(">I", 14)),
        "blue first": plain + made.box(b"cdef", struct.pack(">H9H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1)),
        "a palette": plain + made.box(b"pclr", b"\0\1\3\7\7\7abc"),
    }.items():
        yield Kind(f"JPEG 2000 of {name}", made.jp2(good, boxes), UNSUPPORTED)
    for depth, pixels in ((12, COLOURS), (4, COLOURS), (9, GRAYS), (1, GRAYS)):
        stream = bytearray(saved(pixels, "JPEG2000", irreversible=False, no_jp2=True))
        for component in range(pixels.ndim if pixels.ndim == 3 else 1):
            stream[42 + 3 * component] = depth - 1
        name = f"JPEG 2000 of {depth} bits, {'colours' if pixels.ndim == 3 else 'gray'}"
        yield Kind(name, bytes(stream), UNSUPPORTED)


def signed_jpeg_2000() -> Iterator[Kind]:
    """Gray that begins below 0: the byte of its depth says so, in the header and in the stream."""
    two = Image.merge("LA", [Image.fromarray(GRAYS)] * 2)
    for name, picture, depth in (
        ("of 8 bits", GRAYS, 8),
        ("of 16 bits", GRAYS.astype(np.uint16) * 257, 16),
        ("with alpha", two, 8),
    ):
        stream = bytearray(saved(picture, "JPEG2000", irreversible=False))
        for at in (stream.index(b"ihdr") + 14, stream.index(b"\xff\x4f\xff\x51") + 42):
            assert stream[at] == depth - 1
            stream[at] |= 0x80
        yield Kind(f"signed gray JPEG 2000 {name}", bytes(stream), ("unknown_range",))


def bitmaps() -> Iterator[Kind]:
    """BMP of every depth."""
    flipped = COLOURS[::-1]
    padded = np.zeros((5, 24), np.uint8)
    padded[:, :21] = flipped[..., ::-1].reshape(5, 21)
    yield Kind("BMP of 24 bits", made.bmp(7, 5, 24, padded.tobytes()), COLOURS)
    yield Kind("BMP from the top", made.bmp(7, -5, 24, padded[::-1].tobytes()), COLOURS)
    four = np.dstack([flipped[..., ::-1], np.zeros((5, 7), np.uint8)])
    yield Kind("BMP of 32 bits", made.bmp(7, 5, 32, four.tobytes()), COLOURS)
    primary = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    words = np.array([0x7C00, 0x03E0, 0x001F, 0x7FFF], "<u2").tobytes()
    yield Kind("BMP of 16 bits", made.bmp(4, 1, 16, words), primary)
    words = np.array([0xF800, 0x07E0, 0x001F, 0xFFFF], "<u2").tobytes()
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    yield Kind(
        "BMP of 5, 6 and 5 bits", made.bmp(4, 1, 16, words, compression=3, masks=masks), primary
    )
    palette = bytes([0, 0, 0, 0, 0, 0, 255, 0])  # black, red
    red = np.array([[[0, 0, 0], [255, 0, 0]] * 4], np.uint8)
    yield Kind("BMP of 1 bit", made.bmp(8, 1, 1, b"\x55\0\0\0", palette=palette), red)
    yield Kind("BMP of 4 bits", made.bmp(8, 1, 4, b"\x01\x01\x01\x01", palette=palette), red)
    runs = b"\x03\0\x05\x01\0\0\x08\x01\0\1"  # 3 of 0, 5 of 1, end of line, 8 of 1, end
    run = np.array([[1] * 8, [0] * 3 + [1] * 5])
    coded = made.bmp(8, 2, 8, runs, compression=1, palette=palette)
    yield Kind("BMP of runs", coded, np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[run])
    for name, width, height in (("width of 0", 0, 5), ("height of 0", 7, 0)):
        reasons = DAMAGED
        yield Kind(f"BMP of a {name}", made.bmp(width, height, 24, padded.tobytes()), reasons)
    yield Kind("BMP of a huge size", made.bmp(60_000, 60_000, 24, b"\0" * 99), ("too_large",))
    yield Kind("BMP of 23 bits", made.bmp(7, 5, 23, padded.tobytes()), UNSUPPORTED)


def other_formats() -> Iterator[Kind]:
    """Formats with little to go wrong, and names that lie."""
    yield Kind("WebP", saved(NOISE, "WEBP", lossless=True), NOISE)
    yield Kind("lossy WebP", saved(SOFT, "WEBP", quality=100), SOFT, 12)
    yield Kind("JPEG 2000", saved(NOISE, "JPEG2000", irreversible=False), NOISE)
    stream = saved(NOISE, "JPEG2000", irreversible=False, no_jp2=True)
    yield Kind("JPEG 2000 without a box", stream, NOISE)
    yield Kind("PPM", b"P6\n7 5\n255\n" + COLOURS.tobytes(), COLOURS)
    words = " ".join(map(str, COLOURS.ravel().tolist())).encode()
    yield Kind("PPM as text", b"P3 7 5 255\n" + words, COLOURS)
    small = saved(COLOURS, "PNG")
    yield Kind("icon", made.icon(small, 7, 5), UNSUPPORTED)
    yield Kind("cursor", made.icon(small, 7, 5).replace(b"\1", b"\2", 1), UNSUPPORTED)
    for name, picture in (("gray", GRAYS), ("colour", COLOURS)):
        for compression in (None, "tga_rle"):
            stream = saved(picture, "TGA", compression=compression)
            yield Kind(f"TGA of {name}, compression {compression}", stream, UNSUPPORTED)
    interlaced = made.PNG + made.chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1))
    interlaced += made.chunk(b"IDAT", zlib.compress(b"\0\x63")) + made.chunk(b"IEND", b"")
    yield Kind("interlaced PNG", interlaced, np.full((1, 1, 3), 0x63, np.uint8))
    pieces = made.png(7, 5, COLOURS.tobytes(), colour=2)
    at = pieces.index(b"IDAT") - 4
    length = struct.unpack(">I", pieces[at : at + 4])[0]
    body = pieces[at + 8 : at + 8 + length]
    bytewise = b"".join(made.chunk(b"IDAT", body[n : n + 1]) for n in range(length))
    yield Kind(
        "PNG in pieces of a byte", pieces[:at] + bytewise + pieces[at + 12 + length :], COLOURS
    )
    yield Kind("PNG with words after its end", small + b"<html>", COLOURS)
    if features.check("avif"):
        yield Kind("AVIF", saved(SOFT, "AVIF", quality=100, subsampling="4:4:4"), SOFT, 4)


def smallest() -> Iterator[Kind]:
    """One pixel, one row, one column."""
    for width, height in ((1, 1), (1, 9), (9, 1), (1, 65_500), (65_500, 1)):
        value = np.full((height, width, 3), [200, 30, 40], np.uint8)
        yield Kind(f"PNG of {width} x {height}", saved(value, "PNG"), value)
        yield Kind(
            f"JPEG of {width} x {height}",
            saved(value, "JPEG", quality=100, subsampling=0),
            value,
            3,
        )
        if max(width, height) < 10:
            for form, options in (("WEBP", {"lossless": True}), ("TIFF", {}), ("BMP", {})):
                yield Kind(f"{form} of {width} x {height}", saved(value, form, **options), value)
    yield Kind("GIF of 1 x 1", made.gif(1, 1), np.zeros((1, 1, 3), np.uint8))
    for width, height in ((0, 0), (0, 5), (7, 0)):
        reasons = DAMAGED
        yield Kind(f"PNG of {width} x {height}", made.png(width, height, b""), reasons)
        yield Kind(f"PPM of {width} x {height}", f"P6 {width} {height} 255\n".encode(), reasons)
    yield Kind("GIF of 0 x 0 without a frame", made.gif(0, 0, 0), DAMAGED)


def not_images() -> Iterator[Kind]:
    """What lies under a picture's name and is none, or none that is read."""
    yield Kind("no byte", b"", ("empty_file",))
    for name, content in (
        ("one byte", b"\xff"),
        ("zeros", bytes(5000)),
        ("text", b"words\n" * 50),
        ("HTML", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
        ("JSON", b'{"error": "rate limit"}'),
        ("an archive", b"PK\x03\x04" + bytes(60)),
        (
            "a Git LFS pointer",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        ),
        ("a film", b"\0\0\0\x20ftypisom" + bytes(60)),
        ("a program", b"\x7fELF" + bytes(60)),
        ("an SVG with a prolog", b'<?xml version="1.0"?><svg/>'),
        ("noise", RANDOM.bytes(3000)),
    ):
        yield Kind(name, content, ("not_an_image",))
    for name, content in (
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)),
        ("JPEG XL", b"\xff\x0a" + bytes(99)),
        ("PDF", b"%PDF-1.7\n" + b"%%EOF\n" * 9),
        ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("Photoshop's", b"8BPS\0\1" + bytes(99)),
    ):
        yield Kind(name, content, ("unsupported_format",))


def bombs() -> Iterator[Kind]:
    """Little bytes that ask for much memory or time."""
    for side in (10_001, 50_000, 2**31 - 1):
        claim = made.png_of_claimed_size(side, side)
        yield Kind(f"PNG of {side} x {side}", claim, ("too_large",))
    flat = zlib.compress(bytes(12_000 * 12_001), 9)
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    whole = made.PNG + made.chunk(b"IHDR", header) + made.chunk(b"IDAT", flat)
    yield Kind("PNG of 12,000 x 12,000, whole", whole + made.chunk(b"IEND", b""), ("too_large",))
    yield Kind("GIF of a huge canvas", made.gif(65_535, 65_535), ("too_large",))
    extended = (b"VP8X", bytes(4) + b"\xff\xff\xff\xff\xff\xff")
    bits = (b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(20))
    yield Kind("WebP of a huge canvas", made.riff(extended, bits), REFUSED)
    yield Kind("WebP of 16,384 x 16,384", made.riff(bits), REFUSED)
    stream = bytearray(saved(NOISE, "JPEG2000", no_jp2=True))
    stream[8:16] = struct.pack(">II", 2**31, 2**31)
    yield Kind("JPEG 2000 of a huge size", bytes(stream), REFUSED)
    stream[8:16] = stream[24:32] = struct.pack(">II", 30_000, 30_000)
    yield Kind("JPEG 2000 of one huge tile", bytes(stream), REFUSED)
    yield Kind("PPM of a huge size", b"P6 99999 99999 255\n" + bytes(99), ("too_large",))
    parts = made.segments(saved(SOFT, "JPEG"))
    large = [(m, b[:5] + b"\xff\xdc\xff\xdc" + b[9:] if m == 0xC0 else b) for m, b in parts]
    yield Kind("JPEG of 65,500 x 65,500", made.joined(large), ("too_large",))
    yield Kind(
        "icon of a huge picture",
        made.icon(made.png_of_claimed_size(60_000, 60_000), 7, 5),
        UNSUPPORTED,
    )
    words = made.chunk(b"zTXt", b"words\0\0" + zlib.compress(bytes(50_000_000), 9))
    for name, count in (("text that unpacks to 50 MB", 1), ("a hundred such texts", 100)):
        png = made.png(7, 5, COLOURS.tobytes(), colour=2, before=words * count)
        yield Kind(f"PNG with {name}", png, DAMAGED)
    profile = made.chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(50_000_000), 9))
    png = made.png(7, 5, COLOURS.tobytes(), colour=2, before=profile)
    yield Kind("PNG with a profile that unpacks to 50 MB", png, DAMAGED)
    notes = made.chunk(b"tEXt", b"note\0x") * 20_000
    png = made.png(7, 5, COLOURS.tobytes(), colour=2, before=notes)
    yield Kind("PNG with 20,000 texts", png, COLOURS)


def damaged() -> Iterator[Kind]:
    """Bytes that are wrong."""
    reasons = DAMAGED
    good = saved(NOISE, "PNG")
    for name in (b"IHDR", b"IDAT"):
        at = good.index(name)
        length = struct.unpack(">I", good[at - 4 : at])[0]
        check = at + 4 + length
        bad = good[:check] + b"\0\0\0\0" + good[check + 4 :]
        yield Kind(f"PNG whose {name.decode()} has a wrong checksum", bad, reasons)
    header = made.chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 8, 2, 0, 0, 0))
    for name, body in (
        ("does not unpack", b"\x12" * 60),
        ("is empty", b""),
        ("holds too little", zlib.compress(bytes(30))),
        ("has a filter that is none", zlib.compress(b"\x09" * 110)),
    ):
        png = made.PNG + header + made.chunk(b"IDAT", body) + made.chunk(b"IEND", b"")
        yield Kind(f"PNG whose data {name}", png, reasons)
    yield Kind("PNG without data", made.PNG + header + made.chunk(b"IEND", b""), reasons)
    yield Kind("PNG without its header", made.PNG + made.chunk(b"IEND", b""), reasons)
    body = made.chunk(b"IDAT", b"") + made.chunk(b"IEND", b"")
    for name, fields in (("depth 3", (3, 2, 0, 0, 0)), ("colour 5", (8, 5, 0, 0, 0))):
        png = made.PNG + made.chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, *fields)) + body
        yield Kind(f"PNG of {name}", png, reasons)
    stored = bytearray(saved(NOISE, "PNG", compress_level=0))
    stored[300] ^= 1
    yield Kind("PNG with one bit of a pixel turned", bytes(stored), DAMAGED)
    at = stored.index(b"IDAT") - 4
    body = bytes(stored[at + 8 : -16])
    split = made.chunk(b"IDAT", body[:-4], crc=1) + made.chunk(b"IDAT", body[-4:])
    apart = bytes(stored[:at]) + split + made.chunk(b"IEND", b"")
    yield Kind("PNG with one bit turned, its Adler-32 in a chunk of its own", apart, DAMAGED)
    text = good.replace(b"\r\n", b"\n")
    yield Kind("PNG sent as text", text, ("not_an_image",))
    yield Kind("GIF without a frame", made.gif(4, 4, 0), reasons)
    yield Kind(
        "GIF whose code is none", made.gif(4, 4).replace(b"\x02D\x01", b"\x02\xff\xff"), reasons
    )
    yield Kind("icon without a picture", struct.pack("<HHH", 0, 1, 0), UNSUPPORTED)


def truncated() -> Iterator[Kind]:
    """Files that end too early, wherever that is."""
    options: dict[str, dict[str, Any]] = {
        "PNG": {},
        "JPEG": {},
        "GIF": {},
        "BMP": {},
        "TIFF": {"compression": "tiff_lzw"},
        "WEBP": {"lossless": True},
        "JPEG2000": {},
        "PPM": {},
    }
    if features.check("avif"):
        options["AVIF"] = {}
    files = {form: saved(NOISE, form, **chosen) for form, chosen in options.items()}
    files["progressive JPEG"] = saved(NOISE, "JPEG", progressive=True)
    files["raw TIFF"] = saved(NOISE, "TIFF")
    for form, whole in files.items():
        for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
            cut = whole[: int(part * len(whole))]
            yield Kind(f"{form}, {part:.0%} of it", cut, DAMAGED)
    for form in ("PNG", "JPEG"):
        for short in (1, 12):
            yield Kind(f"{form} that lacks {short} bytes", files[form][:-short], DAMAGED)


class Placed(NamedTuple):
    """What lies in a folder: how to put it there, and why it is rejected; None: it is read."""

    name: bytes
    put: Callable[[bytes], None]
    reason: str | None


SOUND = saved(COLOURS, "PNG")


def placed() -> list[Placed]:
    """Files whose place, name or nature is odd; the content is `SOUND`, where there is any."""
    names = [
        *(b"with spaces .png", b" leading.png", b"trailing ", b"-dash.png", b"~tilde.png"),
        *(b"quotes '\".png", b"line\nbreak.png", b"return\r.png", b"tab\t.png", b"bell\x07.png"),
        *(b"colour\x1b[31m.png", b"comma,semicolon;.png", b"$(touch pwned)`x`.png", b"%s%n.png"),
        *(b"back\\slash.png", b"star*?.png", b"[bold]markup.png", b"=1+1.png", b"null"),
        *("caf\u00e9.png".encode(), "cafe\u0301.png".encode(), "\U0001f408.png".encode()),
        *(
            b"case.PNG",
            b"case.png",
            b"Case.png",
            b"x" * 255,
            b"no suffix",
            b"wrong.jpg",
            b"two.jpg.gif",
        ),
    ]
    rows = [Placed(name, _write, None) for name in names]
    rows += [
        Placed(name, _write, "name_not_utf8")
        for name in (b"caf\xe9.png", b"\xff\xfe", b"\xed\xa0\x80")
    ]
    rows += [
        Placed(b"inside.png", _link(b"case.png"), None),
        Placed(b"gone.png", _link(b"nowhere.png"), "linked_nowhere"),
        Placed(b"loop.png", _link(b"loop.png"), "linked_nowhere"),
        Placed(b"empty folder.png", os.mkdir, "not_a_file"),
        Placed(b"outside.png", _link(b"/etc/hostname"), "outside"),
        Placed(b"device.png", _link(b"/dev/zero"), "outside"),
        Placed(b"up.png", _link(b"../../../x.png"), "outside"),
        Placed(b"folder.png", _link(b"."), "linked_folder"),
        Placed(b"pipe.png", os.mkfifo, "not_a_file"),
        Placed(b"socket.png", _bind, "not_a_file"),
        Placed(b"secret.png", _forbid, None if os.geteuid() == 0 else "no_permission"),
        Placed(b"folder named.jpg/inner.png", _nest, None),
    ]
    return rows


def _write(path: bytes) -> None:
    with open(path, "wb") as stream:  # noqa: PTH123  # a name of bytes
        stream.write(SOUND)


def _link(target: bytes) -> Callable[[bytes], None]:
    return lambda path: os.symlink(target, path)  # noqa: PTH211


def _forbid(path: bytes) -> None:
    _write(path)
    os.chmod(path, 0)  # noqa: PTH101  # root reads it all the same


def _nest(path: bytes) -> None:
    os.mkdir(os.path.dirname(path))  # noqa: PTH102, PTH120
    _write(path)


def _bind(path: bytes) -> None:
    here = os.getcwd()  # noqa: PTH109
    os.chdir(os.path.dirname(path))  # noqa: PTH120  # the whole path may be too long for it
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.basename(path))  # noqa: PTH119
    finally:
        os.chdir(here)

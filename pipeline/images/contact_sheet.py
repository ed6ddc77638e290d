"""A picture for people: a row an image, a column a view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from pipeline.errors import InputError
from pipeline.images.decode import decode
from pipeline.images.rejection import RejectedImage
from pipeline.images.views import View, render

TILE = 112  # pixels
CAPTION = 16  # pixels above each row
MAX_COLUMNS = 12


def contact_sheet(rows: Sequence[tuple[Path, str, Sequence[View]]]) -> Image.Image:
    """Draw the first views of each (file, caption, views).

    Raises:
        InputError: An image cannot be read.
    """
    columns = min(MAX_COLUMNS, max((len(views) for _, _, views in rows), default=1))
    sheet = Image.new("RGB", (columns * TILE, max(1, len(rows)) * (TILE + CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for rank, (file, caption, views) in enumerate(rows):
        top = rank * (TILE + CAPTION)
        pen.text((2, top + 2), caption.encode("ascii", "replace").decode(), fill="black")
        try:
            pixels = decode(file, limits=None)  # ingest held it to them
        except RejectedImage as rejection:
            fix = "put the image back, or `dvc repro ingest`"
            raise InputError(file, str(rejection), fix) from rejection
        for column, view in enumerate(views[:columns]):
            tile = Image.fromarray(render(pixels, view, TILE, "bicubic"))
            sheet.paste(tile, (column * TILE, top + CAPTION))
    return sheet

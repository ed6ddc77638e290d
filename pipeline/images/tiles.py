"""A picture of the raw data as a tile, if it still is the one that `ingest` saw."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import RejectedImage
from pipeline.images.contact_sheet import Tile, shrunk
from pipeline.images.decode import decode_at
from pipeline.images.digest import pixel_digest
from pipeline.sources.place import Place

SHOWN = 3


def tile_of(place: Place, digest: str, lines: Sequence[str]) -> tuple[Tile, str]:
    """A tile, and why it shows no picture, or "".

    Args:
        digest: Of the picture, as `ingest` saw it.
        lines: To stand below it.
    """
    try:
        pixels = decode_at(place, limits=None)
    except RejectedImage as rejection:
        return Tile(None, lines), str(rejection)
    if pixel_digest(pixels) != digest:
        return Tile(None, lines), "has changed since ingest read it"
    return Tile(shrunk(pixels), lines), ""


def unseen_lines(unseen: Sequence[tuple[str, str]]) -> list[str]:
    """Say which pictures cannot be shown, by path and why: the first few by name."""
    lines = [f"{path} cannot be shown: {why}" for path, why in unseen[:SHOWN]]
    return [*lines, f"{len(unseen) - SHOWN} more cannot be shown"] if unseen[SHOWN:] else lines

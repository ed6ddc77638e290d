"""Pictures that one side alone told rightly, as a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd

from pipeline.comparing.comparison import Comparison, Turned
from pipeline.errors import RejectedImage
from pipeline.images.contact_sheet import Tile, framed_sheet
from pipeline.images.decode import decode_at
from pipeline.images.digest import pixel_digest
from pipeline.images.places import read_places
from pipeline.sources.place import Place

SHOWN = 24  # each way


def places_of(manifest: pd.DataFrame, raw: Path) -> dict[str, Place]:
    """Where the picture of each digest lies now."""
    return dict(zip(manifest["digest"], read_places(manifest, raw), strict=True))


def sheet(
    comparison: Comparison, places: Mapping[str, Place]
) -> tuple[bytes, list[tuple[str, str]]]:
    """Draw the surest of those that turned, from right to wrong first.

    Returns:
        The PNG, and (path, why) of the pictures that cannot be shown.
    """
    unseen: list[tuple[str, str]] = []
    ways = (("right -> wrong", comparison.lost), ("wrong -> right", comparison.gained))
    frames = [[_tile(item, way, places, unseen)] for way, found in ways for item in found[:SHOWN]]
    content = BytesIO()
    framed_sheet(frames).save(content, format="PNG")
    return content.getvalue(), unseen


def _tile(
    item: Turned, way: str, places: Mapping[str, Place], unseen: list[tuple[str, str]]
) -> Tile:
    lines = (
        f"{way}: {item.label}",
        f"A: {item.one} {item.one_probability:.2f}",
        f"B: {item.other} {item.other_probability:.2f}",
        item.path,
    )
    try:
        place = places[item.digest]
        pixels = decode_at(place, limits=None)
        if pixel_digest(pixels) == item.digest:
            return Tile(pixels, lines)
        why = "the file has changed since ingest read it"
    except KeyError:
        why = "the workspace's data have no such picture"
    except RejectedImage as rejection:
        why = str(rejection)
    unseen.append((item.path, why))
    return Tile(None, lines)


def unseen_lines(unseen: Sequence[tuple[str, str]], most: int = 3) -> list[str]:
    """Say which pictures cannot be shown: the first few by name."""
    lines = [f"{path} cannot be shown: {why}" for path, why in unseen[:most]]
    return [*lines, f"{len(unseen) - most} more cannot be shown"] if unseen[most:] else lines

"""Pictures that one side alone told rightly, as a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.comparing.comparison import Comparison, Turned
from pipeline.images.contact_sheet import Tile, framed_sheet
from pipeline.images.places import read_places
from pipeline.images.tiles import tile_of
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
    return framed_sheet(frames), unseen


def _tile(
    item: Turned, way: str, places: Mapping[str, Place], unseen: list[tuple[str, str]]
) -> Tile:
    lines = (
        f"{way}: {item.label}",
        f"A: {item.one} {item.one_probability:.2f}",
        f"B: {item.other} {item.other_probability:.2f}",
        item.path,
    )
    tile, why = Tile(None, lines), "the workspace's data have no such picture"
    if item.digest in places:
        tile, why = tile_of(places[item.digest], item.digest, lines)
    if why:
        unseen.append((item.path, why))
    return tile

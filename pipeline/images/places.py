"""Where images lie, as a manifest has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.sources.place import Place
from pipeline.tables import PLACE_COLUMNS


def write_places(images: pd.DataFrame, places: Sequence[Place], raw: Path) -> pd.DataFrame:
    """Add to a manifest where each image lies, unless all have files of their own.

    Args:
        images: A row for each place.
    """
    if not any(place.member for place in places):
        return images
    containers = {place.file for place in places if place.member}
    names = {file: file.relative_to(raw).as_posix() for file in containers}
    return images.assign(
        container=[names[p.file] if p.member else "" for p in places],
        position=[p.position for p in places],
        size=[p.size for p in places],
    )


def read_places(images: pd.DataFrame, raw: Path) -> list[Place]:
    """Where each image of a manifest lies."""
    if "container" not in images:
        return [Place(raw / path) for path in images["path"]]
    cells = images[["path", *PLACE_COLUMNS]].itertuples(index=False, name=None)
    return [
        Place(raw / container, path.removeprefix(f"{container}/"), position, size)
        if container
        else Place(raw / path)
        for path, container, position, size in cells
    ]

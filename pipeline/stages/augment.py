"""Augment: write the plan of which views of which image there are.

No picture is stored: a view is a row of numbers, drawn from a stream that
belongs to (seed, image digest, view, operation).  Adding images or changing one
operation leaves every other number as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.console import progress
from pipeline.files import Reads, Writes, replacing
from pipeline.images.contact_sheet import contact_sheet
from pipeline.images.places import read_places
from pipeline.images.streams import Streams, stream_key
from pipeline.images.views import DECIMALS, IDENTITY, View
from pipeline.params import Section
from pipeline.tables import distinct, read_manifest, write_table

Probability = Annotated[float, Field(ge=0, le=1)]
SHEET_IMAGES = 8
VIEW = list(vars(IDENTITY))  # columns of the plan
AT_ONCE = 50_000  # views drawn together; bounds memory


class Chance(Section):
    """An operation that happens or does not."""

    probability: Probability


class Range(Chance):
    """An operation whose strength is drawn evenly from `range`."""

    range: Annotated[tuple[float, float], Field(strict=False)]

    @model_validator(mode="after")
    def _is_ordered(self) -> Range:
        if self.range[0] > self.range[1]:
            raise ValueError(f"range must rise, got {list(self.range)}")
        return self


class Rotation(Range):
    """In degrees, counter-clockwise."""

    @model_validator(mode="after")
    def _is_small(self) -> Rotation:
        if min(self.range) < -45 or max(self.range) > 45:
            raise ValueError(f"range must lie in [-45, 45] degrees, got {list(self.range)}")
        return self


class Crop(Range):
    """Side of the part kept, as a fraction of the image's."""

    @model_validator(mode="after")
    def _stays_inside(self) -> Crop:
        if min(self.range) < 0.1 or max(self.range) > 1:
            raise ValueError(f"range must lie in [0.1, 1], got {list(self.range)}")
        return self


class Factor(Range):
    """A factor; 1 changes nothing."""

    @model_validator(mode="after")
    def _is_positive(self) -> Factor:
        if min(self.range) <= 0 or max(self.range) > 4:
            raise ValueError(f"range must lie in (0, 4], got {list(self.range)}")
        return self


class AugmentParams(Section):
    """The views of each training image.  Validation and test images have view 0 only."""

    seed: int
    views: Annotated[int, Field(ge=1, le=1000)]  # view 0, the image itself, included
    horizontal_flip: Chance
    vertical_flip: Chance
    quarter_turn: Chance
    rotation: Rotation
    crop: Crop
    brightness: Factor
    contrast: Factor


def run(
    params: AugmentParams,
    *,
    raw: Reads = Path("data/raw"),
    splits: Reads = Path("data/splits.csv"),
    views: Writes = Path("data/views.csv"),
    sheet: Writes = Path("reports/contact_sheet.png"),
) -> None:
    """Write the plan of views, and a contact sheet of a few training images' views.

    Raises:
        InputError: An image on the contact sheet cannot be read.
    """
    images = distinct(read_manifest(splits))
    plan = plan_views(images, params)
    write_table(views, plan)
    shown = images[images["split"] == "train"].head(SHEET_IMAGES)
    drawn = plan[plan["digest"].isin(shown["digest"])].groupby("digest", sort=False)
    rows = [
        (place, label, [View(*view) for view in of_image[VIEW].itertuples(index=False)])
        for place, label, (_, of_image) in zip(
            read_places(shown, raw), shown["label"], drawn, strict=True
        )
    ]
    with replacing(sheet) as partial:
        contact_sheet(rows).save(partial, format="PNG")


def plan_views(images: pd.DataFrame, params: AugmentParams) -> pd.DataFrame:
    """Draw every view of every distinct image; number 0 is the image itself.

    Returns:
        One row a view, ordered as the images and by view number.
    """
    counts = np.where(images["split"] == "train", params.views, 1)
    digests = images["digest"].repeat(counts.tolist()).reset_index(drop=True)
    number = np.arange(len(digests)) - np.repeat(counts.cumsum() - counts, counts)
    columns = {name: np.full(len(digests), value) for name, value in vars(IDENTITY).items()}
    to_draw = np.flatnonzero(number)
    with progress("augment", len(to_draw), "view") as bar:
        for start in range(0, len(to_draw), AT_ONCE):
            rows = to_draw[start : start + AT_ONCE]
            views = list(zip(digests.iloc[rows], number[rows].tolist(), strict=True))
            for name, operation in operations(params).items():
                for column, (drawn, values) in draw_many(params.seed, name, operation, views):
                    columns[column][rows[drawn]] = values
            bar(len(rows))
    return pd.DataFrame({"digest": digests, "view": number, **columns})


def operations(params: AugmentParams) -> dict[str, Chance]:
    """Every operation by name."""
    return {name: value for name, value in params if isinstance(value, Chance)}


def draw_many(
    seed: int, name: str, operation: Chance, views: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, tuple[NDArray[np.bool_], NDArray[np.float64] | NDArray[np.int64]]]]:
    """Draw one operation of many views (digest, number), each from a stream of its own.

    Yields:
        A column of the plan, with which views it is drawn for and the values of those.
    """
    if operation.probability == 0:
        return
    streams = Streams(stream_key(seed, digest, str(number), name) for digest, number in views)
    drawn = streams.random() < operation.probability
    streams = streams.where(drawn)
    if not isinstance(operation, Range):
        turns = name == "quarter_turn"
        values = streams.below(3) + 1 if turns else np.ones(drawn.sum(), dtype=np.int64)
        yield "quarter_turns" if turns else name, (drawn, values)
        return
    low, high = operation.range
    exact = (low + (high - low) * streams.random()).tolist()
    yield name, (drawn, np.array([round(value, DECIMALS) for value in exact]))
    if name == "crop":
        for column in ("crop_x", "crop_y"):
            yield column, (drawn, streams.random().round(DECIMALS))

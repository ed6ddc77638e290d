"""Augment: write the plan of which views of which image there are.

No picture is stored: a view is a row of numbers, drawn from a stream that
belongs to (seed, image digest, view, operation).  Adding images or changing one
operation leaves every other number as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from pipeline.console import progress
from pipeline.files import Reads, Writes, replacing
from pipeline.images.contact_sheet import contact_sheet
from pipeline.images.places import read_places
from pipeline.images.views import DECIMALS, IDENTITY, View, item_stream
from pipeline.params import Section
from pipeline.tables import distinct, read_manifest, write_table

Probability = Annotated[float, Field(ge=0, le=1)]
SHEET_IMAGES = 8


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
    rows = [
        (place, label, [draw(params, digest, k) for k in range(params.views)])
        for place, label, digest in zip(
            read_places(shown, raw), shown["label"], shown["digest"], strict=True
        )
    ]
    with replacing(sheet) as partial:
        contact_sheet(rows).save(partial, format="PNG")


def plan_views(images: pd.DataFrame, params: AugmentParams) -> pd.DataFrame:
    """Draw every view of every distinct image.

    Returns:
        One row a view, ordered by digest and view number.
    """
    rows: list[dict[str, object]] = []
    with progress("augment", len(images), "image") as bar:
        for digest, split in zip(images["digest"], images["split"], strict=True):
            views = [
                draw(params, digest, k) for k in range(params.views if split == "train" else 1)
            ]
            rows += [{"digest": digest, "view": k, **vars(view)} for k, view in enumerate(views)]
            bar()
    return pd.DataFrame(rows)


def draw(params: AugmentParams, digest: str, number: int) -> View:
    """Draw view `number` of an image; number 0 is the image itself."""
    if number == 0:
        return IDENTITY
    drawn: dict[str, float] = {}

    def happens(name: str, operation: Chance) -> np.random.Generator | None:
        stream = item_stream(params.seed, digest, str(number), name)
        return stream if stream.random() < operation.probability else None

    if happens("horizontal_flip", params.horizontal_flip):
        drawn["horizontal_flip"] = 1
    if happens("vertical_flip", params.vertical_flip):
        drawn["vertical_flip"] = 1
    if stream := happens("quarter_turn", params.quarter_turn):
        drawn["quarter_turns"] = int(stream.integers(1, 4))
    for name in ("rotation", "crop", "brightness", "contrast"):
        operation: Range = getattr(params, name)
        if stream := happens(name, operation):
            drawn[name] = round(float(stream.uniform(*operation.range)), DECIMALS)
            if name == "crop":
                drawn["crop_x"], drawn["crop_y"] = stream.random(2).round(DECIMALS).tolist()
    return View(**drawn)  # type: ignore[arg-type]  # the integer fields are drawn as integers

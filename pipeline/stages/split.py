"""Split: give every image a place in train, val or test.

Exact copies and images of one group always land together, near-duplicates where
that is asked for: a copy of a training image in the test set would be scored as
skill.  A unit is such a set of rows.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from pipeline.console import say
from pipeline.files import Reads, Writes, replacing, write_json
from pipeline.near import MAX_DISTANCE, near_components
from pipeline.params import Section
from pipeline.splitting.counts import check_counts, counts, too_few
from pipeline.splitting.folds import fold_of_row, require_folds
from pipeline.splitting.leakage import find_nearest, gate_report, prove
from pipeline.splitting.strategies import (
    UnitSplits,
    as_times,
    by_column,
    by_hash,
    by_share,
    by_time,
)
from pipeline.splitting.units import (
    Units,
    check_labels,
    report_joined,
    unit_draws,
    unit_of_row,
)
from pipeline.tables import FOLD, SPLITS, read_hashes, read_manifest, write_table

Fraction = Annotated[float, Field(gt=0, lt=1)]


def _is_quoted(cut: Any) -> Any:
    """YAML reads 2024-05-01 as a date, which DVC refuses among params."""
    if isinstance(cut, date):
        raise ValueError(f"a date must stand in quotes, as {cut.isoformat()!r}")  # noqa: TRY004
    return cut


Cut = Annotated[float | str, BeforeValidator(_is_quoted)]


OTHERWISE = {  # to share images out, where some strategy leaves a split short of them
    "hash": "use split.strategy stratified",
    "stratified": "change split.val and split.test",
    "column": "name others in column split",
    "time": "move split.time_cuts",
}


class SplitParams(Section):
    """How units are shared out.  `train` receives what `val` and `test` leave."""

    strategy: Literal["hash", "stratified", "column", "time"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    val: Fraction  # of units (hash) or pictures (stratified)
    test: Fraction
    stratify_columns: list[str]  # stratified: exact proportions over the label and these
    time_column: str | None  # time: an extra column of ISO dates or of numbers
    time_cuts: list[Cut]  # time: where val and where test begin
    near_duplicates: Literal["ignore", "together"]
    near_distance: Annotated[int, Field(ge=0, le=MAX_DISTANCE)]  # bits of the perceptual hash
    min_per_class: Annotated[int, Field(ge=0)]  # distinct pictures in each split; fewer: a warning
    folds: Annotated[int, Field(ge=0, le=100)]  # of train and val; 0: none

    @model_validator(mode="after")
    def _leaves_room_for_train(self) -> SplitParams:
        if self.val + self.test >= 1:
            raise ValueError(f"val + test must be below 1, got {self.val + self.test:g}")
        return self

    @model_validator(mode="after")
    def _can_be_validated_and_scored(self) -> SplitParams:
        if self.folds in {1, 2}:
            # one fold is scored, one chooses the epoch, the others train
            raise ValueError(f"folds must be 0 or at least 3, got {self.folds}")
        if self.folds and self.strategy == "time":
            raise ValueError("folds would train on the future of what they score; set folds to 0")
        return self

    @model_validator(mode="after")
    def _has_times(self) -> SplitParams:
        if self.strategy != "time":
            return self
        if self.time_column is None:
            raise ValueError("strategy time needs time_column, a column of the table")
        if len(self.time_cuts) != 2 or len({isinstance(cut, str) for cut in self.time_cuts}) > 1:
            raise ValueError(
                f"time_cuts must be two dates or two numbers, got {list(self.time_cuts)}"
            )
        _, marks = as_times(pd.Series([], dtype="str"), self.time_cuts)
        if not marks[0] < marks[1]:
            raise ValueError(f"time_cuts must be ISO dates and rise, got {list(self.time_cuts)}")
        return self


def run(
    params: SplitParams,
    *,
    manifest: Reads = Path("data/manifest.csv"),
    measures: Reads = Path("data/measures.csv"),
    splits: Writes = Path("data/splits.csv"),
    report: Writes = Path("reports/split.json"),
    leakage: Writes = Path("reports/leakage.json"),
) -> None:
    """Fill in the manifest's `split` column, and prove that it tears nothing.

    The reports count the images of each class by split, and list the nearest
    pairs of pictures in different splits, which `inspect` shows.

    Raises:
        InputError: One picture has two labels, the table's own split separates
            copies or groups, a split, a class's training set or all but two folds
            are empty, or the leakage gate fails.
    """
    images = read_manifest(manifest)
    check_labels(images, manifest)
    hashes = read_hashes(measures, images["digest"])
    units = find_units(images, hashes, params)
    draws = unit_draws(images, units, params.seed)
    place = place_units(images, units, draws, params, manifest)
    if params.strategy != "column" and (images["split"] != "").any():
        say("split: splits that the data name are not used; set split.strategy to column for them")
    images["split"] = np.array(SPLITS)[place[units]]
    if params.folds:
        columns = params.stratify_columns if params.strategy == "stratified" else None
        images[FOLD] = fold_of_row(
            images, units, place, manifest, folds=params.folds, seed=params.seed, columns=columns
        )
        require_folds(images[FOLD].to_numpy(), params.folds, manifest)
    otherwise = OTHERWISE[params.strategy]
    check_counts(images, int(units.max()) + 1, manifest, otherwise)
    few = too_few(images, params.min_per_class, otherwise)
    document = {**counts(images), "below_min_per_class": few}
    rows = len(images)
    with replacing(splits) as partial:
        write_table(partial, images)
        del images  # what is written is what counts, and memory need not hold both
        written = prove(partial, splits, rows, folds=params.folds > 0)
        pictures, found = find_nearest(
            written,
            measures,
            splits,
            params.near_distance,
            together=params.near_duplicates == "together",
        )
    write_json(report, document)
    write_json(leakage, gate_report(pictures, found, params.near_distance))


def find_units(images: pd.DataFrame, hashes: NDArray[np.uint64], params: SplitParams) -> Units:
    """Number the units, and say where one is joined that its names would not join."""
    if params.near_duplicates == "ignore":
        units = unit_of_row(images)
        report_joined(images, units, "copies")
        return units
    near, crowded = near_components(hashes, params.near_distance)
    units = unit_of_row(images, near)
    report_joined(images, units, "copies or near-duplicates")
    joined = unit_of_row(images).max() - units.max()
    say(f"split: near-duplicates make one unit of two, {joined} times")
    if crowded:
        say(f"split: {crowded} pictures look so much alike that not every pair was compared")
    return units


def place_units(
    images: pd.DataFrame,
    units: Units,
    draws: NDArray[np.float64],
    params: SplitParams,
    manifest: Path,
) -> UnitSplits:
    """Place the units by the strategy that is asked for."""
    shares = {"val": params.val, "test": params.test}
    if params.strategy == "hash":
        return by_hash(draws, **shares)
    if params.strategy == "stratified":
        return by_share(images, units, draws, params.stratify_columns, manifest, **shares)
    if params.strategy == "column":
        return by_column(images, units, manifest)
    return by_time(images, units, str(params.time_column), params.time_cuts, manifest)

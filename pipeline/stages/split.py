"""Split: give every image a place in train, val or test.

Exact copies and images of one group always land together: a copy of a training
image in the test set would be scored as skill.  A unit is such a set of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, model_validator

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.files import Reads, Writes, write_json
from pipeline.params import Section
from pipeline.tables import SPLITS, extra_columns, read_manifest, write_table

Fraction = Annotated[float, Field(gt=0, lt=1)]


class SplitParams(Section):
    """How units are shared out.  `train` receives what `val` and `test` leave."""

    strategy: Literal["hash", "stratified", "column"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    val: Fraction  # of units
    test: Fraction
    stratify_columns: list[str]  # stratified: exact proportions over the label and these

    @model_validator(mode="after")
    def _leaves_room_for_train(self) -> SplitParams:
        if self.val + self.test >= 1:
            raise ValueError(f"val + test must be below 1, got {self.val + self.test:g}")
        return self


def run(
    params: SplitParams,
    *,
    manifest: Reads = Path("data/manifest.csv"),
    splits: Writes = Path("data/splits.csv"),
    report: Writes = Path("reports/split.json"),
) -> None:
    """Fill in the manifest's `split` column, and count the images of each class by split.

    Raises:
        InputError: One picture has two labels, the table's own split separates
            copies or groups, or a split or a class's training set is empty.
    """
    images = read_manifest(manifest)
    check_labels(images, manifest)
    units = unit_of_row(images)
    if params.strategy == "hash":
        place = by_hash(images, units, params)
    elif params.strategy == "stratified":
        place = stratified(images, units, params, manifest)
    else:
        place = by_column(images, units, manifest)
    if params.strategy != "column" and (images["split"] != "").any():
        say("split: the table's own column split is not used; set split.strategy to column for it")
    images["split"] = place
    check_places(images, manifest)
    write_table(splits, images)
    write_json(report, counts(images))


def check_labels(images: pd.DataFrame, manifest: Path) -> None:
    """Refuse one picture under two labels, naming both files."""
    first = images.drop_duplicates("digest").set_index("digest")
    twins = first.loc[images["digest"]].reset_index()
    clashes = images[(images["label"] != twins["label"]).to_numpy()]
    if not clashes.empty:
        other = clashes.iloc[0]
        twin = first.loc[other["digest"]]
        raise InputError(
            manifest,
            f"{twin['path']} and {other['path']} are the same picture "
            f"but labelled {twin['label']!r} and {other['label']!r}",
            "remove the wrong one from the raw folder, then `dvc repro`",
        )


def unit_of_row(images: pd.DataFrame) -> pd.Series:
    """Number the units: rows joined by an equal digest or an equal (non-empty) group.

    Returns:
        Row to unit, int64; numbers are of no meaning beyond being equal or not.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    digests, _ = pd.factorize(images["digest"])
    keys = images["group"].where(images["group"] != "", "\0" + images["digest"])
    groups, _ = pd.factorize(keys)
    links = (pd.Series(1, images.index), (digests, groups + digests.max() + 1))
    size = digests.max() + groups.max() + 2
    _, component = connected_components(coo_array(links, shape=(size, size)), directed=False)
    return pd.Series(component[digests], images.index, dtype="int64")


def by_hash(images: pd.DataFrame, units: pd.Series, params: SplitParams) -> pd.Series:
    """Place each unit by a hash of its own name, whatever other images there are.

    A unit's name is its group, or its digest where it has none.  When a copy
    joins several groups into one unit, the lowest hash among their names decides.
    """
    grouped = images["group"] != ""
    names = ("group:" + images["group"]).where(grouped, "digest:" + images["digest"])
    draws = names.map({name: uniform(params.seed, name) for name in names.unique()})
    has_group = grouped.groupby(units).transform("any")
    for _, of_unit in names[has_group].groupby(units[has_group]):
        one_of_each = of_unit.drop_duplicates()
        if len(one_of_each) > 1 and images.loc[of_unit.index, "digest"].duplicated().any():
            paths = ", ".join(images.loc[one_of_each.index, "path"].head(4))
            say(f"split: copies join groups or put an ungrouped picture into one: {paths}")
    lowest = draws.where(grouped | ~has_group).groupby(units).transform("min")
    place = pd.Series("train", images.index)
    place[lowest < params.test + params.val] = "val"
    place[lowest < params.test] = "test"
    return place


def uniform(seed: int, name: str) -> float:
    """A number in [0, 1) that belongs to a name."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def stratified(
    images: pd.DataFrame, units: pd.Series, params: SplitParams, manifest: Path
) -> pd.Series:
    """Share out units in equal proportions of every combination of label and named columns."""
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    absent = sorted(set(params.stratify_columns) - set(extra_columns(images)))
    if absent:
        reason = f"has no extra column {absent[0]!r}, named in split.stratify_columns"
        have = ", ".join(extra_columns(images)) or "none"
        raise InputError(manifest, reason, f"name extra columns of your table (it has: {have})")
    # one row a unit, that of its smallest digest, so that file names do not matter
    order = images["digest"].sort_values(kind="stable").index
    first = units[order].drop_duplicates()
    stratum = images.loc[first.index, ["label", *params.stratify_columns]].agg(
        " / ".join, axis="columns"
    )
    stratum.index = pd.Index(first)
    few = stratum.value_counts().sort_index()
    if few.min() < len(SPLITS):
        reason = f"{few.idxmin()!r} has {few.min()} distinct images or groups, needs {len(SPLITS)}"
        raise InputError(manifest, reason, "add images, or stratify over fewer columns")

    place = pd.Series("train", stratum.index)
    try:
        rest, test = train_test_split(
            stratum.index, test_size=params.test, stratify=stratum, random_state=params.seed
        )
        share = params.val / (1 - params.test)
        _, val = train_test_split(
            rest, test_size=share, stratify=stratum[rest], random_state=params.seed
        )
    except ValueError as error:
        fix = "raise split.val or split.test, add images, or use split.strategy hash"
        raise InputError(manifest, f"cannot be stratified: {error}", fix) from error
    place[test], place[val] = "test", "val"
    return units.map(place)


def by_column(images: pd.DataFrame, units: pd.Series, manifest: Path) -> pd.Series:
    """Take the table's own split, and refuse one that separates copies or groups."""
    place = images["split"]
    unknown = images[~place.isin(SPLITS)]
    if not unknown.empty:
        row = unknown.iloc[0]
        reason = f"{row['path']} has split {row['split']!r}, not one of {', '.join(SPLITS)}"
        raise InputError(manifest, reason, "fill in the table's split column, or change strategy")
    torn = place.groupby(units).nunique()
    if (torn > 1).any():
        rows = images[units == torn[torn > 1].index[0]].drop_duplicates("split")
        one, other = rows.iloc[0], rows.iloc[1]
        what = "copies" if one["digest"] == other["digest"] else f"of one group {one['group']!r}"
        reason = (
            f"{one['path']} in {one['split']} and {other['path']} in {other['split']} are {what}"
        )
        raise InputError(manifest, reason, "give both the same split in the table")
    return place


def check_places(images: pd.DataFrame, manifest: Path) -> None:
    """Refuse splits that cannot be trained on or measured with; warn of thin ones."""
    table = pd.crosstab(images["label"], images["split"]).reindex(columns=SPLITS, fill_value=0)
    for split in SPLITS:
        if table[split].sum() == 0:
            fix = "add images, raise split.val and split.test, or use split.strategy stratified"
            raise InputError(manifest, f"no image of {len(images)} fell into {split}", fix)
    for label, row in table.iterrows():
        absent = [split for split in SPLITS if row[split] == 0]
        if "train" in absent:
            fix = "add images of it, or use split.strategy stratified"
            raise InputError(manifest, f"class {label!r} has no training image", fix)
        if absent:
            where = " or ".join(absent)
            say(
                f"split: class {label!r} has no image in {where}: its figures will say little; "
                "add images, or use split.strategy stratified"
            )


def counts(images: pd.DataFrame) -> dict[str, dict[Hashable, int]]:
    """Images of each class by split."""
    by_split = images.groupby("split")["label"]
    return {str(split): labels.value_counts().to_dict() for split, labels in by_split}

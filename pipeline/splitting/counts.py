"""How many images of each class came into each split, and whether that is enough."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import pandas as pd

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.splitting.units import SHOWN
from pipeline.tables import SPLITS


def by_class(images: pd.DataFrame) -> pd.DataFrame:
    """Rows of each class (index) by split (column)."""
    return pd.crosstab(images["label"], images["split"]).reindex(columns=SPLITS, fill_value=0)


def counts(images: pd.DataFrame) -> dict[str, dict[Hashable, int]]:
    """Images of each class by split."""
    by_split = images.groupby("split")["label"]
    return {str(split): labels.value_counts().to_dict() for split, labels in by_split}


def check_counts(images: pd.DataFrame, units: int, manifest: Path, otherwise: str) -> None:
    """Refuse splits that cannot be trained on or measured with; warn of absent classes.

    Args:
        units: How many the images are, where what must share a split counts as one.
        otherwise: How else to share images out, as an order.

    Raises:
        InputError: A split is empty, or what a class has to train on.
    """
    table = by_class(images)
    for split in SPLITS:
        if table[split].sum() == 0:
            together = f", in {units} units that stay together," if units < len(images) else ""
            reason = f"no image of {len(images)}{together} fell into {split}"
            raise InputError(manifest, reason, f"add images, or {otherwise}")
    for label, row in table.iterrows():
        absent = [split for split in SPLITS if row[split] == 0]
        if "train" in absent:
            enough = row[list(SPLITS)].sum() >= len(SPLITS)
            fix = f"add images of it, or {otherwise if enough else 'take it out'}"
            raise InputError(manifest, f"class {label!r} has no training image", fix)
        if absent:
            where = " or ".join(absent)
            say(
                f"split: class {label!r} has no image in {where}: its figures will say little; "
                f"add images, or {otherwise}"
            )


def too_few(images: pd.DataFrame, least: int, otherwise: str) -> dict[str, dict[str, int]]:
    """Name the classes of fewer distinct pictures in a split than wanted, on stderr too.

    Returns:
        Class to split to pictures, for those that are too few.
    """
    table = by_class(images.drop_duplicates("digest"))
    thin = table[(table < least).any(axis="columns")]
    few = {
        str(label): {split: int(row[split]) for split in SPLITS if row[split] < least}
        for label, row in thin.iterrows()
    }
    for label, short in list(few.items())[:SHOWN]:
        have = ", ".join(f"{number} in {split}" for split, number in short.items())
        say(
            f"split: class {label!r} has {have}, below split.min_per_class {least}; "
            f"add images of it, join it with another class, {otherwise}, "
            "or lower split.min_per_class"
        )
    if len(few) > SHOWN:
        others = ", ".join(repr(label) for label in list(few)[SHOWN:])
        say(f"split: below split.min_per_class too: {others}")
    return few

"""Units: the rows that must share a split, and the numbers in [0, 1) that belong to each."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.near import joined

AT_ONCE = 100_000  # names that are Python's own strings at a time
SHOWN = 10  # lines on one matter; a million images could give as many

Units = NDArray[np.int64]
"""(row,) the number of each row's unit, from 0 up without gaps."""


def check_labels(images: pd.DataFrame, manifest: Path) -> None:
    """Refuse one picture under two labels, naming both files."""
    kinds = images[["digest", "label"]].drop_duplicates()
    again = kinds[kinds["digest"].duplicated()]
    if not again.empty:
        other = images.loc[again.index[0]]
        twin = images[images["digest"] == other["digest"]].iloc[0]
        raise InputError(
            manifest,
            f"{twin['path']} and {other['path']} are the same picture "
            f"but labelled {twin['label']!r} and {other['label']!r}",
            "remove the wrong one from the raw folder, or from its table, then `dvc repro`",
        )


def unit_of_row(images: pd.DataFrame, near: NDArray[np.int64] | None = None) -> Units:
    """Number the units: rows joined by an equal digest, group or number of `near`.

    Args:
        images: Columns digest and group; an empty group is none.
        near: (row,) equal where pictures are near-duplicates; None: none are.
    """
    digests, _ = pd.factorize(images["digest"])
    grouped = (images["group"] != "").to_numpy()
    groups, _ = pd.factorize(images.loc[grouped, "group"])
    count = len(images)
    links = [(digests[grouped], groups + count)]  # a node a digest, then a group, then a number
    if near is not None:
        links.append((digests, near + 2 * count))
    size = int(max(digests.max(), *(side.max(initial=0) for _, side in links))) + 1
    component = joined(np.arange(size), links)
    units: Units = pd.factorize(component[digests])[0].astype(np.int64)
    return units


def unit_draws(
    images: pd.DataFrame, units: Units, seed: int, purpose: str = ""
) -> NDArray[np.float64]:
    """A number in [0, 1) for each unit, drawn by its own name, whatever other units there are.

    A unit's name is its group, or its digest where it has none.  When copies or
    near-duplicates join several into one unit, the lowest number among its
    groups decides, or among its digests if there is no group.

    Args:
        purpose: Another one gives other numbers.

    Returns:
        (unit,) float64.
    """
    names, codes, grouped = _names(images)
    has_group = np.zeros(units.max() + 1, dtype=bool)
    has_group[units[grouped]] = True
    decides = grouped | ~has_group[units]
    draws = np.ones(len(names))
    deciding = np.unique(codes[decides])
    for start in range(0, len(deciding), AT_ONCE):
        some = deciding[start : start + AT_ONCE]
        draws[some] = [uniform(seed, purpose + name) for name in names[some]]
    lowest = np.ones(len(has_group))
    np.minimum.at(lowest, units[decides], draws[codes[decides]])
    return lowest


def uniform(seed: int, name: str) -> float:
    """A number in [0, 1) that belongs to a name."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def report_joined(images: pd.DataFrame, units: Units, how: str) -> None:
    """Say where a unit has a group and another name beside it: growing data may then move it.

    Args:
        how: What joins rows, such as "copies".
    """
    _, codes, grouped = _names(images)
    named = pd.DataFrame({"unit": units, "name": codes}).drop_duplicates()
    several = np.bincount(named["unit"]) > 1
    with_group = np.zeros_like(several)
    with_group[units[grouped]] = True
    joined = np.flatnonzero(several & with_group)
    for unit in joined[:SHOWN]:
        firsts = named.index[named["unit"] == unit][:4]
        paths = ", ".join(images["path"].iloc[firsts])
        say(f"split: {how} join groups or put an ungrouped picture into one: {paths}")
    if len(joined) > SHOWN:
        say(f"split: {how} join groups in {len(joined) - SHOWN} more cases")


def _names(images: pd.DataFrame) -> tuple[pd.Index, NDArray[np.int64], NDArray[np.bool_]]:
    """The distinct names, each row's place among them, and which rows have a group."""
    grouped = images["group"] != ""
    names = ("group:" + images["group"]).where(grouped, "digest:" + images["digest"])
    codes, distinct = pd.factorize(names)
    return distinct, codes, grouped.to_numpy()

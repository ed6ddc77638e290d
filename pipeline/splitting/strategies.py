"""Where each unit goes: by a hash, in exact shares, by the table's own column or by time.

Each strategy returns the split of each unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.splitting.shares import apportion
from pipeline.splitting.units import Units
from pipeline.tables import SPLITS, extra_columns

UnitSplits = NDArray[np.int64]
"""(unit,) index into `SPLITS`."""

TRAIN, VAL, TEST = range(3)


def by_hash(draws: NDArray[np.float64], *, val: float, test: float) -> UnitSplits:
    """Place each unit by its own number in [0, 1), whatever other units there are."""
    return np.select([draws < test, draws < test + val], [TEST, VAL], TRAIN)


def by_share(
    images: pd.DataFrame,
    units: Units,
    draws: NDArray[np.float64],
    columns: Sequence[str],
    manifest: Path,
    *,
    val: float,
    test: float,
) -> UnitSplits:
    """Share out the distinct pictures of every stratum exactly, units whole.

    Args:
        columns: A stratum is a combination of label and these.

    Raises:
        InputError: There is no such column, or a stratum has too few units.
    """
    kinds = strata(images, units, columns, manifest)
    few = kinds.groupby("stratum")["unit"].nunique()
    if few.min() < len(SPLITS):
        reason = f"{few.idxmin()!r} has {few.min()} distinct images or groups, needs {len(SPLITS)}"
        fix = "add images, or " + ("stratify over fewer columns" if columns else "take it out")
        raise InputError(manifest, reason, fix)
    backwards = apportion(kinds, draws, [test, val, 1 - test - val])
    return len(SPLITS) - 1 - backwards


def strata(
    images: pd.DataFrame, units: Units, columns: Sequence[str], manifest: Path
) -> pd.DataFrame:
    """Distinct pictures of each unit by stratum: columns unit, stratum and pictures."""
    absent = sorted(set(columns) - set(extra_columns(images)))
    if absent:
        reason = f"has no extra column {absent[0]!r}, named in split.stratify_columns"
        have = ", ".join(extra_columns(images)) or "none"
        raise InputError(manifest, reason, f"name extra columns of your table (it has: {have})")
    by = list(dict.fromkeys(["label", *columns]))
    rows = images[["digest", *by]].reset_index(drop=True)
    # copies may differ in the columns; file names must not decide
    rows = rows.sort_values(["digest", *by]).drop_duplicates("digest")
    # a slash of their own is doubled, or two strata could have one name
    stratum, *others = (rows[name].str.replace("/", "//") for name in ["label", *columns])
    for other in others:
        stratum = stratum + " / " + other
    kinds = pd.DataFrame({"unit": units[rows.index], "stratum": stratum})
    return kinds.groupby(["unit", "stratum"]).size().reset_index(name="pictures")


def by_column(images: pd.DataFrame, units: Units, manifest: Path) -> UnitSplits:
    """Take the table's own split, and refuse one that tears a unit."""
    unknown = images[~images["split"].isin(SPLITS)]
    if not unknown.empty:
        row = unknown.iloc[0]
        reason = f"{row['path']} has split {row['split']!r}, not one of {', '.join(SPLITS)}"
        raise InputError(manifest, reason, "fill in the table's split column, or change strategy")
    place = pd.Categorical(images["split"], categories=SPLITS).codes.astype(np.int64)
    lowest, highest = spread(place, units)
    torn = np.flatnonzero(lowest != highest)
    if len(torn):
        reason = torn_reason(images[units == torn[0]])
        raise InputError(manifest, reason, "give both the same split in the table")
    return lowest


def torn_reason(unit: pd.DataFrame) -> str:
    """Two rows of a unit that stand in two splits, and what they have in common."""
    links = {"digest": "are copies", "group": "are of one group"}
    for column, words in links.items():
        rows = unit[unit[column] != ""].drop_duplicates([column, "split"])
        rows = rows[rows[column].duplicated(keep=False)].sort_values(column, kind="stable")
        if not rows.empty:
            one, other = rows.iloc[0], rows.iloc[1]
            which = f" {one[column]!r}" if column == "group" else ""
            pair = f"{one['path']} in {one['split']} and {other['path']} in {other['split']}"
            return f"{pair} {words}{which}"
    one, other = (unit.drop_duplicates("split").iloc[at] for at in (0, 1))
    pair = f"{one['path']} in {one['split']} and {other['path']} in {other['split']}"
    return f"{pair} are joined by near-duplicates"


def by_time(
    images: pd.DataFrame,
    units: Units,
    column: str,
    cuts: Sequence[float | str],
    manifest: Path,
) -> UnitSplits:
    """Before the first cut train, from the second on test; a unit goes by its latest row.

    docs/decisions/0019-time-splits-go-by-the-latest-row.md argues for the latest.

    Raises:
        InputError: There is no such column, or a row holds no time in it.
    """
    if column not in extra_columns(images):
        have = ", ".join(extra_columns(images)) or "none"
        reason = f"has no extra column {column!r}, named in split.time_column"
        raise InputError(manifest, reason, f"name an extra column of your table (it has: {have})")
    times, marks = as_times(images[column], cuts)
    unreadable = np.flatnonzero(np.isnan(times))
    if len(unreadable):
        row = images.iloc[unreadable[0]]
        kind = "ISO date" if isinstance(cuts[0], str) else "number"
        reason = f"{row['path']} has {column} {row[column]!r}, which is no {kind}"
        raise InputError(manifest, reason, "mend the table, or change strategy")
    place = np.searchsorted(marks, times, side="right").astype(np.int64)
    _, latest = spread(place, units)
    later = int((latest[units] != place).sum())
    if later:
        say(
            f"split: {later} images from before a cut stand behind it, "
            "with copies of theirs or the rest of their group"
        )
    return latest


def as_times(
    values: pd.Series, cuts: Sequence[float | str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Text as numbers that can be compared, the cuts too; NaN where it is no time.

    A date without a zone is taken for UTC.  Dates become seconds: a float64
    holds those of the next millennia to the microsecond.
    """
    if not isinstance(cuts[0], str):
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
        return np.where(np.isfinite(numbers), numbers, np.nan), np.array(cuts, np.float64)
    return _seconds(values), _seconds(pd.Series(cuts, dtype="str"))


def _seconds(values: pd.Series) -> NDArray[np.float64]:
    # pandas takes `now` for the time of the run
    written = values.where(values.str.match(r"\s*\d"))
    written = written.str.strip().str.replace(r" ?UTC$", "Z", regex=True)
    # of nanoseconds pandas would have dates up to the year 2262 only
    written = written.str.replace(r"[.,](\d{1,6})\d*", r".\1", regex=True)
    dates = pd.to_datetime(written, format="ISO8601", utc=True, errors="coerce")
    # whose own differences are of nanoseconds, which end in the year 2262
    stamps = dates.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    return np.asarray((stamps - np.datetime64(0, "us")) / np.timedelta64(1, "s"), np.float64)


def spread(place: NDArray[np.int64], units: Units) -> tuple[UnitSplits, UnitSplits]:
    """The lowest and the highest place among each unit's rows."""
    count = int(units.max()) + 1
    lowest, highest = np.full(count, len(SPLITS)), np.full(count, -1)
    np.minimum.at(lowest, units, place)
    np.maximum.at(highest, units, place)
    return lowest, highest

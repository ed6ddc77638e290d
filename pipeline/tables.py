"""The tables that pass between stages: byte-stable CSV files, read with their types.

manifest  path, label, digest, width, height, weight, group, split, extra columns;
          and container, position, size where images lie in archives
splits    the manifest with `split` filled in; with `fold` where split.folds is set
views     digest, view, and one column per field of `pipeline.images.views.View`
measures  digest, perceptual_hash, brightness, contrast, sharpness; one row a digest
rejected  path, reason, detail

`path` is relative to the raw folder, `digest` is of the decoded pixels.  A
picture filed twice has two rows; `distinct` leaves one.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from pipeline.errors import InputError
from pipeline.files import replacing

MANIFEST_COLUMNS = ("path", "label", "digest", "width", "height", "weight", "group", "split")
PLACE_COLUMNS = ("container", "position", "size")  # of the archive, and where in it
FOLD = "fold"  # of a row of train or val; empty in test
SPLITS = ("train", "val", "test")
SPLIT_WORDS = {  # as others call them, without capitals
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
NUMBERS = dict.fromkeys(("width", "height", "position", "size"), "int64") | {"weight": "float64"}
REMAKE = "run `dvc repro`, which makes it"
REJECTED_COLUMNS = ("path", "reason", "detail")
MEASURED = {"brightness": "float64", "contrast": "float64", "sharpness": "float64"}
MEASURE_COLUMNS = ("digest", "perceptual_hash", *MEASURED)


def read_manifest(file: Path) -> pd.DataFrame:
    """Read a manifest, or the splits made from one, in file order.

    Raises:
        InputError: The file is absent, lacks a column or has no rows.
    """
    return read_table(file, MANIFEST_COLUMNS, NUMBERS)


def read_measures(file: Path) -> pd.DataFrame:
    """Read what `ingest` measured, one row a digest, ordered by digest.

    Raises:
        InputError: The file is absent, lacks a column or has no rows.
    """
    return read_table(file, MEASURE_COLUMNS, MEASURED)


def read_rejected(file: Path) -> pd.DataFrame:
    """Read the rejected table, which may have no rows.

    Raises:
        InputError: The file is absent or lacks a column.
    """
    return read_table(file, REJECTED_COLUMNS, may_be_empty=True)


def read_table(
    file: Path,
    columns: Sequence[str],
    numbers: Mapping[str, Any] | None = None,
    *,
    only: bool = False,
    may_be_empty: bool = False,
) -> pd.DataFrame:
    """Read a CSV file as text, empty cells as empty strings.

    Args:
        columns: Must be there; others may.
        numbers: Column to numeric type, for those that are no text; they may be absent.
        only: Read no other columns, for the sake of memory.

    Raises:
        InputError: The file is absent or is not such a table.
    """
    try:
        table = pd.read_csv(
            file,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8",
            usecols=columns.__contains__ if only else None,
        )
    except FileNotFoundError:
        raise InputError(file, "does not exist", REMAKE) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(file, f"is not a table: {error}", REMAKE) from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(file, f"has no column {', '.join(missing)}", REMAKE)
    if table.empty and not may_be_empty:
        raise InputError(file, "has no rows", REMAKE)
    try:
        return table.astype({n: kind for n, kind in (numbers or {}).items() if n in table})
    except ValueError as error:
        raise InputError(file, f"holds what is no number: {error}", REMAKE) from error


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Write a CSV file; see `write_csv`."""
    with replacing(file) as partial:
        write_csv(table, partial)


def write_csv(table: pd.DataFrame, to: Path | TextIO) -> None:
    """Write a table with the shortest text that reads back as the same numbers."""
    # a lone carriage return would go unquoted, and be read back as the end of a line
    texts = [name for name in list(table) if not is_numeric_dtype(table[name])]
    returns = any("\r" in str(name) for name in table) or any(
        table[name].astype(str).str.contains("\r").any() for name in texts
    )
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    table.to_csv(to, index=False, lineterminator="\n", encoding="utf-8", quoting=quoting)


def prediction_table(
    images: pd.DataFrame, classes: Sequence[str], probabilities: NDArray[np.floating]
) -> pd.DataFrame:
    """Put probabilities (image, class) beside what names the images."""
    table = images.reset_index(drop=True)
    for column, label in enumerate(classes):
        # the shortest text of a float32: so many decimals would make small ones alike
        table[probability_column(label)] = probabilities[:, column].astype(np.float32)
    return table


def probability_column(label: str) -> str:
    """The column of a prediction table that holds a class's probability."""
    return f"probability_{label}"


def distinct(table: pd.DataFrame) -> pd.DataFrame:
    """One row a picture, ordered by digest: the first by path stands for its copies.

    But its group is that of any copy; groups that copies join have one name.
    """
    if table["digest"].duplicated().any():
        table = table.assign(group=_joined_groups(table["digest"], table["group"]))
    first = table.sort_values("path", kind="stable").drop_duplicates("digest")
    return first.sort_values("digest").reset_index(drop=True)


def _joined_groups(digests: pd.Series, groups: pd.Series) -> pd.Series:
    """(row,) the first of the groups that copies join, one after another, with a row's own."""
    names = np.sort(groups[groups != ""].unique().astype("str"))
    if not len(names):
        return groups
    own, _ = pd.factorize(groups)
    number = pd.Series(np.where(groups == "", len(names), np.searchsorted(names, groups)))
    while True:
        joined = number.groupby(digests.to_numpy()).transform("min")
        lowest = joined.groupby(own).transform("min").where((groups != "").to_numpy(), joined)
        if lowest.equals(number):
            return pd.Series(np.append(names, "")[number], groups.index)
        number = lowest


def units_of(groups: pd.Series) -> NDArray[np.int64]:
    """Number what tells as much as one image: a group, or an image without one.

    Images of one patient or module are alike, so a set of images says as much
    as it has groups.

    Args:
        groups: (image,) the column `group` of distinct images, "" for none.

    Returns:
        (image,) from 0 on without a gap; where no image has a group, its own number.
    """
    own = np.arange(len(groups))
    first = pd.Series(own).groupby(groups.to_numpy()).transform("min").to_numpy()
    return np.unique(np.where(groups == "", own, first), return_inverse=True)[1].astype(np.int64)


def extra_columns(table: pd.DataFrame) -> list[str]:
    """The columns that the user's own table brought along."""
    own = {*MANIFEST_COLUMNS, *PLACE_COLUMNS, FOLD}
    return [column for column in table.columns if column not in own]


def read_hashes(file: Path, digests: pd.Series) -> NDArray[np.uint64]:
    """Look up perceptual hashes in data/measures.csv.

    Returns:
        (digest,) uint64, in the order of `digests`.

    Raises:
        InputError: The file is absent, lacks one of the digests or holds what is no hash.
    """
    table = read_table(file, ("digest", "perceptual_hash"), only=True)
    text = table["perceptual_hash"]
    bad = text[~text.str.fullmatch("[0-9a-f]{16}")]
    if not bad.empty:
        raise InputError(file, f"holds {bad.iloc[0]!r}, which is no perceptual hash", REMAKE)
    # as numbers: a million digests as Python's strings would take a quarter of a gigabyte
    codes, _ = pd.factorize(pd.concat([table["digest"], digests]))
    known, wanted = codes[: len(table)], codes[len(table) :]
    if known.max() + 1 < len(known):
        raise InputError(file, "has two rows of one digest", REMAKE)
    if wanted.max() >= len(known):
        reason = f"has no row of digest {digests[wanted >= len(known)].iloc[0]!r}"
        raise InputError(file, reason, REMAKE)
    values = np.frombuffer(bytes.fromhex("".join(text)), dtype=">u8").astype(np.uint64)
    return np.asarray(values[wanted])

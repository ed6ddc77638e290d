"""Labels by a table beside the images."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import InputError, RejectedImage, in_words
from pipeline.listing.alike import Alike
from pipeline.listing.folders import with_split
from pipeline.listing.listing import FAULTS, Listing, Rejected
from pipeline.sources.content import content
from pipeline.sources.found import Found, leads_outside
from pipeline.sources.place import Place, fix_of
from pipeline.sources.table import may_name_labels, read_label_table

MAX_WEIGHT = 1e6
MAX_TABLE = 2_000_000_000  # bytes

Fault = tuple[str, str]
"""Why a row cannot be used: a stable code and a sentence."""


def from_table(raw: Path, table: Found, found: Sequence[Found]) -> Listing:
    """Take the rows of a table, whose paths start where the table lies.

    The split of train.csv and train/any.csv is train, where no row names its own.

    Raises:
        InputError: The table cannot be used.
    """
    rows = with_split(read_label_table(str(table.place), bytes_of(table)), table.path)
    return from_rows(raw, table, found, rows, [None] * len(rows))


def names_labels(table: Found) -> bool:
    """Whether a file that is called as tables are has the columns path and label.

    Also where something is wrong with it: folders must not overrule it for that.
    """
    if table.path.lower().endswith(".json"):
        return True  # only COCO's annotations are among tables
    content = bytes_of(table)
    try:
        read_label_table(str(table.place), content)
    except InputError:
        return may_name_labels(table.path, content)
    return True


def bytes_of(table: Found) -> bytes:
    """What a table's file holds.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return content(table.place, MAX_TABLE)
    except RejectedImage as rejection:
        fix = fix_of(rejection, "mend or replace it")
        raise InputError(str(table.place), str(rejection), fix) from rejection


def from_rows(
    raw: Path,
    table: Found,
    found: Sequence[Found],
    rows: pd.DataFrame,
    faults: Sequence[Fault | None],
) -> Listing:
    """Find the images of a table's rows.

    Args:
        faults: What is known to be wrong with each row.

    Raises:
        InputError: There are none.
    """
    if rows.empty:
        raise InputError(str(table.place), "holds no images", "give it a row for each image")
    folder = posixpath.dirname(table.path)
    by_path = {item.path: item for item in reversed(found)}  # of one name the first counts
    paths = [posixpath.normpath(posixpath.join(folder, path)) for path in rows["path"]]
    alike = Alike(found if any(path not in by_path for path in paths) else [], folder)
    inside = table.place.member != ""  # of an archive: nothing beside it is meant
    container = table.place.file.relative_to(raw).as_posix()
    rejected: list[Rejected] = []
    usable: list[bool] = []
    places: list[Place] = []
    absent: set[str] = set()
    named = {table.path}
    cells_of = rows[["path", "label", "weight"]].itertuples(index=False)
    for number, (path, known, cells) in enumerate(
        zip(paths, faults, cells_of, strict=True), start=1
    ):
        item = by_path.get(path)
        fault = known or fault_in_row(*cells) or (_fault_of(item) if item else None)
        if not fault and inside and not path.startswith(f"{container}/"):
            fault = "outside", FAULTS["outside"]
        if not fault and not item:
            fault = _fault_of_absent(raw, path, alike, inside=inside)
        if not item or item.fault == "linked_nowhere":
            absent.add(cells[0] if fault else path)  # as the rejected table will have it
        usable.append(fault is None)
        if fault:
            where = f"row {number} of {posixpath.basename(table.path)}"
            rejected.append(Rejected(cells[0], fault[0], f"{fault[1]} ({where})"))
            named.add(path)
        else:
            places.append(item.place if item else Place(raw / path))
    listed = {*paths, table.path}
    return Listing(
        rows.assign(path=paths).loc[np.array(usable, dtype=bool)].reset_index(drop=True),
        places,
        rejected,
        sorted(label for label in set(rows["label"]) if label.strip()),
        [item.path for item in found if item.path not in listed],
        frozenset(absent),
        frozenset(named),
    )


def fault_in_row(path: str, label: str, weight: str) -> Fault | None:
    """What is wrong with a row's own cells: a code and a sentence."""
    if not path or "\0" in path:
        return "no_path", f"path is {path!r}"
    if path.startswith("/"):
        return "outside", "is not relative to the table's folder"
    if not label.strip():
        return "no_label", "label is empty"
    if weight and not 0 <= pd.to_numeric(weight, errors="coerce") <= MAX_WEIGHT:
        return "bad_weight", f"weight is {weight!r}, not a number from 0 to {MAX_WEIGHT:g}"
    return None


def _fault_of(item: Found) -> Fault | None:
    return (item.fault, FAULTS[item.fault]) if item.fault else None


def _fault_of_absent(raw: Path, path: str, alike: Alike, *, inside: bool) -> Fault | None:
    """Of what was not found; a hidden file may be named."""
    if leads_outside(raw, path):
        return "outside", "lies outside the raw folder"
    if not inside:
        try:
            (raw / path).lstat()
        except PermissionError as error:  # of a folder on the way
            return "no_permission", in_words(error)
        except OSError:
            pass
        else:
            return None
    meant = alike.to(path)
    missing = "is not in the archive" if inside else "does not exist"
    return "missing", missing + (f"; did you mean {meant!r}?" if meant else "")

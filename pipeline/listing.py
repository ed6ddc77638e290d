"""Find the labelled images in a raw folder: a folder per class, or one table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.errors import InputError

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
OPTIONAL_COLUMNS = ("weight", "group", "split")
RESERVED_COLUMNS = ("digest", "width", "height")
LAYOUTS = "a folder per class, or a CSV, TSV or Parquet table with the columns path and label"


class Rejected(NamedTuple):
    """A file or row that cannot be used; `reason` is a stable code."""

    path: str
    reason: str
    detail: str


class Listing(NamedTuple):
    """What the raw folder holds, before any image is opened.

    `images` has the columns path, label, weight, group, split and the table's
    extra ones; `classes` names every class, also one without a usable image.
    """

    images: pd.DataFrame
    rejected: list[Rejected]
    classes: list[str]


def list_images(raw: Path, table_name: str | None) -> Listing:
    """List a raw folder by its table, or else by its class folders.

    Args:
        table_name: The table's file name in `raw`; None: the only table there.

    Raises:
        InputError: The folder is absent or empty, or its table cannot be used.
    """
    if not raw.is_dir():
        reason = "is not a folder" if raw.exists() else "does not exist"
        raise InputError(raw, reason, f"put your images there: {LAYOUTS}")
    table = _table_file(raw, table_name)
    listing = _from_folders(raw) if table is None else _from_table(raw, table)
    if listing.images.empty and not listing.rejected:
        raise InputError(table or raw, "holds no images", f"fill it: {LAYOUTS}")
    return listing


def _table_file(raw: Path, name: str | None) -> Path | None:
    if name is not None:
        if not (raw / name).is_file() or Path(name).suffix.lower() not in TABLE_SUFFIXES:
            reason = "ingest.table names no CSV, TSV or Parquet file"
            raise InputError(raw / name, reason, "name a table in the raw folder, or null")
        return raw / name
    tables = sorted(
        file
        for file in raw.iterdir()
        if file.suffix.lower() in TABLE_SUFFIXES and not file.name.startswith(".")
    )
    if len(tables) > 1:
        names = ", ".join(file.name for file in tables)
        raise InputError(raw, f"holds {len(tables)} tables ({names})", "set ingest.table to one")
    return tables[0] if tables else None


def _from_folders(raw: Path) -> Listing:
    """The first folder below `raw` is the label, however deep the image lies."""
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for file in visible_files(raw):
        path = file.relative_to(raw)
        try:
            path.as_posix().encode()
        except UnicodeEncodeError:
            shown = path.as_posix().encode("utf-8", "backslashreplace").decode()
            rejected.append(Rejected(shown, "name_not_utf8", "rename the file"))
            continue
        if len(path.parts) == 1:
            rejected.append(Rejected(path.name, "no_label", "lies in no class folder"))
        elif _leads_outside(raw, path.as_posix()):
            rejected.append(Rejected(path.as_posix(), "outside", "a link that leaves the folder"))
        else:
            rows.append({"path": path.as_posix(), "label": path.parts[0]})
    images = pd.DataFrame(rows, columns=["path", "label"])
    images = images.assign(weight=1.0, group="", split="")
    folders = sorted(f.name for f in raw.iterdir() if f.is_dir() and not f.name.startswith("."))
    return Listing(images, rejected, folders)


def visible_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder in order of name, but for those hidden by a leading dot."""
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(parent, name)


def _leads_outside(raw: Path, path: str) -> bool:
    """Whether a path, links followed, ends anywhere but below `raw`."""
    target = os.path.realpath(raw / path)
    return os.path.commonpath([target, os.path.realpath(raw)]) != os.path.realpath(raw)


def _from_table(raw: Path, file: Path) -> Listing:
    table = _read_table(file)
    rejected: list[Rejected] = []
    usable: list[bool] = []
    for number, (path, label, weight) in enumerate(
        zip(table["path"], table["label"], table["weight"], strict=True), start=1
    ):
        fault = _fault_in_row(raw, path, label, weight)
        usable.append(fault is None)
        if fault is not None:
            rejected.append(Rejected(path, fault[0], f"{fault[1]} (row {number} of {file.name})"))
    images = table.loc[np.array(usable, dtype=bool)].reset_index(drop=True)
    images["weight"] = pd.to_numeric(images["weight"].replace("", "1")).astype("float64")
    return Listing(images, rejected, sorted(set(table["label"]) - {""}))


def _fault_in_row(raw: Path, path: str, label: str, weight: str) -> tuple[str, str] | None:
    if not path or "\0" in path:
        return "no_path", f"path is {path!r}"
    if not label:
        return "no_label", "label is empty"
    if weight and not 0 <= pd.to_numeric(weight, errors="coerce") < float("inf"):
        return "bad_weight", f"weight is {weight!r}, not a number from 0 up"
    if _leads_outside(raw, path):
        return "outside", "lies outside the raw folder"
    return None


def _read_table(file: Path) -> pd.DataFrame:
    """Read a table as text, with every optional column present."""
    try:
        if file.suffix.lower() == ".parquet":
            table = pd.read_parquet(file).map(lambda cell: "" if pd.isna(cell) else str(cell))
        else:
            separator = "\t" if file.suffix.lower() == ".tsv" else ","
            table = pd.read_csv(
                file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
    except (OSError, ValueError) as error:
        reason = f"cannot be read as a table: {' '.join(str(error).split())}"
        raise InputError(file, reason, "save it again as UTF-8 text or as Parquet") from error
    for column in ("path", "label"):
        if column not in table.columns:
            reason = f"has no column {column!r}, only {', '.join(map(str, table.columns))}"
            raise InputError(file, reason, f"name the column {column!r}")
    for column in RESERVED_COLUMNS:
        if column in table.columns:
            raise InputError(file, f"column {column!r} is one of ingest's own", "rename it")
    return table.assign(**{c: "" for c in OPTIONAL_COLUMNS if c not in table.columns})

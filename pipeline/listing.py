"""Find the labelled images in a raw folder: a folder per class, or one table."""

from __future__ import annotations

import csv
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.errors import InputError

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
OPTIONAL_COLUMNS = ("weight", "group", "split")
RESERVED_COLUMNS = ("digest", "width", "height", "fold")
MAX_WEIGHT = 1e6
LAYOUTS = "a folder per class, or a CSV, TSV or Parquet table with the columns path and label"


class Rejected(NamedTuple):
    """A file or row that cannot be used; `reason` is a stable code."""

    path: str
    reason: str
    detail: str


class Listing(NamedTuple):
    """What the raw folder holds, before any image is opened.

    `images` has the columns path, label, weight, group, split and the table's
    extra ones; `classes` names every class, also one without a usable image;
    `unlisted` counts the files that the table does not name.
    """

    images: pd.DataFrame
    rejected: list[Rejected]
    classes: list[str]
    unlisted: int


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
        if file.is_file()
        and file.suffix.lower() in TABLE_SUFFIXES
        and not file.name.startswith(".")
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
        if len(path.parts) == 1 and not file.is_dir():
            rejected.append(Rejected(path.name, "no_label", "lies in no class folder"))
        elif file.is_dir():
            rejected.append(Rejected(path.as_posix(), "linked_folder", "links are not followed"))
        elif _leads_outside(raw, path.as_posix()):
            rejected.append(Rejected(path.as_posix(), "outside", "a link that leaves the folder"))
        else:
            rows.append({"path": path.as_posix(), "label": path.parts[0]})
    images = pd.DataFrame(rows, columns=["path", "label"])
    images = images.assign(weight=1.0, group="", split="")
    folders = sorted(f.name for f in raw.iterdir() if f.is_dir() and not f.name.startswith("."))
    return Listing(images, rejected, folders, 0)


def visible_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder in order of name, but for those hidden by a leading dot.

    A link to a folder is not followed, but named like a file.
    """
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        links = [name for name in subfolders if Path(parent, name).is_symlink()]
        for name in sorted([*names, *links]):
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
    images["path"] = [posixpath.normpath(path) for path in images["path"]]
    images["weight"] = pd.to_numeric(images["weight"].replace("", "1")).astype("float64")
    listed = {posixpath.normpath(path) for path in table["path"]} | {file.name}
    files = (found.relative_to(raw).as_posix() for found in visible_files(raw))
    unlisted = sum(path not in listed for path in files)
    return Listing(images, rejected, sorted(set(table["label"]) - {""}), unlisted)


def _fault_in_row(raw: Path, path: str, label: str, weight: str) -> tuple[str, str] | None:
    if not path or "\0" in path:
        return "no_path", f"path is {path!r}"
    if path.startswith("/"):
        return "outside", "is not relative to the raw folder"
    if not label:
        return "no_label", "label is empty"
    if weight and not 0 <= pd.to_numeric(weight, errors="coerce") <= MAX_WEIGHT:
        return "bad_weight", f"weight is {weight!r}, not a number from 0 to {MAX_WEIGHT:g}"
    if _leads_outside(raw, path):
        return "outside", "lies outside the raw folder"
    return None


def _read_table(file: Path) -> pd.DataFrame:
    """Read a table as text, with every optional column present."""
    try:
        read = _read_parquet if file.suffix.lower() == ".parquet" else _read_text
        table = read(file)
    except InputError:
        raise
    except Exception as error:  # a damaged Parquet file can fail in any way
        reason = f"cannot be read as a table: {' '.join(str(error).split())}"
        raise InputError(file, reason, "save it again as UTF-8 text or as Parquet") from error
    columns = list(table.columns)
    for column in ("path", "label"):
        if column not in columns:
            reason = f"has no column {column!r}, only {', '.join(columns) or 'none at all'}"
            raise InputError(file, reason, f"name the column {column!r}")
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(file, f"has {columns.count(column)} columns {column!r}", "keep one")
        if column in RESERVED_COLUMNS:
            raise InputError(file, f"column {column!r} is one of the pipeline's own", "rename it")
    return table.assign(**{c: "" for c in OPTIONAL_COLUMNS if c not in columns})


def _read_text(file: Path) -> pd.DataFrame:
    """Read CSV or TSV; a row of another length than the header would shift its cells."""
    separator = "\t" if file.suffix.lower() == ".tsv" else ","
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, delimiter=separator, strict=True)
        header = next(reader, [])
        rows = []
        for row in reader:
            if row and len(row) != len(header):
                reason = f"line {reader.line_num} has {len(row)} cells, the header {len(header)}"
                raise InputError(file, reason, "mend the line; quote cells that hold separators")
            if row:
                rows.append(row)
    return pd.DataFrame(rows, columns=pd.Index(header), dtype="str")


def _read_parquet(file: Path) -> pd.DataFrame:
    """Read Parquet; Arrow turns each value into text, and what is absent into an empty cell."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute, parquet  # noqa: PLC0415

    table = parquet.ParquetFile(file).read()
    cells = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            text = column.cast(pa.string())
        except pa.ArrowException:
            reason = f"column {name!r} is of type {column.type}, which is no text"
            raise InputError(file, reason, "leave the column out") from None
        cells[name] = compute.fill_null(text, "").to_pylist()
    if len(cells) < len(table.column_names):
        raise InputError(file, "has two columns of one name", "keep one")
    return pd.DataFrame(cells, dtype="str")

"""A table of images and labels, read as text: CSV, TSV, JSON Lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import pandas as pd

from pipeline.errors import InputError
from pipeline.sources.place import in_words

OPTIONAL_COLUMNS = ("weight", "group", "split")
RESERVED_COLUMNS = ("digest", "width", "height", "fold", "container", "position", "size")


def read_label_table(name: str, content: bytes) -> pd.DataFrame:
    """Read a table as text, with every optional column present.

    Args:
        name: Of the file, for its ending and for errors.

    Raises:
        InputError: It cannot be read, or lacks path or label.
    """
    try:
        table = READERS[PurePath(name).suffix.lower()](name, content)
    except InputError:
        raise
    except Exception as error:  # a damaged Parquet file can fail in any way
        reason = f"cannot be read as a table: {in_words(error)}"
        raise InputError(name, reason, "save it again as UTF-8 text or as Parquet") from error
    return with_columns(name, table, ("path", "label"))


def with_columns(name: str, table: pd.DataFrame, needed: tuple[str, ...]) -> pd.DataFrame:
    """Add the optional columns that are absent.

    Raises:
        InputError: A needed column is absent, or one is there that may not be.
    """
    columns = list(table.columns)
    for column in needed:
        if column not in columns:
            reason = f"has no column {column!r}, only {', '.join(columns) or 'none at all'}"
            raise InputError(name, reason, f"name the column {column!r}")
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(name, f"has {columns.count(column)} columns {column!r}", "keep one")
        if column in RESERVED_COLUMNS:
            raise InputError(name, f"column {column!r} is one of the pipeline's own", "rename it")
    return table.assign(**{c: "" for c in OPTIONAL_COLUMNS if c not in columns})


def arrow_as_text(name: str, table: Any) -> pd.DataFrame:
    """Let Arrow turn each value into text, and what is absent into an empty cell.

    Raises:
        InputError: A column has no text, or two have one name.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    cells = {}
    for column, values in zip(table.column_names, table.columns, strict=True):
        try:
            text = values.cast(pa.string())
        except pa.ArrowException:
            reason = f"column {column!r} is of type {values.type}, which is no text"
            raise InputError(name, reason, "leave the column out") from None
        cells[column] = compute.fill_null(text, "").to_pylist()
    if len(cells) < len(table.column_names):
        raise InputError(name, "has two columns of one name", "keep one")
    return pd.DataFrame(cells, dtype="str")


def _read_text(name: str, content: bytes) -> pd.DataFrame:
    """Read CSV or TSV; a row of another length than the header would shift its cells."""
    separator = "\t" if name.lower().endswith(".tsv") else ","
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    reader = csv.reader(text, delimiter=separator, strict=True)
    header = next(reader, [])
    rows = []
    for row in reader:
        if row and len(row) != len(header):
            reason = f"line {reader.line_num} has {len(row)} cells, the header {len(header)}"
            raise InputError(name, reason, "mend the line; quote cells that hold separators")
        if row:
            rows.append(row)
    return pd.DataFrame(rows, columns=pd.Index(header), dtype="str")


def _read_json_lines(name: str, content: bytes) -> pd.DataFrame:
    """Read an object a line; a key that a line lacks, or null, is an empty cell."""
    rows = []
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict) or any(isinstance(v, (dict, list)) for v in row.values()):
            reason = f"line {number} is no object of plain values"
            raise InputError(name, reason, "leave nested values out")
        rows.append({key: as_text(value) for key, value in row.items()})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return pd.DataFrame(rows, columns=pd.Index(columns), dtype="str").fillna("")


def as_text(value: object) -> str:
    """A JSON value as a cell."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _read_parquet(name: str, content: bytes) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    return arrow_as_text(name, parquet.ParquetFile(pa.BufferReader(content)).read())


READERS: dict[str, Callable[[str, bytes], pd.DataFrame]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}

"""A table of images and labels, read as text: CSV, TSV, JSON Lines or Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import pandas as pd

from pipeline.console import say
from pipeline.errors import InputError, in_words
from pipeline.sources.parquet import FILE_NAME
from pipeline.tables import FOLD, MANIFEST_COLUMNS, PLACE_COLUMNS, SPLIT_WORDS

OPTIONAL_COLUMNS = ("weight", "group", "split")
LONGEST = 2**31 - 1  # letters of a cell; csv's own limit is of 131,072
WHOLE = re.compile(r"\A(-?\d+)\.0\Z", re.ASCII)  # as `_whole` would spell it in text
SEPARATORS = re.compile("[;\t,|]")
NO_VALUE = {"na", "n/a", "nan", "none", "null", "<na>"}  # as R and pandas write an absent one
RESERVED_COLUMNS = {*MANIFEST_COLUMNS, *PLACE_COLUMNS, FOLD} - {"path", "label", *OPTIONAL_COLUMNS}


def read_label_table(name: str, content: bytes) -> pd.DataFrame:
    """Read a table as text, with every optional column present.

    What `datasets` calls `file_name` is the path, where there is no column `path`.

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
    if "path" not in table.columns:
        table = table.rename(columns={FILE_NAME: "path"})
    for column in table.columns:
        meant = column.strip().casefold()
        if meant in OPTIONAL_COLUMNS and meant not in table.columns:
            reason = f"has a column {column!r}, which would not count as {meant!r}"
            raise InputError(name, reason, f"call it {meant!r}, or quite otherwise")
    return with_columns(name, table, ("path", "label"))


def may_name_labels(name: str, content: bytes) -> bool:
    """Whether a table's header names path and label, be the table otherwise usable or not."""
    parquet = name.lower().endswith(".parquet")
    header = _parquet_header(content) if parquet else _first_line(content)
    words = set(re.findall(r"\w+", header.casefold()))
    return "label" in words and not words.isdisjoint({"path", FILE_NAME})


def _first_line(content: bytes) -> str:
    return content.partition(b"\n")[0].replace(b"\0", b"").decode(errors="replace")


def _parquet_header(content: bytes) -> str:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        return " ".join(parquet.read_schema(pa.BufferReader(content)).names)
    except Exception:  # noqa: BLE001  # a damaged Parquet file can fail in any way
        return ""


def with_columns(name: str, table: pd.DataFrame, needed: tuple[str, ...]) -> pd.DataFrame:
    """Add the optional columns that are absent, and let each split have its usual name.

    A column without a name, as of pandas' index, goes.

    Raises:
        InputError: A needed column is absent, or one is there that may not be.
    """
    if "" in table:
        say(f"ingest: {name}: a column without a name left out")
        table = table.drop(columns="")
    columns = list(table.columns)
    for column in needed:
        if column not in columns:
            reason = f"has no column {column!r}, only {', '.join(columns) or 'none at all'}"
            reason += ", and no rows" if table.empty else ""
            raise InputError(name, reason, _way_to(column, columns))
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(name, f"has {columns.count(column)} columns {column!r}", "keep one")
        if column in RESERVED_COLUMNS:
            raise InputError(name, f"column {column!r} is one of the pipeline's own", "rename it")
    table = table.assign(**{c: "" for c in OPTIONAL_COLUMNS if c not in columns})
    groups = table["group"].where(table["group"].str.strip() != "", "")  # blank is none
    absent = groups[groups.str.strip().str.casefold().isin(NO_VALUE)]
    for word, rows in absent.value_counts().items():
        if rows > 1:
            reason = f"{rows} rows have the group {word!r}, and would count as one unit"
            fix = "leave these cells empty, or give the group another name"
            raise InputError(name, reason, fix)
    words = {cell: SPLIT_WORDS.get(cell.strip().lower(), cell) for cell in table["split"].unique()}
    return table.assign(group=groups, split=table["split"].map(words).astype("str"))


def _way_to(column: str, columns: list[str]) -> str:
    """How a table gets a column that it lacks."""
    if len(columns) == 1 and (found := SEPARATORS.search(columns[0])):
        return f"save it with commas (.csv) or tabs (.tsv): its separator is {found[0]!r}"
    if near := [name for name in columns if name.strip().casefold() == column]:
        return f"call it {column!r}, not {near[0]!r}"
    return f"name the column {column!r}"


def without_foreign(name: str, table: pd.DataFrame, *more: str) -> pd.DataFrame:
    """Leave out, and say so, columns of a file of images that are the pipeline's own words.

    Whoever got such a file cannot rename its columns.

    Args:
        more: Names that are not the file's to give, either.
    """
    foreign = [column for column in table.columns if column in (*RESERVED_COLUMNS, *more)]
    if foreign:
        say(f"ingest: {name}: columns left out: {', '.join(foreign)}, which ingest itself writes")
    return table.drop(columns=foreign)


def arrow_as_text(name: str, table: Any) -> pd.DataFrame:
    """Let Arrow turn each value into text, and what is absent into an empty cell.

    Columns that no text can stand for, as lists, are left out, which is said.

    Raises:
        InputError: One of those that count has no text, or two have one name.
    """
    if len(set(table.column_names)) < len(table.column_names):
        raise InputError(name, "has two columns of one name", "keep one")
    cells = {}
    for column, values in zip(table.column_names, table.columns, strict=True):
        text = _text_of(values)
        if text is not None:
            cells[column] = text
        elif column in ("path", "label", *OPTIONAL_COLUMNS):
            reason = f"column {column!r} is of type {values.type}, which is no text"
            raise InputError(name, reason, "save it as text or numbers")
        else:
            say(f"ingest: {name}: column {column} left out: it holds no text but {values.type}")
    return pd.DataFrame(cells, dtype="str")


def _text_of(values: Any) -> list[str] | None:
    """An Arrow column's values as text, those absent and NaN empty; None: it has none."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    real = pa.types.is_floating(values.type)
    if real:
        values = compute.if_else(compute.is_nan(values), None, values)
    try:
        text: list[str] = compute.fill_null(values.cast(pa.string()), "").to_pylist()
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if not real:
        return text
    return [
        _whole(value) if value is not None and value.is_integer() else own
        for value, own in zip(values.to_pylist(), text, strict=True)
    ]


def _whole(value: float) -> str:
    """A whole number's text, whether a file holds it as an integer or, beside empty cells, not."""
    return str(int(value))


def _read_text(name: str, content: bytes) -> pd.DataFrame:
    """Read CSV or TSV; a row of another length than the header would shift its cells."""
    separator = "\t" if name.lower().endswith(".tsv") else ","
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    reader = csv.reader(text, delimiter=separator, strict=True)
    rows = []
    csv.field_size_limit(LONGEST)
    try:
        header = next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                reason = f"line {reader.line_num} has {len(row)} cells, the header {len(header)}"
                raise InputError(name, reason, "mend the line; quote cells that hold separators")
            if row:
                rows.append(row)
    except csv.Error as error:
        reason = f"line {reader.line_num} cannot be read: {error}"
        raise InputError(name, reason, "mend the line; double the quotes within quotes") from error
    table = pd.DataFrame(rows, columns=pd.Index(header), dtype="str")
    if header.count("group") == 1:  # a number's spelling tells no two groups apart
        table["group"] = table["group"].str.replace(WHOLE, r"\1", regex=True)
    return table


def _read_json_lines(name: str, content: bytes) -> pd.DataFrame:
    """Read an object a line; a key that a line lacks, or null, is an empty cell."""
    rows = []
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_cells_of(line))
        except (ValueError, RecursionError) as error:
            reason = f"line {number} {in_words(error)}"
            raise InputError(name, reason, "mend the line") from error
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return pd.DataFrame(rows, columns=pd.Index(columns), dtype="str").fillna("")


def _cells_of(line: str) -> dict[str, str]:
    """An object of plain values as cells.

    Raises:
        ValueError: It is none, or holds what is no text.
    """
    row = json.loads(line, object_pairs_hook=_once)
    if not isinstance(row, dict) or any(isinstance(v, (dict, list)) for v in row.values()):
        raise ValueError("is no object of plain values; leave nested ones out")
    cells = {key: as_text(value) for key, value in row.items()}
    "".join([*cells, *cells.values()]).encode()
    return cells


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each of whose keys counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("names a key twice; keep one")
    return found


def as_text(value: object) -> str:
    """A JSON value as a cell; an absent one, null or NaN, is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return _whole(value)
    return "" if value is None or value != value else json.dumps(value)  # noqa: PLR0124


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

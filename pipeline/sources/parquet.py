"""Images in a column of a Parquet file, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError, RejectedImage, in_words
from pipeline.sources.place import Place, fix_of, rejection_of

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".parquet",)
FIX = "save it again, as `datasets` does, in row groups of some hundred images"
IMAGE = "image"  # what `datasets` calls the column
FILE_NAME = "file_name"  # and that of paths, in metadata beside images
DIGEST = 64  # bytes of the longest
AT_ONCE = 64  # images in memory while they are listed
_one_at_a_time = Lock()


def image_columns(file: Path) -> list[str]:
    """The columns that may hold the images: of structs with a field `bytes`, or else of bytes.

    Bytes beside a column `path` are none: the file is a table beside images; so are
    those beside `file_name` that are no longer than digests.  What is called image
    comes alone.

    Raises:
        InputError: The file cannot be read.
    """
    import pyarrow as pa  # noqa: PLC0415

    fields = {str(field.name): field.type for field in _open(file).schema_arrow}
    structs = [
        name
        for name, type_ in fields.items()
        if pa.types.is_struct(type_)
        and (inner := type_.get_field_index("bytes")) >= 0
        and _is_bytes(type_.field(inner).type)
    ]
    plain = [name for name, type_ in fields.items() if _is_bytes(type_) and "path" not in fields]
    if FILE_NAME in fields:
        plain = [name for name in plain if name != FILE_NAME and _is_long(file, name)]
    return [IMAGE] if IMAGE in {*structs, *plain} else structs or plain


def _is_long(file: Path, column: str) -> bool:
    """Whether the first value of a column of bytes is longer than any digest."""
    import pyarrow.compute as pc  # noqa: PLC0415

    for batch in _open(file).iter_batches(1, columns=[column]):
        return (pc.binary_length(batch.column(0))[0].as_py() or 0) > DIGEST
    return False


def image_column(file: Path) -> str | None:
    """The column of images, or None.

    Raises:
        InputError: The file cannot be read, or it has several and none is called image.
    """
    found = image_columns(file)
    if len(found) > 1:
        reason = f"has {len(found)} columns of images ({', '.join(found)})"
        raise InputError(file, reason, f"call the one that counts {IMAGE!r}, or drop the others")
    return found[0] if found else None


def members(file: Path, column: str) -> Iterator[tuple[Place, str]]:
    """Every row's image, with what is wrong with it: a reason code, or "".

    Raises:
        InputError: The file cannot be read.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    first = 0
    try:
        for batch in _open(file).iter_batches(AT_ONCE, columns=[column]):
            sizes = pc.binary_length(_bytes_of(batch.column(0))).to_pylist()
            for row, size in enumerate(sizes, first):
                wrong = "no_bytes" if size is None else "" if size else "empty_file"
                yield Place(file, f"{row:08}", row, size or 0), wrong
            first += len(sizes)
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(file, f"cannot be read: {in_words(error)}", FIX) from error


def labels_named(file: Path, column: str) -> list[str]:
    """The names behind a column of class numbers, where `datasets` left them; or []."""
    found = (_open(file).schema_arrow.metadata or {}).get(b"huggingface")
    try:
        feature = json.loads(found or b"{}")["info"]["features"][column]
        return [str(name) for name in feature["names"]]
    except (ValueError, KeyError, TypeError):
        return []


def is_numbers(column: Any) -> bool:
    """Whether a column of Arrow's holds numbers, and no text."""
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_integer(column.type) or pa.types.is_floating(column.type))


def other_columns(file: Path, image: str) -> Any:
    """The table without its images, as Arrow reads it.

    Raises:
        InputError: The file cannot be read.
    """
    names = [name for name in _open(file).schema_arrow.names if name != image]
    try:
        return _open(file).read(columns=names)
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(file, f"cannot be read: {in_words(error)}", FIX) from error


def read(place: Place) -> bytes:
    """The bytes of a row's image.

    Raises:
        RejectedImage: They are not there, or of another size than the place says.
    """
    try:
        place.file.stat()  # what is missing is not damaged
        column = image_column(place.file)
        ends = _ends(place.file)
        group = int(np.searchsorted(ends, place.position, side="right"))
        if column is None or group == len(ends):
            raise RejectedImage("missing", f"{place.file.name} has no such row")
        start = int(ends[group - 1]) if group else 0
        with _one_at_a_time:  # or every thread would read the same group
            images = _images(place.file, column, group)
        content = images[place.position - start].as_py()
    except OSError as error:
        raise rejection_of(error) from error
    except InputError as error:
        raise rejection_of(error.__cause__ or error) from error
    if not content or len(content) != place.size:
        raise RejectedImage("missing", f"{place.file.name} has another image there")
    return bytes(content)


def _open(file: Path) -> Any:
    try:
        return _opened(file, file.stat().st_mtime_ns)
    except Exception as error:  # a damaged file can fail in any way
        reason = f"cannot be read as Parquet: {in_words(error)}"
        raise InputError(file, reason, fix_of(error, FIX)) from error


@lru_cache(maxsize=8)
def _opened(file: Path, _changed: int) -> Any:
    from pyarrow import parquet  # noqa: PLC0415

    return parquet.ParquetFile(file)


def _ends(file: Path) -> Any:
    return _ends_of(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _ends_of(file: Path, _changed: int) -> Any:
    """Row at which each row group ends."""
    groups = _open(file).metadata
    return np.cumsum([groups.row_group(i).num_rows for i in range(groups.num_row_groups)])


def _images(file: Path, column: str, group: int) -> Any:
    return _group(file, file.stat().st_mtime_ns, column, group)


@lru_cache(maxsize=2)
def _group(file: Path, _changed: int, column: str, group: int) -> Any:
    """One row group's images: (row,) of bytes."""
    try:
        return _bytes_of(_open(file).read_row_group(group, columns=[column]).column(0))
    except Exception as error:  # a damaged file, or a group too large, can fail in any way
        raise InputError(file, f"cannot be read: {in_words(error)}", FIX) from error


def _bytes_of(images: Any) -> Any:
    """A column of structs as one of their bytes."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    found = images if _is_bytes(images.type) else pc.struct_field(images, "bytes")
    # Arrow does little with views
    return found.cast(pa.large_binary()) if pa.types.is_binary_view(found.type) else found


def _is_bytes(type_: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    kinds = pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view
    return any(is_kind(type_) for is_kind in kinds)

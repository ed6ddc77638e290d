"""The bytes at a place, whatever holds them."""

from __future__ import annotations

from pipeline.errors import RejectedImage
from pipeline.sources import parquet, tars, zips
from pipeline.sources.place import Place, check_size, read_file


def content(place: Place, limit: int | None = None) -> bytes:
    """Read an image's bytes.

    Raises:
        RejectedImage: They are not there, damaged, or more than `limit`.
    """
    found = _bytes(place, limit)
    if not found:
        raise RejectedImage("empty_file", "has 0 bytes")
    return found


def _bytes(place: Place, limit: int | None) -> bytes:
    if not place.member:
        return read_file(place.file, limit)
    check_size(place.size, limit)
    ending = place.file.suffix.lower()
    if ending in tars.ENDINGS:
        return tars.read(place)
    if ending in zips.ENDINGS:
        return zips.read(place, limit)
    if ending in parquet.ENDINGS:
        return parquet.read(place)
    raise RejectedImage("missing", f"{place.file.name} is no archive")

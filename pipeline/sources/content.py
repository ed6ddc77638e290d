"""The bytes at a place, whatever holds them."""

from __future__ import annotations

from pipeline.errors import RejectedImage
from pipeline.sources import compressed, parquet, tars, zips
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
    name = place.file.name.lower()
    if name.endswith(tars.ENDINGS):
        return tars.read(place)
    if compressed.is_compressed(place.file):
        return compressed.read(place)
    if name.endswith(zips.ENDINGS):
        return zips.read(place, limit)
    if name.endswith(parquet.ENDINGS):
        return parquet.read(place)
    raise RejectedImage("missing", f"{place.file.name} is no archive")

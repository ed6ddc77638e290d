"""The bytes at a place, whatever holds them."""

from __future__ import annotations

from pipeline.errors import RejectedImage
from pipeline.sources import parquet, tars, zips
from pipeline.sources.place import Place, check_file, read_span

MAX_BYTES = 1_000_000_000  # of an image; more is not read into memory


def content(place: Place, limit: int = MAX_BYTES) -> bytes:
    """Read an image's bytes.

    Raises:
        RejectedImage: They are not there, damaged, or more than `limit`.
    """
    check_file(place.file)
    size = place.size if place.member else place.file.stat().st_size
    if size > limit:
        raise RejectedImage("too_large", f"{size:,} bytes, more than {limit:,}")
    if not place.member:
        return read_span(place.file, 0, size)
    ending = place.file.suffix.lower()
    if ending in tars.ENDINGS:
        return tars.read(place)
    if ending in zips.ENDINGS:
        return zips.read(place, limit)
    if ending in parquet.ENDINGS:
        return parquet.read(place, limit)
    raise RejectedImage("missing", f"{place.file.name} is no archive")

"""List every source: a folder, an archive or a table in the raw folder.

What a source holds says how it is labelled: by a table, by what lies beside
each image, by a column of a Parquet file, or by folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import call
from pathlib import Path, PurePath

import pandas as pd

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.listing.coco import annotation_files, from_coco
from pipeline.listing.folders import FolderLabels, from_folders
from pipeline.listing.image_tables import from_image_table, is_image_table
from pipeline.listing.listing import Listing, faulty, joined
from pipeline.listing.samples import from_samples, with_samples
from pipeline.listing.tables import from_table, names_labels
from pipeline.sources.found import IMAGES, Found, Opener, leads_outside, look_through
from pipeline.sources.place import Place
from pipeline.sources.table import READERS as TABLES

Reader = Callable[[Path, Found, Sequence[Found]], Listing]
SHOWN = 3  # names of tables
READERS: dict[str, Reader] = {**dict.fromkeys(TABLES, from_table), ".json": from_coco}
LAYOUTS = (
    "a folder per class, or a CSV, TSV, JSONL or Parquet table with the columns path and label"
)


def list_images(
    raw: Path, sources: Sequence[str], folder_labels: FolderLabels, open_archive: Opener = call
) -> Listing:
    """List every source.

    Args:
        sources: Paths in `raw`; "." is the folder itself.
        open_archive: To remember what archives hold; by default each is asked.

    Raises:
        InputError: A source is absent, empty or cannot be used, or two hold one image.
    """
    if not raw.is_dir():
        reason = "is not a folder" if raw.exists() else "does not exist"
        raise InputError(raw, reason, f"put your images there: {LAYOUTS}")
    alone = len(sources) == 1
    sources = [os.path.normpath(source) for source in sources]
    if len({os.path.realpath(raw / source) for source in sources}) < len(sources):
        reason = f"two of ingest.sources ({', '.join(sources)}) are the same"
        raise InputError(raw, reason, "name each folder, archive or table once")
    listings = [
        _list_source(raw, source, folder_labels, open_archive, alone=alone) for source in sources
    ]
    seen: set[str] = set()
    for listing in listings:
        if both := seen & set(listing.images["path"]):
            reason = f"two of ingest.sources hold {min(both)}"
            raise InputError(raw, reason, "name each folder, archive or table once")
        seen |= set(listing.images["path"])
    whole = joined(listings)
    weights = pd.to_numeric(whole.images["weight"].replace("", "1")).astype("float64")
    return whole._replace(images=whole.images.assign(weight=weights))


def looked_through(below: Path) -> Path:
    """Where the files of a source lie: those of a table beside it.

    Raises:
        InputError: It is called Parquet and cannot be read.
    """
    table = below.is_file() and below.suffix.lower() in READERS and not is_image_table(below)
    return below.parent if table else below


def _list_source(
    raw: Path, source: str, folder_labels: FolderLabels, open_archive: Opener, *, alone: bool
) -> Listing:
    below = raw / source
    pure = PurePath(source)
    if pure.is_absolute() or ".." in pure.parts or leads_outside(raw, source):
        fix = f"name a path in {raw}"
        raise InputError(below, "of ingest.sources lies outside the raw folder", fix)
    if not os.access(below, os.F_OK):
        fix = "put it there, or correct ingest.sources"
        raise InputError(below, "does not exist", fix)
    found = list(look_through(raw, looked_through(below), open_archive))
    tables = _tables(below, found)
    inner = below
    while alone and (wrapper := _around_all(inner, found, tables)):
        say(f"ingest: all of {inner} lies in {wrapper}, which is no label")
        inner, found = inner / wrapper, [_unwrapped(item, wrapper) for item in found]
    listing = _labelled(raw, inner, found, tables, folder_labels)
    if listing.images.empty and not listing.rejected:
        raise InputError(below, "holds no images", f"fill it: {LAYOUTS}")
    if listing.images.empty and all(item.reason == "no_label" for item in listing.rejected):
        first = min(listing.rejected)
        reason = f"holds images, and none has a label, such as {first.path} ({first.detail})"
        fix = f"make it {LAYOUTS}; or name the folder that holds the classes' folders"
        raise InputError(below, reason, fix)
    return listing


def _tables(source: Path, found: Sequence[Found]) -> dict[str, Reader]:
    """What reads each table that was found, by the table's path."""
    own = Place(source)
    named = {item.path for item in found if not item.place.member and item.place == own}
    annotations = annotation_files(found) | named
    return {
        item.path: reader
        for item in found
        if not item.fault
        and (reader := READERS.get(item.path[item.path.rfind(".") :].lower()))
        and (reader is not from_coco or item.path in annotations)
    }


def _labelled(
    raw: Path,
    below: Path,
    found: Sequence[Found],
    tables: Mapping[str, Reader],
    folder_labels: FolderLabels,
) -> Listing:
    """Find out how what was found is labelled."""
    image_tables = [i for i in found if _is_file(i) and is_image_table(i.place.file)]
    known = {item.path for item in image_tables}
    uppermost = [i for i in found if len(i.parts) == 1 and i.path in tables.keys() - known]
    uppermost = [item for item in uppermost if item.place.file == below] or uppermost
    if len(uppermost) > 1:
        names = ", ".join(item.path for item in uppermost)
        reason = f"holds {len(uppermost)} tables ({names})"
        fix = "name the one that counts in ingest.sources, or each archive that has its own"
        raise InputError(below, reason, fix)
    if uppermost:
        return tables[uppermost[0].path](raw, uppermost[0], found)
    if image_tables:
        rest = [item for item in found if item.path not in known]
        parts = [from_image_table(item) for item in image_tables]
        beside = [item.path for item in rest if not item.fault]
        bad = faulty(rest)
        named = frozenset(item.path for item in bad)
        unlisted = Listing(parts[0].images[:0], [], bad, [], beside, named=named)
        return joined([*parts, unlisted])
    _check_none_labels(below, [item for item in found if item.path in tables.keys() - known])
    shards = with_samples(found)
    samples = [item for item in found if item.place.file in shards]
    rest = [item for item in found if item.place.file not in shards]
    packed = {name for item in samples for name in item.parts[:1]}
    packed -= {name for item in rest for name in item.parts[:1]}
    folders = [name for name in _folders_in(below) if name not in packed]
    by_folder = from_folders(below, rest, folders, folder_labels)
    return joined([from_samples(samples, raw), by_folder]) if samples else by_folder


def _check_none_labels(below: Path, tables: Sequence[Found]) -> None:
    """Refuse folders that hold tables of labels, which the folders' names would overrule.

    Raises:
        InputError: Some do; the first are named.
    """
    labelling = [item.path for item in tables if names_labels(item)]
    if labelling:
        names = ", ".join(labelling[:SHOWN]) + (", …" if len(labelling) > SHOWN else "")
        reason = f"has tables of labels within its folders ({names})"
        fix = "name each, or its folder, in ingest.sources; or remove them, if folders are labels"
        raise InputError(below, reason, fix)


def _around_all(below: Path, found: Sequence[Found], tables: Collection[str]) -> str:
    """A folder around all that is there, as strangers' archives have one, or "".

    It is no class, for there would be no other.
    """
    within = [item for item in found if item.fault != "outside" and len(item.parts) > 1]
    first = {item.parts[0] for item in within}
    alone = [item.path for item in found if len(item.parts) < 2]
    loose = any(path in tables or path.lower().endswith(IMAGES) for path in alone)
    if loose or len(first) != 1 or not set(_folders_in(below)) <= first:
        return ""
    deeper = any(len(item.parts) > 2 or item.path in tables for item in within)
    return first.pop() if deeper else ""


def _unwrapped(item: Found, folder: str) -> Found:
    return item._replace(parts=item.parts[1:]) if item.parts[:1] == (folder,) else item


def _folders_in(below: Path) -> list[str]:
    """Folders of the disk, also those that hold no file."""
    inside = below.iterdir() if below.is_dir() else ()
    return [file.name for file in inside if file.is_dir() and not file.name.startswith(".")]


def _is_file(item: Found) -> bool:
    return not item.fault and not item.place.member

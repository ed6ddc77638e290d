"""Labels beside each image, as WebDataset has them: key.jpg with key.cls or key.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.console import say
from pipeline.errors import RejectedImage
from pipeline.listing.folders import split_of_file
from pipeline.listing.listing import Listing, Rejected, faulty
from pipeline.listing.tables import fault_in_row
from pipeline.sources.content import content
from pipeline.sources.found import IMAGES, Found
from pipeline.sources.place import Place, in_order
from pipeline.sources.table import as_text, with_columns, without_foreign

LABEL, FIELDS = "cls", "json"
MAX_BESIDE = 1_000_000  # bytes
ASIDE = ("txt", "caption")  # of a sample, and no image
FEW = 16  # of an archive's files: the very first may lack a label, or a picture
FAR = 2  # from a picture's name


def with_samples(found: Sequence[Found]) -> set[Path]:
    """The archives that hold labels beside images: key.cls, or at the top key.json with a label.

    Of the latter the first few of each archive show what all are.
    """
    within = [item for item in found if item.place.member and not item.fault]
    labelled = {item.place.file for item in within if _extension(item) == LABEL}
    first: dict[Path, list[Found]] = {}
    for item in within:
        top = len(item.parts) == 1 and item.place.file not in labelled
        if top and _extension(item) == FIELDS:
            first.setdefault(item.place.file, []).append(item)
    by_key = {item.key: item for few in first.values() for item in few[:FEW]}
    pictured = {
        item.key
        for item in (within if by_key else ())
        if item.place.file in first and _extension(item) not in {FIELDS, *ASIDE}
    }
    beside = [item for key, item in by_key.items() if key in pictured]
    return labelled | {item.place.file for item in beside if _label_in(item)}


def _label_in(fields: Found) -> str:
    return _cells({FIELDS: _content(fields)}, set())[0]["label"]


def from_samples(found: Sequence[Found], raw: Path) -> Listing:
    """Take each sample's image, its label from key.cls, other columns from key.json.

    Raises:
        InputError: A column is one of ingest's own.
    """
    said = _read_all([i for i in found if not i.fault and _extension(i) in {LABEL, FIELDS}])
    rows: list[dict[str, str]] = []
    places: list[Place] = []
    rejected = faulty(found)
    left_out: set[str] = set()
    pictured = {item.key for item in found if item.fault}
    read = {key: _cells(beside, left_out) for key, beside in said.items()}
    labelled = {key for key, (cells, _) in read.items() if cells["label"]}
    files = [i for i in found if not i.fault and _extension(i) not in {LABEL, FIELDS, *ASIDE}]
    nearest: dict[str, int] = {}
    for item in files:
        nearest[item.key] = min(_distance(item), nearest.get(item.key, FAR))
    named = {item.place.file for item in files if _distance(item) == 0}
    beside = 0
    for item in files:
        far = _distance(item) == FAR and item.place.file in named
        if (far and item.key in labelled) or _distance(item) > nearest[item.key]:
            beside += 1  # 7.mask.png and 7.npy beside 7.png, or beside a label alone
            continue
        pictured.add(item.key)
        cells, fault = read.get(item.key, ({"label": ""}, None))
        wrong = fault or fault_in_row(item.path, cells["label"], cells.get("weight", ""))
        if wrong:
            rejected.append(Rejected(item.path, *wrong))
        else:
            split = split_of_file(item.place.file.relative_to(raw).as_posix())
            rows.append({"split": split, **cells, "path": item.path})
            places.append(item.place)
    for item in found:
        alone = item.key in labelled and item.key not in pictured
        if alone and _extension(item) in {LABEL, FIELDS}:
            pictured.add(item.key)  # it may have both
            rejected.append(Rejected(item.path, "missing", "no picture of its name is there"))
    columns = list(dict.fromkeys(["path", "label", *(name for row in rows for name in row)]))
    table = pd.DataFrame(rows, columns=pd.Index(columns), dtype="str").fillna("")
    if beside:
        say(f"ingest: left out: {beside} other files of samples, beside their pictures")
    if left_out:
        names = ", ".join(sorted(left_out))
        say(f"ingest: the samples' .json: keys left out: {names}, which hold no plain values")
    table = without_foreign("the samples' .json", table)
    table = with_columns("the samples' .json", table, ("path", "label"))
    own = frozenset(item.path for item in found)
    return Listing(table, places, rejected, sorted(set(table["label"])), [], named=own)


def _read_all(found: Sequence[Found]) -> dict[str, dict[str, bytes | RejectedImage]]:
    """What lies beside the images, by key and extension, in one pass over each archive."""
    said: dict[str, dict[str, bytes | RejectedImage]] = {}
    for number in in_order([item.place for item in found]):
        item = found[number]
        said.setdefault(item.key, {})[_extension(item)] = _content(item)
    return said


def _content(item: Found) -> bytes | RejectedImage:
    try:
        return content(item.place, MAX_BESIDE)
    except RejectedImage as rejection:
        return rejection


def _cells(
    beside: Mapping[str, bytes | RejectedImage], left_out: set[str]
) -> tuple[dict[str, str], tuple[str, str] | None]:
    cells: dict[str, str] = {"label": ""}
    try:
        for extension, read in sorted(beside.items(), reverse=True):  # .cls has the last word
            if isinstance(read, RejectedImage):
                raise read
            if extension == LABEL:
                cells["label"] = read.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
            else:
                fields: Any = json.loads(read)
                plain = {k: v for k, v in fields.items() if not isinstance(v, (dict, list))}
                cells |= {k: as_text(v) for k, v in plain.items()}
                left_out |= fields.keys() - plain.keys()
        "".join([*cells, *cells.values()]).encode()  # JSON may hold what is no text
    except (RejectedImage, ValueError, AttributeError, RecursionError) as error:
        return {"label": ""}, ("no_label", f"what lies beside it cannot be read: {error}")
    return cells, None


def _distance(item: Found) -> int:
    """How unlike a picture's a name is; a sample's pictures are what is least so."""
    extension = _extension(item)
    return 0 if f".{extension}" in IMAGES else FAR if "." in extension else 1


def _extension(item: Found) -> str:
    """All after the name's first dot, as WebDataset has it."""
    return item.path.rpartition("/")[2].partition(".")[2].lower()

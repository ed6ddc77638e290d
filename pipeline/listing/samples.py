"""Labels beside each image, as WebDataset has them: key.jpg with key.cls or key.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.errors import RejectedImage
from pipeline.listing.listing import Listing, Rejected, faulty
from pipeline.listing.tables import fault_in_row
from pipeline.sources.content import content
from pipeline.sources.found import Found
from pipeline.sources.place import Place
from pipeline.sources.table import as_text, with_columns

LABEL, FIELDS = "cls", "json"
ASIDE = ("txt", "caption")  # of a sample, and no image


def are_samples(found: Sequence[Found]) -> bool:
    """Whether archives hold labels beside images."""
    return any(item.place.member and _extension(item) == LABEL for item in found)


def from_samples(found: Sequence[Found]) -> Listing:
    """Take each sample's image, its label from key.cls, other columns from key.json.

    Raises:
        InputError: A column is one of ingest's own.
    """
    samples: dict[str, dict[str, Found]] = {}
    for item in found:
        if not item.fault:
            samples.setdefault(_key(item), {})[_extension(item)] = item
    rows: list[dict[str, str]] = []
    places: list[Place] = []
    rejected = faulty(found)
    for sample in samples.values():
        images = [i for name, i in sample.items() if name not in {LABEL, FIELDS, *ASIDE}]
        cells, fault = _cells(sample)
        for image in images:
            wrong = fault or fault_in_row(image.path, cells["label"], cells.get("weight", ""))
            if wrong:
                rejected.append(Rejected(image.path, *wrong))
            else:
                rows.append({**cells, "path": image.path})
                places.append(image.place)
    columns = list(dict.fromkeys(["path", "label", *(name for row in rows for name in row)]))
    table = pd.DataFrame(rows, columns=pd.Index(columns), dtype="str").fillna("")
    table = with_columns("the samples' .json", table, ("path", "label"))
    return Listing(table, places, rejected, sorted(set(table["label"])), 0)


def _cells(sample: dict[str, Found]) -> tuple[dict[str, str], tuple[str, str] | None]:
    cells: dict[str, str] = {"label": ""}
    said = {name: sample[name].place for name in (FIELDS, LABEL) if name in sample}
    in_order = sorted(said, key=lambda name: said[name].position)  # archives are read forwards
    try:
        read = {name: content(said[name]) for name in in_order}
        if FIELDS in read:
            fields: Any = json.loads(read[FIELDS])
            cells |= {k: as_text(v) for k, v in fields.items() if not isinstance(v, (dict, list))}
        if LABEL in read:
            cells["label"] = read[LABEL].decode().strip()
    except (RejectedImage, ValueError, AttributeError, RecursionError) as error:
        return cells, ("no_label", f"what lies beside it cannot be read: {error}")
    return cells, None


def _key(item: Found) -> str:
    folder, slash, name = item.path.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _extension(item: Found) -> str:
    """All after the name's first dot, as WebDataset has it."""
    return item.path.rpartition("/")[2].partition(".")[2].lower()

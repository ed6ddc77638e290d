"""Labels from COCO's annotations, where all that is marked in an image is of one category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.console import say
from pipeline.errors import InputError, RejectedImage
from pipeline.listing.folders import with_split
from pipeline.listing.listing import Listing
from pipeline.listing.tables import MAX_TABLE, Fault, bytes_of, from_rows
from pipeline.sources.content import content
from pipeline.sources.found import Found
from pipeline.sources.table import as_text, with_columns, without_foreign

ENDING = ".json"
LISTS = (b'"images"', b'"annotations"', b'"categories"')
SAID_BETTER = ("width", "height")  # by the image file
FIX = "export the annotations again, or label by a table with the columns path and label"


class _Image(BaseModel):
    model_config = ConfigDict(extra="allow")  # other columns

    id: int | str
    file_name: str


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int | str


class _Category(BaseModel):
    id: int | str
    name: str


class _Coco(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def annotation_files(found: Sequence[Found]) -> set[str]:
    """The paths of COCO's files: JSON that names its three lists and belongs to no one image."""
    documents = [item for item in found if _is_json(item) and not item.fault]
    if not documents:
        return set()
    stems = {item.key for item in documents}  # few, where images may be a million
    taken = {stem for i in found if not _is_json(i) and (stem := i.key) in stems}
    return {i.path for i in documents if i.key not in taken and _has_lists(i)}


def from_coco(raw: Path, table: Found, found: Sequence[Found]) -> Listing:
    """Give each image the category of its annotations; `file_name` starts where the file lies.

    Plain values of an image are columns.  The split of train/any.json and
    train-any.json is train, where no image names its own.

    Raises:
        InputError: The file is not as COCO's are.
    """
    name = str(table.place)
    try:
        given = _Coco.model_validate_json(bytes_of(table).removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"is not as COCO's annotations are: {where}: {first['msg']}"
        raise InputError(name, reason, FIX) from error
    for kind, entries in (("images", given.images), ("categories", given.categories)):
        for number, times in Counter(entry.id for entry in entries).most_common(1):
            if times > 1:
                raise InputError(name, f"has {times} {kind} of id {number!r}", FIX)
    cells, faults = _labelled(name, given)
    rows = with_columns(name, without_foreign(name, cells), ("path", "label"))
    return from_rows(raw, table, found, with_split(rows, table.path), faults)


def _labelled(name: str, given: _Coco) -> tuple[pd.DataFrame, list[Fault | None]]:
    """A row for each image, and what is wrong with its label."""
    categories = {category.id: category.name for category in given.categories}
    shown: dict[int | str, set[str]] = {image.id: set() for image in given.images}
    astray: list[int | str] = []
    for annotation in given.annotations:
        if annotation.image_id in shown:
            label = categories.get(annotation.category_id, "")
            shown[annotation.image_id].add(label)
        else:
            astray.append(annotation.image_id)
    if astray:
        say(
            f"ingest: {name}: {len(astray)} annotations are of none of its images, "
            f"such as image_id {astray[0]!r}"
        )
    rows: list[dict[str, str]] = []
    faults: list[Fault | None] = []
    for image in given.images:
        fault = _fault(shown[image.id])
        label = "" if fault else min(shown[image.id])
        rows.append({**_columns(image), "path": image.file_name, "label": label})
        faults.append(fault)
    columns = dict.fromkeys(["path", "label", *(key for row in rows for key in row)])
    return pd.DataFrame(rows, columns=pd.Index(columns), dtype="str").fillna(""), faults


def _fault(labels: set[str]) -> Fault | None:
    if not labels:
        return "no_label", "nothing is annotated in it"
    if "" in labels:
        return "no_label", "has an annotation of a category that is not listed or has no name"
    if len(labels) > 1:
        return "several_labels", f"shows {', '.join(sorted(labels))}"
    return None


def _columns(image: _Image) -> dict[str, str]:
    """What else is said of an image, as text."""
    others = {k: v for k, v in (image.model_extra or {}).items() if k not in SAID_BETTER}
    return {k: as_text(v) for k, v in others.items() if not isinstance(v, (dict, list))}


def _is_json(item: Found) -> bool:
    return item.path.lower().endswith(ENDING)


def _has_lists(item: Found) -> bool:
    try:
        given = content(item.place, MAX_TABLE)
    except RejectedImage:
        return False  # it is rejected as any other file that is no image
    return all(name in given for name in LISTS)

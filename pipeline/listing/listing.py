"""What listing gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from pipeline.sources.found import Found
from pipeline.sources.place import Place
from pipeline.sources.table import OPTIONAL_COLUMNS

FAULTS = {
    "linked_folder": "links are not followed",
    "linked_member": "links in archives are not followed",
    "outside": "leads outside the raw folder or its archive",
    "name_not_utf8": "rename the file",
    "name_twice": "an earlier member has the same name",
    "encrypted": "is encrypted",
    "unknown_compression": "is neither stored nor deflated",
    "linked_nowhere": "leads to nothing, or to itself",
    "no_bytes": "the row holds no bytes of an image, at most a path",
    "not_a_file": "is a device, a pipe, sparse or an empty folder",
    "empty_file": "has 0 bytes",
}


class Rejected(NamedTuple):
    """A file or row that cannot be used; `reason` is a stable code."""

    path: str
    reason: str
    detail: str


class Listing(NamedTuple):
    """What there is, before any image is opened.

    `images` has the columns path, label, weight, group, split and the table's
    extra ones; `places` says where each of them lies; `classes` names every
    class, also one without a usable image; `unlisted` has the files that no
    table names, `named` those beside `images` that are accounted for, the table
    itself included; `absent` has the paths that one names in vain.
    """

    images: pd.DataFrame
    places: list[Place]
    rejected: list[Rejected]
    classes: list[str]
    unlisted: list[str]
    absent: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()


def faulty(found: Iterable[Found]) -> list[Rejected]:
    """What lies there and cannot be opened."""
    return [Rejected(item.path, item.fault, FAULTS[item.fault]) for item in found if item.fault]


def joined(listings: Sequence[Listing]) -> Listing:
    """Several as one; a column that one of them lacks is empty there."""
    images = pd.concat([listing.images for listing in listings], ignore_index=True)
    extra = images.columns.drop("weight")
    images[extra] = images[extra].fillna("")
    return Listing(
        images,
        [place for listing in listings for place in listing.places],
        [rejected for listing in listings for rejected in listing.rejected],
        sorted({label for listing in listings for label in listing.classes}),
        _unlisted(listings),
        frozenset[str]().union(*(listing.absent for listing in listings)),
        frozenset[str]().union(*(listing.named for listing in listings)),
    )


def _unlisted(listings: Sequence[Listing]) -> list[str]:
    """Files that some listing does not know, and no other knows either."""
    paths = dict.fromkeys(path for listing in listings for path in listing.unlisted)
    if paths:
        for listing in listings:
            for path in (*listing.images["path"], *listing.named):
                paths.pop(path, None)
    return list(paths)


def images_of(paths: list[str], labels: list[str], **columns: list[str]) -> pd.DataFrame:
    """The columns that every listing has, and more."""
    table = pd.DataFrame({"path": paths, "label": labels, **columns}, dtype="str")
    missing = {name: "" for name in OPTIONAL_COLUMNS if name not in columns}
    return table.assign(**missing)

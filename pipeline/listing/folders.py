"""Labels by folder: of each class, or of each split and then each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Literal

import pandas as pd

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.listing.listing import Listing, Rejected, faulty, images_of
from pipeline.sources.found import Found
from pipeline.tables import SPLIT_WORDS

FolderLabels = Literal["first", "joined"]
SHOWN = 3  # names of folders


def from_folders(
    below: Path, found: Sequence[Found], folders: Sequence[str], labels: FolderLabels
) -> Listing:
    """An image's folder is its label.

    Where the uppermost folders are train and test or val, they are splits, and
    the folders in them classes.

    Args:
        below: Where they lie, for errors.
        folders: The uppermost folders, also those that hold no file.
        labels: Of nested folders the first is the label, or all of them, joined by "/".

    Raises:
        InputError: Some folders are those of splits, and some are not.
    """
    usable = [item for item in found if not item.fault]
    uppermost = {*folders, *(item.parts[0] for item in usable if len(item.parts) > 1)}
    depth = int(are_splits(below, uppermost))
    stray = [item for item in usable if len(item.parts) < depth + 2]
    images = [item for item in usable if len(item.parts) >= depth + 2]
    stray_in = "lies in no class folder" + (", only in that of a split" if depth else "")
    deeper = sum(len(item.parts) > depth + 2 for item in images)
    if deeper and labels == "first":
        say(
            f"ingest: {deeper} images of {below} lie in folders within those of their labels, "
            "which do not count; ingest.folder_labels joined makes labels of all"
        )
    _say_what_repeats(below, images, depth)
    end = depth + 1 if labels == "first" else -1
    named = ["/".join(item.parts[depth:end]) for item in images]
    splits = [SPLIT_WORDS[item.parts[0].lower()] if depth else "" for item in images]
    classes = set(named) if depth or labels == "joined" else {*named, *uppermost}
    return Listing(
        images_of([item.path for item in images], named, split=splits),
        [item.place for item in images],
        [
            *faulty(found),
            *(Rejected(item.path, "no_label", stray_in) for item in stray),
        ],
        sorted(classes),
        [],
        named=frozenset(item.path for item in found),
    )


def _say_what_repeats(below: Path, images: Sequence[Found], depth: int) -> None:
    """Say where each label's folder holds the same ones: the outer may be deliveries."""
    within: dict[str, set[str]] = {}
    for item in images:
        within.setdefault(item.parts[depth], set()).update(item.parts[depth + 1 : -1][:1])
    if len(within) > 1 and len(shared := set.intersection(*within.values())) > 1:
        outer, inner = (", ".join(sorted(names)[:SHOWN]) for names in (within, shared))
        say(
            f"ingest: in {below} each of {outer} holds folders {inner}; if these are the labels, "
            "name the former in ingest.sources"
        )


def are_splits(below: Path, folders: set[str]) -> bool:
    """Whether folders are those of splits: train and another one.

    Raises:
        InputError: Others lie beside them, or train is not there.
    """
    splits = {name: SPLIT_WORDS[name.lower()] for name in folders if name.lower() in SPLIT_WORDS}
    if len(set(splits.values())) < 2:
        return False
    others, names = sorted(folders - set(splits)), ", ".join(sorted(splits))
    if others:
        reason = f"holds folders of splits ({names}) beside {', '.join(others[:3])}"
        fix = "move the others elsewhere; or label the images by a table, if all are classes"
        raise InputError(below, reason, fix)
    if "train" not in splits.values():
        reason = f"holds folders of splits ({names}) and none that is called train"
        raise InputError(below, reason, "add it; or label by a table, if they are classes")
    return True


def split_of_file(path: str) -> str:
    """The split that a file's name begins with, or else its folder's is; or ""."""
    pure = PurePath(path)
    beginning = pure.name.partition(".")[0].partition("-")[0].lower()
    return SPLIT_WORDS.get(beginning) or SPLIT_WORDS.get(pure.parent.name.lower(), "")


def with_split(rows: pd.DataFrame, path: str) -> pd.DataFrame:
    """Rows of the file at `path`, with its split where none of them names its own."""
    return rows.assign(split=split_of_file(path)) if (rows["split"] == "").all() else rows

"""Labels by folder: of each class, or of each split and then each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pipeline.listing.listing import Listing, Rejected, faulty, images_of
from pipeline.sources.found import Found

FolderLabels = Literal["first", "joined"]
SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def from_folders(found: Sequence[Found], folders: Sequence[str], labels: FolderLabels) -> Listing:
    """An image's folder is its label.

    Where the uppermost folders are train and test or val, they are splits, and
    the folders in them classes.

    Args:
        folders: The uppermost folders, also those that hold no file.
        labels: Of nested folders the first is the label, or all of them, joined by "/".
    """
    usable = [item for item in found if not item.fault]
    uppermost = {*folders, *(item.parts[0] for item in usable if len(item.parts) > 1)}
    depth = int(are_splits(uppermost))
    stray = [item for item in usable if len(item.parts) < depth + 2]
    images = [item for item in usable if len(item.parts) >= depth + 2]
    end = depth + 1 if labels == "first" else -1
    named = ["/".join(item.parts[depth:end]) for item in images]
    splits = [SPLIT_FOLDERS[item.parts[0].lower()] if depth else "" for item in images]
    classes = set(named) if depth or labels == "joined" else {*named, *uppermost}
    return Listing(
        images_of([item.path for item in images], named, split=splits),
        [item.place for item in images],
        [
            *faulty(found),
            *(Rejected(i.path, "no_label", "lies in no class folder") for i in stray),
        ],
        sorted(classes),
        0,
    )


def are_splits(folders: set[str]) -> bool:
    """Whether folders are those of splits: train and another one, and nothing else."""
    places = {SPLIT_FOLDERS.get(folder.lower(), "") for folder in folders}
    return {"train"} < places and "" not in places

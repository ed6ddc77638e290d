"""Labels in a column beside the images' own, as in Parquet files of Hugging Face's `datasets`."""

from __future__ import annotations

from pathlib import Path

from pipeline.listing.folders import split_of_file
from pipeline.listing.listing import FAULTS, Listing, Rejected
from pipeline.listing.tables import fault_in_row
from pipeline.sources import parquet
from pipeline.sources.found import Found
from pipeline.sources.table import arrow_as_text, with_columns, without_foreign


def is_image_table(file: Path) -> bool:
    """Whether a file is Parquet with a column of images.

    Raises:
        InputError: It is called Parquet and cannot be read.
    """
    ending = file.suffix.lower() in parquet.ENDINGS and file.is_file()
    return ending and parquet.image_column(file) is not None


def from_image_table(table: Found) -> Listing:
    """Take each row's image and label; class numbers become the names that the file has for them.

    The split of train-00000-of-00001.parquet or train/0000.parquet is train.

    Raises:
        InputError: The file cannot be read or has no column `label`.
    """
    file = table.place.file
    column = parquet.image_column(file) or ""
    rows = arrow_as_text(str(file), parquet.other_columns(file, column))
    rows = without_foreign(str(file), rows, "path")
    rows = with_columns(str(file), rows, ("label",))
    names = parquet.labels_named(file, "label")
    if names:
        rows["label"] = [_named(label, names) for label in rows["label"]]
    if (rows["split"] == "").all():
        rows["split"] = split_of_file(table.path)
    members = list(parquet.members(file, column))
    rows.insert(0, "path", [f"{table.path}/{place.member}" for place, _ in members])
    faults = [
        (reason, FAULTS[reason]) if reason else fault_in_row(*cells)
        for (_, reason), cells in zip(
            members, rows[["path", "label", "weight"]].itertuples(index=False), strict=True
        )
    ]
    usable = [fault is None for fault in faults]
    return Listing(
        rows.loc[usable].reset_index(drop=True),
        [place for (place, _), good in zip(members, usable, strict=True) if good],
        [Rejected(p, *fault) for p, fault in zip(rows["path"], faults, strict=True) if fault],
        sorted({*rows["label"]} - {""}),  # a subset need not show every class the schema names
        [],
    )


def _named(label: str, names: list[str]) -> str:
    known = label.isdecimal() and int(label) < len(names)
    return names[int(label)] if known else ""

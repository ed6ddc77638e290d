"""Labels in a column beside the images' own, as in Parquet files of Hugging Face's `datasets`."""

from __future__ import annotations

from pathlib import Path

from pipeline.listing.folders import with_split
from pipeline.listing.listing import FAULTS, Listing, Rejected
from pipeline.listing.tables import Fault, fault_in_row
from pipeline.sources import parquet
from pipeline.sources.found import Found
from pipeline.sources.table import arrow_as_text, with_columns, without_foreign

SHOWN = 5  # names of classes


def is_image_table(file: Path) -> bool:
    """Whether a file is Parquet with a column of images.

    Raises:
        InputError: It is called Parquet and cannot be read.
    """
    ending = file.suffix.lower() in parquet.ENDINGS and file.is_file()
    return ending and parquet.image_columns(file) != []


def from_image_table(table: Found) -> Listing:
    """Take each row's image and label; class numbers become the names that the file has for them.

    The split of train-00000-of-00001.parquet or train/0000.parquet is train.

    Raises:
        InputError: The file cannot be read or has no column `label`.
    """
    file = table.place.file
    column = parquet.image_column(file) or ""
    cells = parquet.other_columns(file, column)
    rows = arrow_as_text(str(file), cells)
    rows = without_foreign(str(file), rows, "path")
    rows = with_split(with_columns(str(file), rows, ("label",)), table.path)
    names = parquet.labels_named(file, "label")
    numbers = parquet.is_numbers(cells["label"])
    labels = [_named(label, names, numbers=numbers) for label in rows["label"]]
    foreign = {label for label in labels if label} - {*names} if names else set()
    rows["label"] = labels
    members = list(parquet.members(file, column))
    rows.insert(0, "path", [f"{table.path}/{place.member}" for place, _ in members])

    def fault_of(reason: str, cells: tuple[str, str, str]) -> Fault | None:
        if reason:
            return reason, FAULTS[reason]
        return _foreign(cells[1], names) if cells[1] in foreign else fault_in_row(*cells)

    faults = [
        fault_of(reason, cells)
        for (_, reason), cells in zip(
            members, rows[["path", "label", "weight"]].itertuples(index=False), strict=True
        )
    ]
    usable = [fault is None for fault in faults]
    rejected = [
        Rejected(p, *fault) for p, fault in zip(rows["path"], faults, strict=True) if fault
    ]
    return Listing(
        rows.loc[usable].reset_index(drop=True),
        [place for (place, _), good in zip(members, usable, strict=True) if good],
        rejected,
        # a subset need not show every class that the schema names
        sorted({label for label in rows["label"] if label.strip()} - foreign),
        [],
        named=frozenset([table.path, *(item.path for item in rejected)]),
    )


def _named(label: str, names: list[str], *, numbers: bool) -> str:
    """The name of a class's number, which text may be too; what is none stays as it is."""
    if label in names and not numbers:
        return label
    known = label.isdecimal() and int(label) < len(names)
    return names[int(label)] if known else label


def _foreign(label: str, names: list[str]) -> Fault:
    shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    return "no_label", f"label is {label!r}, which is none of the file's classes: {shown}"

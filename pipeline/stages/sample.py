"""Sample: put the ELPV photographs of solar cells into the raw folder.

The only stage that knows this data set; whoever brings images of their own
removes it.  The images (CC BY-NC-SA 4.0) come from the package `elpv-dataset`:
Buerhop-Lutz et al. 2018; Deitsch et al. 2019 (arXiv 1807.02894).
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from pipeline.errors import InputError
from pipeline.files import Writes, replacing
from pipeline.params import Section

TABLE = "labels.csv"  # both theirs and ours
COLUMNS = ("path", "label", "weight", "module_type")  # of ours


class SampleParams(Section):
    """How much of the data set to take."""

    limit: Annotated[int, Field(ge=1)] | None  # images, spread evenly; None: all 2,624


class Cell(NamedTuple):
    """One photograph.  `probability` that the cell is defective: 0, 1/3, 2/3 or 1."""

    path: str
    probability: float
    module_type: str

    @property
    def label(self) -> str:
        """What most annotators would call the cell."""
        return "defective" if self.probability > 0.5 else "functional"

    @property
    def certainty(self) -> float:
        """From 0 (as likely one as the other) to 1 (the annotators were sure)."""
        return abs(2 * self.probability - 1)


def run(params: SampleParams, *, raw: Writes = Path("data/raw")) -> None:
    """Copy the images and write one table of path, label, weight and module type.

    Raises:
        InputError: The package is not installed or has lost its table, or the
            folder holds something else than this data set.
    """
    try:
        source = files("elpv_dataset") / "data"
    except ModuleNotFoundError:
        reason = "the package elpv-dataset is not installed"
        raise InputError("pyproject.toml", reason, "run `make setup`") from None
    with as_file(source) as folder, replacing(raw) as partial:
        every = list(read_cells(folder / TABLE))
        check_own(raw, every)
        cells = evenly(every, params.limit)
        for cell in cells:
            target = partial / cell.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / cell.path, target)
        write_labels(partial / TABLE, cells)


def read_cells(file: Path) -> Iterator[Cell]:
    """Read the data set's own table: path, probability and module type between spaces."""
    if not file.is_file():
        fix = "reinstall elpv-dataset with `make setup`"
        raise InputError(file, "is missing from the installed package", fix)
    for line in file.read_text(encoding="utf-8").splitlines():
        path, probability, module_type = line.split()
        yield Cell(path, float(probability), module_type)


def check_own(raw: Path, cells: Sequence[Cell]) -> None:
    """Refuse a folder with files that are not this data set's: they would be deleted.

    Raises:
        InputError: It has some.
    """
    names = {TABLE, *(cell.path for cell in cells)}
    there = raw.rglob("*") if raw.is_dir() else ()
    found = [file for file in there if file.is_symlink() or not file.is_dir()]
    others = [file for file in found if file.relative_to(raw).as_posix() not in names]
    table = raw / TABLE
    if table.is_file() and not table.read_bytes().startswith(",".join(COLUMNS).encode() + b"\n"):
        others.append(table)
    if others:
        reason = "is none of the demonstration's files: the stage sample would delete it"
        raise InputError(min(others), reason, "run `dvc remove sample`, or move it away")


def evenly(cells: Sequence[Cell], limit: int | None) -> list[Cell]:
    """Take at most `limit` cells, evenly spaced, so that every kind is among them."""
    if limit is None or limit >= len(cells):
        return list(cells)
    return [cells[index * len(cells) // limit] for index in range(limit)]


def write_labels(file: Path, cells: Sequence[Cell]) -> None:
    """Write the table in the form that `ingest` reads."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for cell in cells:
            writer.writerow([cell.path, cell.label, f"{cell.certainty:.6g}", cell.module_type])

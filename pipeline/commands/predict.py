"""Predict: label images, or every image in a folder, with the shipped model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.console import printable, say
from pipeline.errors import InputError, RejectedImage
from pipeline.images.decode import DEFAULT_LIMITS, Limits, Pixels, decode
from pipeline.images.pictures import map_ahead
from pipeline.images.views import IDENTITY, render
from pipeline.inference import classify, load_classifier
from pipeline.listing.sources import READERS
from pipeline.model_file import FIX, read_card
from pipeline.params import load_section
from pipeline.sources.found import as_text, visible_files
from pipeline.stages.ingest import LimitParams
from pipeline.tables import probability_column, write_csv

PARAMS = Path("params.yaml")
LIMITS_HELP = f"whose section ingest limits pixels, bytes and frames (default: {PARAMS}, if any)"


class Prediction(NamedTuple):
    """An image's path, its likeliest class, and the probability of every class by name."""

    path: str
    label: str
    probabilities: dict[str, float]


def main(words: list[str]) -> int:
    """Print a prediction for each image; return 1 when an image could not be used."""
    parser = argparse.ArgumentParser(prog="python -m pipeline predict", description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--params", type=Path, metavar="FILE", help=LIMITS_HELP)
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("models/model.keras"),
        metavar="FILE",
        help="to label with (default: models/model.keras)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON list")
    form.add_argument("--csv", action="store_true", help="print a CSV table")
    chosen = parser.parse_args(words)

    files = list_files(chosen.paths)
    predictions, rejected = predict(files, chosen.model, limits_of(chosen.params))
    for file, rejection in rejected:
        say(f"{as_text(file)}: {rejection}")
    if chosen.json:
        print(json.dumps([p._asdict() for p in predictions], indent=2))
    elif chosen.csv:
        write_csv(as_table(predictions, read_card(chosen.model).classes), sys.stdout)
    elif predictions:
        print_table(predictions)
    return 1 if rejected else 0


def list_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and every visible file but tables below the folders named.

    Raises:
        InputError: A path does not exist or there is no file at all.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            fix = "name an image or a folder of images"
            raise InputError(as_text(path), "does not exist", fix)
        below = visible_files(path) if path.is_dir() else [path]
        files += [file for file in below if file == path or file.suffix.lower() not in READERS]
    if not files:
        raise InputError(as_text(paths[0]), "holds no image files", "name a folder of images")
    return files


def limits_of(named: Path | None = None) -> Limits:
    """What one image may cost where `ingest` runs, or by default where there is no params.yaml.

    Raises:
        InputError: The file cannot be used, or was named and is not there.
    """
    if named is None and not PARAMS.exists():
        return DEFAULT_LIMITS
    return load_section(named or PARAMS, "ingest", LimitParams).limits()


def predict(
    files: Sequence[Path], model_file: Path, limits: Limits
) -> tuple[list[Prediction], list[tuple[Path, RejectedImage]]]:
    """Label every file that is an image, and say why the others are not.

    Raises:
        InputError: The model cannot be used.
    """
    classifier, card = load_classifier(model_file, "openvino")
    used: list[Path] = []
    rejected: list[tuple[Path, RejectedImage]] = []

    def picture(file: Path) -> Pixels | RejectedImage:
        try:
            return render(decode(file, limits), IDENTITY, card.image_size, card.resize)
        except RejectedImage as rejection:
            return rejection

    def usable() -> Iterator[Pixels]:
        for file, result in zip(files, map_ahead(picture, files), strict=True):
            if isinstance(result, RejectedImage):
                rejected.append((file, result))
            else:
                used.append(file)
                yield result

    rows = classify(classifier, usable(), len(files), len(card.classes), "predict")
    if not (np.isfinite(rows).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3)):
        raise InputError(model_file, "answers with what are no probabilities", FIX)
    predictions = [
        Prediction(
            as_text(file),
            card.classes[int(row.argmax())],
            dict(zip(card.classes, (round(float(p), 6) for p in row), strict=True)),
        )
        for file, row in zip(used, rows, strict=True)
    ]
    return predictions, rejected


def as_table(predictions: Sequence[Prediction], classes: Sequence[str]) -> pd.DataFrame:
    """Columns path, label and each class's probability."""
    rows = [(p.path, p.label, *p.probabilities.values()) for p in predictions]
    return pd.DataFrame(rows, columns=["path", "label", *map(probability_column, classes)])


def print_table(predictions: Sequence[Prediction]) -> None:
    """Print path, label and the label's probability for people."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("image", "label", "probability")
    for prediction in predictions:
        probability = f"{prediction.probabilities[prediction.label]:.3f}"
        path = Text(printable(prediction.path), overflow="fold")
        table.add_row(path, Text(printable(prediction.label)), probability)
    Console().print(table)

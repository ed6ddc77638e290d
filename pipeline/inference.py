"""Run a shipped model file over pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.console import progress
from pipeline.engines import Engine, Run, compile_frozen
from pipeline.errors import InputError, in_words
from pipeline.images.decode import Pixels
from pipeline.images.pictures import Job, pictures
from pipeline.images.places import read_places
from pipeline.images.views import IDENTITY
from pipeline.model_file import FIX, Card, load_model
from pipeline.sources.place import in_order


def load_classifier(file: Path, engine: Engine) -> tuple[Run, Card]:
    """Ready the model that ships to be run by `engine`.

    With `openvino` an answer does not depend on the pictures beside it.

    Raises:
        InputError: See `load_model`; or the engine cannot run it.
        OSError: The temporary folder is full, for one.
    """
    model, card = load_model(file)
    try:
        return compile_frozen(model, engine), card
    except (OSError, InputError):
        raise
    except Exception as error:  # each engine has errors of its own
        reason = f"cannot be run by {engine}: {in_words(error)}"
        raise InputError(file, reason, FIX) from error


def classify_images(
    run: Run, card: Card, images: pd.DataFrame, raw: Path, what: str
) -> NDArray[np.float64]:
    """Predict the images of a manifest, read where they lie.

    Args:
        images: One row a digest.

    Returns:
        (image, class) float64 probabilities.

    Raises:
        InputError: An image has gone or changed.
    """
    places = read_places(images, raw)
    order = in_order(places)
    wanted = [Job(places[number], images["digest"].iloc[number], [IDENTITY]) for number in order]
    shown = pictures(wanted, card.image_size, card.resize)
    answers = classify(run, shown, len(images), len(card.classes), what)
    in_rows: NDArray[np.float64] = answers[np.argsort(order)]
    return in_rows


def classify(
    run: Run, pictures: Iterable[Pixels], count: int, classes: int, what: str
) -> NDArray[np.float64]:
    """Predict every picture.

    Args:
        pictures: (size, size, 3) uint8 RGB each, `count` of them at most.
        what: Named beside the progress bar.

    Returns:
        (picture, class) float64 probabilities.
    """
    rows: list[NDArray[np.float32]] = []
    with progress(what, count, "image") as bar:
        for (probabilities,) in run(pictures):
            rows.append(probabilities)
            bar()
    return np.array(rows, np.float64).reshape(-1, classes)

"""The images that both sides were tested on, each with both answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.comparing.sides import Side
from pipeline.errors import InputError
from pipeline.scoring.metrics import Floats
from pipeline.tables import distinct, extra_columns, probability_column, units_of


class NothingInCommonError(InputError):
    """Two sides were tested on different images altogether."""


@dataclass(frozen=True)
class Pairs:
    """Both answers on each common test image, by digest.

    Args:
        images: One row an image: digest, path, label, and `label_of_one` where
            the first side had it under another. `label` is the second side's,
            by which both are judged: a label is corrected, seldom spoilt.
        slices: (image,) text by extra column, as the second side has it.
        units: (image,) what is drawn as one, by the second side's column `group`; see `units_of`.
        classes: Those of both sides; the one that a model does not know has
            probability 0 there.
        labels: (image,) column of the label.
        one: (image, class) probabilities of the first side.
        other: (image, class) probabilities of the second.
    """

    images: pd.DataFrame
    slices: pd.DataFrame
    units: NDArray[np.int64]
    classes: list[str]
    labels: NDArray[np.int64]
    one: Floats
    other: Floats

    def count_units(self, which: NDArray[np.bool_]) -> int:
        """How many units some of the images, (image,), come in."""
        return len(np.unique(self.units[which]))


def align(one: Side, other: Side) -> Pairs:
    """Pair the answers on the images that both were tested on.

    Raises:
        NothingInCommonError: There is none.
        InputError: An image has a label that no side's model knows.
    """
    answers = [side.predictions.set_index("digest").sort_index() for side in (one, other)]
    common = answers[0].index.intersection(answers[1].index).sort_values()
    if common.empty:
        raise NothingInCommonError(
            f"{one.name} and {other.name}",
            f"have no test image in common (of {len(answers[0])} and {len(answers[1])})",
            "compare revisions of the same data and split, such as two of one branch",
        )
    first, second = (answer.loc[common] for answer in answers)
    classes = sorted({*one.classes, *other.classes})
    labels = pd.Index(classes).get_indexer(pd.Index(second["label"])).astype(np.int64)
    if (labels < 0).any():
        unknown = second.loc[labels < 0, "label"].iloc[0]
        reason = f"has a test image of {unknown!r}, a class that no model here knows"
        raise InputError(other.name, reason, "run `dvc repro` there")
    images = second[["path", "label"]].assign(label_of_one=first["label"]).reset_index()
    known = distinct(other.splits).set_index("digest").reindex(common)
    return Pairs(
        images=images,
        slices=known[extra_columns(other.splits)].fillna("").reset_index(drop=True),
        units=units_of(known["group"].fillna("")),
        classes=classes,
        labels=labels,
        one=_probabilities(first, classes),
        other=_probabilities(second, classes),
    )


def _probabilities(answers: pd.DataFrame, classes: Sequence[str]) -> Floats:
    columns = [probability_column(label) for label in classes]
    return answers.reindex(columns=columns, fill_value=0.0).to_numpy(dtype=np.float64)

"""Evaluate: judge the model file that ships, on the raw test images.

The head's figures beside it come from cached features.  A shipped model that
answers otherwise than the cached path it was chosen on is a failure: what was
trained is not what would be served.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.engines import ExtractParams
from pipeline.errors import InputError
from pipeline.features import read_features
from pipeline.files import Reads, Writes, replacing, write_json
from pipeline.inference import classify_images, load_classifier
from pipeline.model_file import Card
from pipeline.params import Section
from pipeline.scoring.curves import calibration, precision_recall, roc
from pipeline.scoring.report import figures
from pipeline.tables import (
    distinct,
    extra_columns,
    prediction_table,
    probability_column,
    read_manifest,
    read_table,
    write_table,
)
from pipeline.training.epochs import one_hot, view_rows
from pipeline.training.head import HeadParams, load_head
from pipeline.training.learning import predict_rows


class EvaluateParams(Section):
    """How figures are computed."""

    seed: Annotated[int, Field(ge=0)]
    resamples: Annotated[int, Field(ge=100, le=100_000)]  # of the bootstrap
    max_disagreement: Annotated[float, Field(gt=0, le=0.01)]  # in any probability
    max_slices: Annotated[int, Field(ge=0)]  # extra columns of more values get no figures


def run(
    params: EvaluateParams,
    train_head: HeadParams,
    extract: ExtractParams,
    *,
    raw: Reads = Path("data/raw"),
    splits: Reads = Path("data/splits.csv"),
    features: Reads = Path("data/features"),
    head_weights: Reads = Path("models/head.weights.h5"),
    model: Reads = Path("models/model.keras"),
    cached_predictions: Reads = Path("data/cached_predictions.csv"),
    metrics: Writes = Path("reports/metrics.json"),
    predictions: Writes = Path("reports/predictions.csv"),
    plots: Writes = Path("reports/plots"),
) -> None:
    """Write the figures of the frozen head and of the shipped model, predictions and curves.

    Raises:
        InputError: An image has gone or changed, the model is not of this
            data, or it disagrees with the cached path.
    """
    images = distinct(read_manifest(splits))
    test = images[images["split"] == "test"].reset_index(drop=True)
    classifier, card = load_classifier(model, extract.engine)
    check_classes(card, images, model)
    fine_tuned = classify_images(classifier, card, test, raw, "evaluate")
    check_agreement(
        fine_tuned,
        test,
        card,
        cached_predictions=cached_predictions,
        bound=params.max_disagreement,
        model=model,
    )
    by_model = {
        "head": head_probabilities(train_head, features, head_weights, test, len(card.classes)),
        "fine_tuned": fine_tuned,
    }

    majority = str(images.loc[images["split"] == "train", "label"].mode()[0])
    slices = [name for name in extra_columns(test) if test[name].nunique() <= params.max_slices]
    scores = {
        name: figures(
            test,
            card.classes,
            probabilities,
            slices=slices,
            majority=majority,
            resamples=params.resamples,
            seed=params.seed,
        )
        for name, probabilities in by_model.items()
    }
    with replacing(plots) as folder:
        for name, probabilities in by_model.items():
            write_curves(folder, name, test["label"], card.classes, probabilities)
    guesses = pd.Series(np.array(card.classes)[fine_tuned.argmax(axis=1)], name="predicted")
    known = pd.concat([test[["digest", "path", "label"]], guesses], axis="columns")
    write_table(predictions, prediction_table(known, card.classes, fine_tuned))
    write_json(metrics, scores)


def check_classes(card: Card, images: pd.DataFrame, model: Path) -> None:
    """Refuse a model of other classes than the data's."""
    classes = sorted(images["label"].unique())
    if card.classes != classes:
        reason = f"knows the classes {card.classes}, the data has {classes}"
        raise InputError(model, reason, "run `dvc repro fine_tune`")


def check_agreement(
    shipped: NDArray[np.float64],
    test: pd.DataFrame,
    card: Card,
    *,
    cached_predictions: Path,
    bound: float,
    model: Path,
) -> None:
    """Refuse a model file that answers otherwise than the cached path did in `fine_tune`."""
    columns = [probability_column(label) for label in card.classes]
    numbers = dict.fromkeys(columns, "float64")
    cached = read_table(cached_predictions, ("digest", *columns), numbers)
    cached = cached.drop_duplicates("digest").set_index("digest")
    if not test["digest"].isin(cached.index).all():
        raise InputError(cached_predictions, "lacks test images", "run `dvc repro fine_tune`")
    difference = np.abs(cached.loc[test["digest"], columns].to_numpy() - shipped)
    worst = int(difference.max(axis=1).argmax())
    if not difference.max() <= bound:
        raise InputError(
            model,
            f"gives {test['path'][worst]} a probability {difference[worst].max():.4f} off that of "
            f"the cached path, more than evaluate.max_disagreement {bound:g}",
            "run `dvc repro --force fine_tune`; if it stays, report it as a bug",
        )


def head_probabilities(
    params: HeadParams, features: Path, weights: Path, test: pd.DataFrame, classes: int
) -> NDArray[np.float64]:
    """(image, class) probabilities of the frozen head, from cached features."""
    cached = read_features(features)
    head = load_head(params, cached.array.shape[1], classes, weights)
    rows, _ = view_rows(test["digest"], cached.index)
    return predict_rows(head, cached.rows, rows).astype(np.float64)


def write_curves(
    folder: Path,
    name: str,
    labels: pd.Series,
    classes: list[str],
    probabilities: NDArray[np.float64],
) -> None:
    """Write the points of one model's plots.

    ROC and precision-recall are those of the rarer of two classes; of more
    classes, all one-against-rest decisions are pooled (micro-average).
    """
    true = one_hot(labels, classes).astype(np.float64)
    positive, ranked = true.ravel(), probabilities.ravel()
    if len(classes) == 2:
        rarer = int(np.where(true.any(axis=0), true.sum(axis=0), np.inf).argmin())
        positive, ranked = true[:, rarer], probabilities[:, rarer]
    hits = (probabilities.argmax(axis=1) == true.argmax(axis=1)).astype(np.float64)
    write_table(folder / f"roc_{name}.csv", roc(positive, ranked))
    write_table(folder / f"precision_recall_{name}.csv", precision_recall(positive, ranked))
    write_table(folder / f"calibration_{name}.csv", calibration(hits, probabilities.max(axis=1)))

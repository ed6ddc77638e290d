"""Train head: fit the head to cached features, without running the backbone."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError
from pipeline.features import read_features
from pipeline.files import Reads, Writes, replacing
from pipeline.tables import distinct, read_manifest, write_table
from pipeline.training.head import HeadParams, build_head, held_out, training_epochs
from pipeline.training.learning import learn, make_deterministic

ENDING = ".weights.h5"  # Keras demands it


def run(
    params: HeadParams,
    *,
    splits: Reads = Path("data/splits.csv"),
    features: Reads = Path("data/features"),
    weights: Writes = Path("models/head.weights.h5"),
    log: Writes = Path("reports/train_head.csv"),
) -> None:
    """Write the weights of the best epoch on validation, and a log of every epoch.

    Raises:
        InputError: The features do not belong to the splits, or Keras would not
            write a file of that name.
    """
    if not weights.name.endswith(ENDING):
        raise InputError(weights, f"does not end in {ENDING}", "name a file that does")
    images = distinct(read_manifest(splits))
    cached = read_features(features)
    classes = sorted(images["label"].unique())
    train, val = (images[images["split"] == split] for split in ("train", "val"))

    make_deterministic(params.seed)
    head = build_head(params, cached.array.shape[1], len(classes))
    epochs = training_epochs(
        params, params, train, classes, inputs=cached.rows, index=cached.index
    )
    held = held_out(params, val, classes, inputs=cached.rows, index=cached.index)
    history = learn(head, params, params.loss, epochs, held, keep_start=False, what="train_head")
    with replacing(weights) as partial:
        head.save_weights(partial)
    write_table(log, history)

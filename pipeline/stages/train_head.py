"""Train head: fit the head to cached features, without running the backbone.

Where the splits have folds, it is cross-validated too.  Only heads are trained.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.features import read_features
from pipeline.files import Reads, Writes, replacing, require_room, write_json
from pipeline.tables import FOLD, distinct, read_manifest, write_table
from pipeline.tensorflow_start import within_memory
from pipeline.training.cross_validation import NO_FOLDS, cross_validate
from pipeline.training.head import HeadParams, loss_of, prepare, size_of
from pipeline.training.learning import learn, make_deterministic

ENDING = ".weights.h5"  # Keras demands it


def run(
    params: HeadParams,
    *,
    splits: Reads = Path("data/splits.csv"),
    features: Reads = Path("data/features"),
    weights: Writes = Path("models/head.weights.h5"),
    log: Writes = Path("reports/train_head.csv"),
    cross_validation: Writes = Path("reports/cross_validation.json"),
) -> None:
    """Write the weights of the epoch that validation chose, and a log of every epoch.

    Cross-validation touches no weights that are written, nor the test images.

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

    if params.sample_weights and (train["weight"] == 1).all():
        say("train_head: train_head.sample_weights changes nothing: every image weighs 1")
    make_deterministic(params.seed)
    with within_memory("train_head", "lower train_head.hidden or train_head.batch_size"):
        head, epochs, (held,) = prepare(params, [train, val], classes, cached)
        require_room(weights, size_of(head))
        loss = loss_of(params)
        history = learn(head, params, loss, epochs, held, keep_start=False, what="train_head")
    require_room(weights, size_of(head))  # HDF5 crashes where it finds none
    with replacing(weights) as partial:
        head.save_weights(partial)
    write_table(log, history)

    validated = NO_FOLDS
    if FOLD in images.columns:
        validated = cross_validate(params, images[images[FOLD] != ""], classes, cached)
        low, high = validated["accuracy_low"], validated["accuracy_high"]
        say(
            f"train_head: accuracy over {validated['folds']} folds "
            f"{validated['accuracy_mean']:.4f} [{low:.4f}, {high:.4f}]"
        )
    write_json(cross_validation, validated)

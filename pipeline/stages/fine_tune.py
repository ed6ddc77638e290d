"""Fine-tune: train the head together with the last layers of the backbone.

The frozen layers run once over every view, before the first epoch; an epoch
then costs only what is trained.  BatchNorm stays in inference mode, as the
Keras guide "Transfer learning & fine-tuning" advises.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import ConfigDict

from pipeline.backbones.catalog import BackboneParams
from pipeline.console import say
from pipeline.engines import ExtractParams, Precision
from pipeline.errors import InputError
from pipeline.features import read_made_with
from pipeline.files import Beside, Reads, Writes, require_room
from pipeline.frozen.network import CutParams, FrozenNetwork, FrozenSpec
from pipeline.images.pictures import places_by_digest, read_plan, with_splits
from pipeline.model_file import ENDING, Card, save_model
from pipeline.provenance import write_provenance
from pipeline.tables import (
    SPLITS,
    distinct,
    prediction_table,
    read_manifest,
    write_table,
)
from pipeline.tensorflow_start import within_memory
from pipeline.training.activations import activations
from pipeline.training.epochs import view_rows
from pipeline.training.head import (
    HeadParams,
    held_out,
    load_head,
    loss_of,
    size_of,
    training_epochs,
)
from pipeline.training.learning import (
    LearningParams,
    learn,
    make_deterministic,
    predict_rows,
)

DECIDED_BY = {  # of the features' own record, the param
    "backbone": "backbone.name",
    "weights_digest": "file of backbone.weights",
    "image_size": "backbone.image_size",
    "resize": "backbone.resize",
}


class FineTuneParams(CutParams, LearningParams):
    """The second phase of learning.  Seed, loss and weights are those of `train_head`."""

    model_config = ConfigDict(extra="forbid")

    precision: Precision  # of the convolutions' products while learning; judged in float32


def run(
    params: FineTuneParams,
    train_head: HeadParams,
    backbone: BackboneParams,
    extract: ExtractParams,
    *,
    raw: Reads = Path("data/raw"),
    splits: Reads = Path("data/splits.csv"),
    views: Reads = Path("data/views.csv"),
    features: Reads = Path("data/features"),
    head_weights: Reads = Path("models/head.weights.h5"),
    model: Writes = Path("models/model.keras"),
    cached_predictions: Writes = Path("data/cached_predictions.csv"),
    log: Writes = Path("reports/fine_tune.csv"),
    provenance: Beside = Path("models/provenance.json"),
) -> None:
    """Write the model that ships, what the cached path says of the test images, and a log.

    The model is the fine-tuned one, unless validation speaks for the frozen
    head (see `Choice`).  Nothing is chosen by the test images: `evaluate`
    holds the shipped file to what the cached path said of them.

    Raises:
        InputError: The backbone has no such layers, or is not the one that made
            the features; or Keras would not write a file of that name.
    """
    if not model.name.endswith(ENDING):
        raise InputError(model, f"does not end in {ENDING}", "name a file that does")
    images = distinct(read_manifest(splits))
    classes = sorted(images["label"].unique())
    plan = with_splits(read_plan(views), images)
    places = places_by_digest(raw, images, plan)
    train, val, test = (images[images["split"] == split] for split in SPLITS)

    from pipeline.training.tuning import joined, trainable_part  # noqa: PLC0415

    make_deterministic(train_head.seed)
    network = FrozenNetwork(FrozenSpec(backbone, extract, params.layers))
    check_same_backbone(features, network)
    head = load_head(train_head, network.values("features"), len(classes), head_weights)
    tuned = trainable_part(network, head, params.precision)
    if len(tuned.trainable_variables) == len(head.trainable_variables):
        say(f"fine_tune: in fine_tune.layers {params.layers} nothing learns; the head alone does")
    require_room(model, size_of(network.backbone.network, head))
    budget, folder = params.activation_budget_gb, model.with_name("activations")
    with activations(network, plan, places, budget_gb=budget, folder=folder) as inputs:
        epochs = training_epochs(
            train_head, train, classes, inputs=inputs, index=plan, batch_size=params.batch_size
        )
        held = held_out(train_head, val, classes, inputs=inputs, index=plan)
        with within_memory("fine_tune", "lower train_head.hidden or fine_tune.batch_size"):
            loss = loss_of(train_head)
            history = learn(tuned, params, loss, epochs, held, keep_start=True, what="fine_tune")
        rows, _ = view_rows(test["digest"], plan)
        probabilities = predict_rows(tuned, inputs, rows)

    card = Card(
        classes=classes,
        image_size=backbone.size,
        resize=backbone.resize,
        shipped=announce(history),
        data_digest=hashlib.sha256(splits.read_bytes()).hexdigest(),
        weights_digest=network.backbone.weights_digest,
        params={
            "backbone": backbone.model_dump(),
            "extract": extract.model_dump(),
            "train_head": train_head.model_dump(),
            "fine_tune": params.model_dump(),
        },
    )
    save_model(joined(network.backbone, head), card, model)
    predictions = prediction_table(test[["digest"]], classes, probabilities)
    write_table(cached_predictions, predictions)
    write_table(log, history)
    write_provenance(model, provenance)


def check_same_backbone(features: Path, network: FrozenNetwork) -> None:
    """Refuse a head that was trained on the features of another backbone."""
    then, now = read_made_with(features), network.made_with()
    for name, key in DECIDED_BY.items():
        if then.get(name) != now[name]:
            reason = f"was made with another {key}"
            raise InputError(features, reason, "run `dvc repro --force extract`, then `dvc repro`")


def announce(history: pd.DataFrame) -> Literal["head", "fine_tuned"]:
    """Say which model ships: the one from before fine-tuning is epoch 0 of the log."""
    before, kept = history.iloc[0], history[history["kept"] == 1].iloc[0]
    if kept["epoch"] == 0:
        why = "validation kept no epoch" if len(history) > 1 else "there was no epoch"
        say(f"fine_tune: ships the frozen head: {why}")
        return "head"
    say(
        f"fine_tune: ships the fine-tuned model of epoch {kept['epoch']:.0f}: validation loss "
        f"{before['val_loss']:.4f} -> {kept['val_loss']:.4f}, "
        f"accuracy {before['val_accuracy']:.4f} -> {kept['val_accuracy']:.4f}"
    )
    return "fine_tuned"

"""Which epoch of learning to keep, by what the test images say of each.

For each seed of the splits a head is trained, and then the last layers with it,
as the stages do but to the last epoch.  Every epoch is judged on the validation
images, by which a rule chooses, and on the test images, which say how well it
chose.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import report
from benchmarks.project import apart, require, throwaway
from pipeline.backbones.catalog import BackboneParams
from pipeline.engines import ExtractParams
from pipeline.features import read_features
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.images.pictures import places_by_digest, read_plan, with_splits
from pipeline.params import load_section
from pipeline.stages.fine_tune import FineTuneParams
from pipeline.tables import SPLITS, distinct, read_manifest
from pipeline.training.activations import activations
from pipeline.training.choosing import Choice, Judged
from pipeline.training.epochs import Gather
from pipeline.training.head import (
    HeadParams,
    build_head,
    held_out,
    load_head,
    loss_of,
    training_epochs,
)
from pipeline.training.learning import (
    LearningParams,
    averaged,
    judge,
    make_deterministic,
    optimizer,
)
from pipeline.training.step import compile_step, train_one_epoch

RULES = ("epoch 0", "lowest validation loss", "the pipeline's", "last epoch")
Run = list[tuple[Judged, Judged]]
"""What a model says of the validation and of the test images: as it came, then every epoch."""


def main(words: Sequence[str] | None = None) -> int:
    """Train on several splits of the demonstration's images, and compare the rules."""
    options = report.parser("which_epoch", __doc__)
    options.add_argument("--layers", type=int, nargs="+", default=[10, 29], help="to fine-tune")
    options.add_argument("--epochs", type=int, nargs="+", default=[20, 12], help="for each")
    options.add_argument("--seeds", type=int, default=6, help="of the splits (default 6)")
    options.add_argument("--images", type=int, help="of the demonstration's (default: all)")
    chosen = report.parse(options, words)
    require(len(chosen.layers) == len(chosen.epochs), "a number of epochs for each of --layers")
    shown: dict[str, list[list[tuple[float, float]]]] = {}
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        for seed in range(1, chosen.seeds + 1):
            project.set("split", seed=seed)
            project.repro("train_head")
            runs = {"head": apart(head_run, project.folder, str(project.store))}
            for layers, epochs in zip(chosen.layers, chosen.epochs, strict=True):
                project.set("fine_tune", layers=layers, epochs=epochs)
                runs[f"last {layers} layers"] = apart(
                    fine_tune_run, project.folder, str(project.store)
                )
            for what, run in runs.items():
                on_test = [run[epoch][1] for epoch in kept(run, keep_start=what != "head")]
                shown.setdefault(what, []).append([(one.accuracy, one.loss) for one in on_test])
    rows: list[Sequence[object]] = []
    for what, scores in shown.items():
        for seed, of_seed in enumerate(scores, start=1):
            rows.append((f"{what}, split.seed {seed}", *map(_cell, of_seed)))
        rows.append((f"**{what}, mean**", *map(_cell, np.mean(scores, axis=0).tolist())))
    report.write(
        chosen,
        "Accuracy and mean loss on the test images of the epoch that each rule keeps. The rules "
        "see the validation images alone. Fine-tuning begins with the pipeline's head.",
        report.table(("trained", *RULES), rows),
    )
    return 0


class Setting:
    """A project's params and tables, as the stages read them."""

    def __init__(self, folder: Path, store: str) -> None:
        os.chdir(folder)
        os.environ["PIPELINE_STORE"] = store
        file = Path("params.yaml")
        self.head = load_section(file, "train_head", HeadParams)
        self.fine_tune = load_section(file, "fine_tune", FineTuneParams)
        self.backbone = load_section(file, "backbone", BackboneParams)
        self.extract = load_section(file, "extract", ExtractParams)
        self.images = distinct(read_manifest(Path("data/splits.csv")))
        self.classes = sorted(self.images["label"].unique())
        make_deterministic(self.head.seed)

    def run(self, model: Any, phase: LearningParams, inputs: Gather, index: pd.DataFrame) -> Run:
        """Train to the last epoch."""
        train, *others = (self.images[self.images["split"] == split] for split in SPLITS)
        epochs = training_epochs(
            self.head,
            train,
            self.classes,
            inputs=inputs,
            index=index,
            batch_size=phase.batch_size,
        )
        held = [
            held_out(self.head, part, self.classes, inputs=inputs, index=index) for part in others
        ]
        loss, updates = loss_of(self.head), optimizer(phase, epochs.steps)
        step = compile_step(model, updates, loss)
        run: Run = [(judge(model, loss, held[0]), judge(model, loss, held[1]))]
        for epoch in range(1, phase.epochs + 1):
            train_one_epoch(step, epochs, epoch, lambda _: None)
            with averaged(model, updates):
                run.append((judge(model, loss, held[0]), judge(model, loss, held[1])))
        return run


def head_run(folder: Path, store: str) -> Run:
    """Train the project's head."""
    setting = Setting(folder, store)
    cached = read_features(Path("data/features"))
    head = build_head(setting.head, cached.array.shape[1], len(setting.classes))
    return setting.run(head, setting.head, cached.rows, cached.index)


def fine_tune_run(folder: Path, store: str) -> Run:
    """Train the project's last layers with the head that `train_head` kept."""
    setting = Setting(folder, store)
    from pipeline.training.tuning import trainable_part  # noqa: PLC0415

    params = setting.fine_tune
    network = FrozenNetwork(FrozenSpec(setting.backbone, setting.extract, params.layers))
    weights, classes = Path("models/head.weights.h5"), len(setting.classes)
    head = load_head(setting.head, network.values("features"), classes, weights)
    model = trainable_part(network, head, params.precision)
    plan = with_splits(read_plan(Path("data/views.csv")), setting.images)
    places = places_by_digest(Path("data/raw"), setting.images, plan)
    room, budget = Path("models/activations"), params.activation_budget_gb
    with activations(network, plan, places, budget_gb=budget, folder=room) as inputs:
        return setting.run(model, params, inputs, plan)


def kept(run: Run, *, keep_start: bool) -> list[int]:
    """The epoch that each of `RULES` keeps; with `keep_start` none of a lower accuracy."""
    start, *epochs = (judged for judged, _ in run)
    losses = {n: one.loss for n, one in enumerate(epochs, start=1)}
    choice = Choice(start if keep_start else None)
    for epoch, judged in enumerate(epochs, start=1):
        choice.consider(epoch, judged)
        if keep_start and judged.accuracy < start.accuracy:
            del losses[epoch]
    if keep_start:
        losses[0] = start.loss
    return [0, min(losses, key=losses.__getitem__), choice.kept, len(epochs)]


def _cell(scores: Sequence[float]) -> str:
    return f"{scores[0]:.4f}, {scores[1]:.4f}"


if __name__ == "__main__":
    raise SystemExit(main())

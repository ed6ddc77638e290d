"""Which epoch of fine-tuning to keep, by what the test images say of each.

For each seed of the splits a head is trained, and then the last layers with it,
as the stages do.  Every epoch is judged on the validation images, by which a
rule chooses, and on the test images, which say how well it chose.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.project import apart, require, throwaway
from pipeline.backbones.catalog import BackboneParams
from pipeline.engines import ExtractParams
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.images.pictures import places_by_digest, read_plan
from pipeline.params import load_section
from pipeline.stages.fine_tune import FineTuneParams
from pipeline.tables import SPLITS, distinct, read_manifest
from pipeline.training.activations import activations
from pipeline.training.choosing import Choice, Judged
from pipeline.training.head import HeadParams, held_out, load_head, loss_of, training_epochs
from pipeline.training.learning import averaged, judge, make_deterministic, optimizer
from pipeline.training.step import compile_step, train_one_epoch

RULES = ("frozen head", "lowest validation loss", "the pipeline's", "last epoch")
Epoch = tuple[Judged, Judged]
"""What a model says of the validation and of the test images."""


def main(words: Sequence[str] | None = None) -> int:
    """Train on several splits of the demonstration's images, and compare the rules."""
    options = report.parser("which_epoch", __doc__)
    options.add_argument("--layers", type=int, nargs="+", default=[10, 29], help="to fine-tune")
    options.add_argument("--epochs", type=int, nargs="+", default=[20, 12], help="for each")
    options.add_argument("--seeds", type=int, default=6, help="of the splits (default 6)")
    options.add_argument("--images", type=int, help="of the demonstration's (default: all)")
    chosen = report.parse(options, words)
    require(len(chosen.layers) == len(chosen.epochs), "a number of epochs for each of --layers")
    rows: list[Sequence[object]] = []
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        for layers, epochs in zip(chosen.layers, chosen.epochs, strict=True):
            project.set("fine_tune", layers=layers, epochs=epochs)
            scores = []
            for seed in range(1, chosen.seeds + 1):
                project.set("split", seed=seed)
                project.repro("train_head")
                run = apart(train, project.folder, str(project.store))
                shown = [(one.accuracy, one.loss) for one in (run[e][1] for e in kept(run))]
                scores.append(shown)
                rows.append((f"last {layers}, split.seed {seed}", *map(_cell, shown)))
            means = np.mean(scores, axis=0).tolist()
            rows.append((f"**last {layers}, mean**", *map(_cell, means)))
    report.write(
        chosen,
        "Accuracy and mean loss on the test images of the epoch that each rule keeps. No figure "
        "of this table chooses anything: the rules see the validation images alone.",
        report.table(("fine-tuned layers", *RULES), rows),
    )
    return 0


def train(folder: Path, store: str) -> list[Epoch]:
    """Fine-tune as the project's params say; judge the head as epoch 0, and every epoch."""
    os.chdir(folder)
    os.environ["PIPELINE_STORE"] = store
    from pipeline.training.tuning import trainable_part  # noqa: PLC0415

    file = Path("params.yaml")
    params = load_section(file, "fine_tune", FineTuneParams)
    head_params = load_section(file, "train_head", HeadParams)
    backbone = load_section(file, "backbone", BackboneParams)
    extract = load_section(file, "extract", ExtractParams)
    images = distinct(read_manifest(Path("data/splits.csv")))
    classes = sorted(images["label"].unique())
    plan = read_plan(Path("data/views.csv"))
    places = places_by_digest(Path("data/raw"), images, plan)
    of_split = {split: images[images["split"] == split] for split in SPLITS}

    make_deterministic(head_params.seed)
    network = FrozenNetwork(FrozenSpec(backbone, extract, params.layers))
    weights = Path("models/head.weights.h5")
    head = load_head(head_params, network.values("features"), len(classes), weights)
    model = trainable_part(network, head)
    room, budget = Path("models/activations"), params.activation_budget_gb
    with activations(network, plan, places, budget_gb=budget, folder=room) as inputs:
        epochs = training_epochs(
            head_params, params, of_split["train"], classes, inputs=inputs, index=plan
        )
        held = [
            held_out(head_params, of_split[split], classes, inputs=inputs, index=plan)
            for split in ("val", "test")
        ]
        loss, updates = loss_of(head_params), optimizer(params, epochs.steps)
        step = compile_step(model, updates, loss)
        run: list[Epoch] = [(judge(model, loss, held[0]), judge(model, loss, held[1]))]
        for epoch in range(1, params.epochs + 1):
            train_one_epoch(step, epochs, epoch, lambda _: None)
            with averaged(model, updates):
                run.append((judge(model, loss, held[0]), judge(model, loss, held[1])))
    return run


def kept(run: Sequence[Epoch]) -> list[int]:
    """The epoch that each of `RULES` keeps; the lowest loss counts without a lower accuracy."""
    val = [judged for judged, _ in run]
    no_worse = [n for n, one in enumerate(val) if one.accuracy >= val[0].accuracy]
    choice = Choice(val[0])
    for epoch, judged in enumerate(val[1:], start=1):
        choice.keeps(epoch, judged)
    return [0, min(no_worse, key=lambda n: val[n].loss), choice.kept, len(run) - 1]


def _cell(scores: Sequence[float]) -> str:
    return f"{scores[0]:.4f}, {scores[1]:.4f}"


if __name__ == "__main__":
    raise SystemExit(main())

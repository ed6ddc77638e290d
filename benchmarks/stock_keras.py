"""The Keras guide's transfer learning side by side with this pipeline, both from nothing.

Same images, splits, backbone, head and epochs.  Copying the demonstration's
images out of their package is part of neither side.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import report
from benchmarks.keras_guide import learn
from benchmarks.limits import limits
from benchmarks.project import apart, require, throwaway
from pipeline.backbones.catalog import CATALOG, BackboneParams
from pipeline.engines import ExtractParams, Precision
from pipeline.frozen.network import FrozenSpec

EPOCHS = 20
INSTALLED = "EfficientNetLite0"  # whose weights are


def extrapolated(seconds: Sequence[float], epochs: int = EPOCHS) -> float:
    """Seconds of a phase of so many epochs, from two or more that were measured.

    The first one's surplus (tracing, filling caches) is counted once.  Of the
    others the median counts: TensorFlow's threads stand still now and then.
    """
    if len(seconds) == epochs:
        return sum(seconds)
    return seconds[0] + median(seconds[1:]) * (epochs - 1)


def main(words: Sequence[str] | None = None) -> int:
    """Run the pipeline with DVC, then the guide's way in a process of its own."""
    options = report.parser("stock_keras", __doc__)
    options.add_argument("--backbone", default=INSTALLED, choices=CATALOG, metavar="NAME")
    options.add_argument("--weights", help="imagenet, none or a .h5 file")
    options.add_argument("--layers", type=int, default=10, help="to fine-tune")
    options.add_argument(
        "--epochs",
        type=int,
        default=EPOCHS,
        choices=range(2, EPOCHS + 1),
        metavar="N",
        help=f"of each of the guide's phases, extrapolated to {EPOCHS} (default: all)",
    )
    options.add_argument("--images", type=int, help="of the demonstration's (default: all)")
    options.add_argument(
        "--onednn", action="store_true", help="let the guide's TensorFlow use oneDNN, as ours does"
    )
    options.add_argument(
        "--bfloat16", action="store_true", help="let the pipeline learn in bfloat16"
    )
    chosen = report.parse(options, words)
    weights = chosen.weights or ("imagenet" if chosen.backbone == INSTALLED else "none")
    if Path(weights).is_file():
        weights = str(Path(weights).resolve())
    params = BackboneParams(
        name=chosen.backbone, weights=weights, image_size=None, resize="bicubic"
    )
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        project.set("backbone", name=chosen.backbone, weights=weights)
        project.set("train_head", epochs=EPOCHS, patience=EPOCHS)
        project.set("fine_tune", epochs=EPOCHS, patience=EPOCHS, layers=chosen.layers)
        if chosen.bfloat16:
            project.learn_in_bfloat16()
        project.repro("sample")
        ours = project.repro()
        require("sample" not in ours.stages, "sample runs before the clock does", ours.said)
        scores = project.scores()["fine_tuned"]
        precision: Precision = "bfloat16" if chosen.bfloat16 else "float32"
        extract = ExtractParams(engine="openvino", precision=precision, storage="float32")
        least = limits(project, FrozenSpec(params, extract, chosen.layers), EPOCHS)
        started = time.monotonic()
        theirs = apart(learn, project.folder, params, chosen.layers, chosen.epochs, chosen.onednn)
        seconds = time.monotonic() - started

    measured = {len(phase) for phase in theirs.epochs.values()}
    require(measured == {chosen.epochs}, f"the guide's phases have {chosen.epochs} epochs")
    rest = seconds - sum(map(sum, theirs.epochs.values()))
    phases = {name: extrapolated(phase) for name, phase in theirs.epochs.items()}
    total = rest + sum(phases.values())
    whole = chosen.epochs == EPOCHS
    how = "measured" if whole else f"extrapolated from {chosen.epochs} epochs a phase"
    note = "" if whole else f" (after {chosen.epochs} epochs a phase, so not comparable)"
    meaning = " With random weights accuracy means nothing." if weights == "none" else ""
    ours_in = " The pipeline learns in bfloat16." if chosen.bfloat16 else ""
    setting = "told to use oneDNN, as the pipeline does" if chosen.onednn else "as it is installed"
    variants = [chosen.backbone] if chosen.backbone != INSTALLED else []
    if chosen.bfloat16:
        variants.append("bfloat16")
    if chosen.onednn:
        variants.append("oneDNN on both sides")
    elif not report.has_avx512():
        variants.append("without AVX-512")  # TensorFlow then leaves oneDNN off by itself
    report.write(
        chosen,
        f"{chosen.backbone}, weights {Path(weights).name}, last {chosen.layers} layers, "
        f"{EPOCHS} epochs a phase. **The Keras guide's way takes {total / ours.seconds:.1f} times "
        f"as long** ({how}); its TensorFlow is {setting}.{ours_in} To its favour its "
        "decoded images are cached in memory; the "
        "pipeline has an empty store and no DVC cache, augments more, and ends with a model "
        "file that was evaluated from raw images, with intervals.",
        report.table(
            ("this pipeline, `dvc repro`", "seconds", "its arithmetic, seconds at least"),
            [
                *((name, took, least.get(name, "")) for name, took in ours.stages.items()),
                ("DVC, before the first", ours.seconds - sum(ours.stages.values()), ""),
                ("**total of one go**", ours.seconds, sum(least.values())),
            ],
        ),
        "The least is what benchmark_app takes for so many images (extract, evaluate), and a "
        "product of large matrices for so many multiplications (train_head, fine_tune); starting, "
        "reading, rendering and the optimizer are not in it. With nothing but these the guide's "
        f"way would take {total / sum(least.values()):.1f} times as long.",
        report.table(
            (f"the Keras guide, {how}", "seconds"),
            [
                ("start and test", rest),
                ("head", phases["head"]),
                ("fine-tuning", phases["fine_tune"]),
                ("**total**", total),
            ],
        ),
        f"Accuracy on the {scores['images']:.0f} test images: pipeline {scores['accuracy']:.4f}, "
        f"the guide's way {theirs.accuracy:.4f}{note}.{meaning}",
        variant=", ".join(variants),
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

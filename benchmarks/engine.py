"""Images a second of `extract`, from files to features, beside OpenVINO's own and Keras' rate.

benchmark_app runs the very graph on random input, so it is what the engine
can give; it runs before and after `extract`, and the mean counts.  Keras'
`predict` gets pictures that are decoded and rendered already; its TensorFlow is
as it is installed, then told to use oneDNN.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import NamedTuple, get_args

import numpy as np

from benchmarks import report
from benchmarks.keras_guide import start_stock
from benchmarks.limits import SECONDS, benchmark_app, save_graph
from benchmarks.project import Project, apart, throwaway
from pipeline.backbones.catalog import CATALOG, BackboneParams
from pipeline.engines import ExtractParams, Precision
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.images.pictures import jobs, places_by_digest, read_plan
from pipeline.tables import distinct, read_manifest

INSTALLED = "EfficientNetLite0"  # whose weights are
LAYERS = 10  # to fine-tune: what crosses the cut there is an output too, on both sides
VIEWS_AN_IMAGE = 2.95  # of the default params: 4 of those to train on, 1 of the others
BATCH = 32


class Rates(NamedTuple):
    """Images a second; `start_s` are the seconds of extract before and after its views."""

    views: int
    extract: float
    wall: float
    start_s: float
    benchmark_app: float
    predict: float
    predict_onednn: float


def main(words: Sequence[str] | None = None) -> int:
    """Measure each backbone's rates."""
    options = report.parser("engine", __doc__)
    names = [INSTALLED, "MobileNetV2", "ResNet50"]
    options.add_argument("--backbones", nargs="+", default=names, choices=CATALOG, metavar="NAME")
    options.add_argument("--views", type=int, default=3000, help="about so many (default 3000)")
    options.add_argument(
        "--seconds", type=int, default=SECONDS, help="of each run of benchmark_app"
    )
    options.add_argument("--predicted", type=int, default=512, help="views given to predict")
    options.add_argument(
        "--precision", default="float32", choices=get_args(Precision), help="of views to train on"
    )
    chosen = report.parse(options, words)
    low = chosen.precision != "float32"
    measured: dict[str, Rates] = {}
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=max(20, round(chosen.views / VIEWS_AN_IMAGE)))
        project.set("fine_tune", layers=LAYERS)
        project.set("extract", precision=chosen.precision)
        for stage in ("sample", "ingest", "split", "augment"):
            project.stage(stage)
        for name in chosen.backbones:
            weights = "imagenet" if name == INSTALLED else "none"
            project.set("backbone", name=name, weights=weights)
            wanted = spec(name, weights, chosen.precision)
            measured[name] = rates(project, wanted, chosen.seconds, chosen.predicted)
    report.write(
        chosen,
        f"Images a second at each backbone's own size, {chosen.precision}. `extract` reads, "
        "decodes, checks and renders real PNG files, and keeps features and activations in the "
        "store; its own rate begins when TensorFlow has started and the graph is compiled. "
        f"Backbones but {INSTALLED} have random weights, which are as fast."
        + (" Validation and test images, an eighth, are computed in float32." if low else ""),
        report.table(
            (
                "backbone",
                "views",
                "extract",
                "with start-up",
                "start-up, s",
                "benchmark_app",
                "Keras predict",
                "Keras predict, oneDNN",
                "**extract / benchmark_app**",
                "**extract / predict**",
                "extract / predict, oneDNN",
            ),
            [
                (name, *found, *(f"{found.extract / other:.2f}" for other in found[-3:]))
                for name, found in measured.items()
            ],
        ),
        variant=chosen.precision if low else "",
    )
    return 0


def spec(name: str, weights: str, precision: Precision) -> FrozenSpec:
    """What extract computes."""
    backbone = BackboneParams(name=name, weights=weights, image_size=None, resize="bicubic")
    extract = ExtractParams(engine="openvino", precision=precision, storage="float32")
    return FrozenSpec(backbone, extract, LAYERS)


def rates(project: Project, wanted: FrozenSpec, seconds: int, predicted: int) -> Rates:
    """Run one backbone in every way, one after another."""
    graph = project.folder.with_name("graph.xml")
    apart(save_graph, wanted, graph)
    precision = wanted.extract.precision
    given = [benchmark_app(project, graph, precision, seconds)]
    done = project.stage("extract")
    given.append(benchmark_app(project, graph, precision, seconds))
    found = done.views("extract")
    ran = found.computed - found.alike
    start = done.seconds - ran / found.speed
    keras = [apart(predict, project.folder, wanted, predicted, onednn) for onednn in (False, True)]
    wall = ran / done.seconds
    return Rates(ran, found.speed, wall, start, mean(given), *keras)


def predict(project: Path, wanted: FrozenSpec, views: int, onednn: bool) -> float:
    """Images a second of Keras over pictures in memory; the first batch is not timed."""
    start_stock(onednn=onednn)
    plan = read_plan(project / "data/views.csv")
    images = distinct(read_manifest(project / "data/splits.csv"))
    places = places_by_digest(project / "data/raw", images, plan)
    whole = min(views, len(plan)) // BATCH * BATCH  # another last batch would be traced anew
    shown = np.stack(list(islice(wanted.pictures(jobs(places, plan)), whole)))
    network = FrozenNetwork(wanted)
    model = network.backbone.from_pixels([network.pooled])
    model.predict(shown[:BATCH], batch_size=BATCH, verbose=0)
    started = time.monotonic()
    model.predict(shown, batch_size=BATCH, verbose=0)
    return len(shown) / (time.monotonic() - started)


if __name__ == "__main__":
    raise SystemExit(main())

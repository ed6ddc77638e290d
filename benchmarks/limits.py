"""What this machine can do at most, for the parts of the pipeline to be held to.

OpenVINO's own benchmark_app runs the very graph that `extract` compiles, on
random input.  Learning multiplies at the rate of large matrices at best.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.project import Project, apart
from pipeline.backbones.cut import multiplications
from pipeline.engines import HINTS, Precision, openvino_graph
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.images.pictures import VIEW_TYPES, read_plan, with_splits
from pipeline.tables import distinct, read_manifest
from pipeline.training.epochs import bare
from pipeline.training.learning import make_deterministic

HIDDEN = 1024  # units of the head
SIDE = 2048  # of the matrices
SECONDS = 10  # of a run of benchmark_app


class Arithmetic(NamedTuple):
    """Multiply-accumulates for one image: of its forward pass, of a step that learns from it."""

    forward: int
    step: int


def arithmetic(layers: Iterable[tuple[int, bool]]) -> Arithmetic:
    """Add up layers.

    Args:
        layers: In order: multiply-accumulates of the forward pass, and whether its weights learn.
    """
    forward = step = 0
    learnt = False
    for macs, learns in layers:
        forward += macs
        step += macs * (1 + learns + learnt)  # its kernel's gradient; its input's, for who learns
        learnt |= learns
    return Arithmetic(forward, step)


def head_layers(features: int, classes: int) -> list[tuple[int, bool]]:
    """The default head's, for `arithmetic`."""
    return [(features * HIDDEN, True), (HIDDEN * classes, True)]


def suffix_layers(network: FrozenNetwork) -> list[tuple[int, bool]]:
    """Those behind the cut, for `arithmetic`."""
    import keras  # noqa: PLC0415

    learning = {
        id(operation) for operation in network.backbone.network.operations[network.first :]
    }
    return [
        (multiplications(operation), id(operation) in learning and bool(operation.weights))
        for operation in keras.Model(bare(network.cut), network.pooled).operations
    ]


def limits(project: Project, spec: FrozenSpec, epochs: int) -> dict[str, float]:
    """Seconds that each stage's arithmetic takes at least, of a first run with the default head.

    Args:
        spec: Its precision is also that of `fine_tune`.
        epochs: Of `train_head` and of `fine_tune`.
    """
    precision = spec.extract.precision
    images = distinct(read_manifest(project.folder / "data/splits.csv"))
    plan = with_splits(read_plan(project.folder / "data/views.csv"), images)
    learnt = plan.drop_duplicates(["digest", *VIEW_TYPES])["split"] == "train"
    graph = project.folder.with_name("graph.xml")
    apart(save_graph, spec, graph)
    both: set[Precision] = {"float32", precision}
    rate = {name: benchmark_app(project, graph, name) for name in sorted(both)}
    train, val, test = (int((images["split"] == name).sum()) for name in ("train", "val", "test"))
    head, tuned, plain, low = apart(_learning, spec, images["label"].nunique())
    return {
        "extract": learnt.sum() / rate[precision] + (~learnt).sum() / rate["float32"],
        "train_head": epochs * (train * head.step + val * head.forward) / plain,
        "fine_tune": epochs * (train * tuned.step / low + val * tuned.forward / plain),
        "evaluate": test / rate["float32"],
    }


def _learning(spec: FrozenSpec, classes: int) -> tuple[Arithmetic, Arithmetic, float, float]:
    """The head's arithmetic, that of the cut's layers and it, and multiplications a second."""
    make_deterministic(1)
    network = FrozenNetwork(spec)
    head = head_layers(network.values("features"), classes)
    tuned = arithmetic([*suffix_layers(network), *head])
    return arithmetic(head), tuned, matrix_rate() / 2, matrix_rate(spec.extract.precision) / 2


def save_graph(spec: FrozenSpec, file: Path) -> None:
    """Write the graph that extract compiles."""
    import openvino  # noqa: PLC0415

    network = FrozenNetwork(spec)
    openvino.save_model(openvino_graph(network.model()), file, compress_to_fp16=False)


def benchmark_app(
    project: Project, graph: Path, precision: Precision, seconds: int = SECONDS
) -> float:
    """Images a second that OpenVINO's own tool reaches.

    Raises:
        SystemExit: It does not say.
    """
    options = ("-hint", "throughput", "-infer_precision", HINTS[precision], "-t", str(seconds))
    done = project.run("benchmark_app", "-m", str(graph), "-d", "CPU", *options)
    found = re.search(r"Throughput:\s+([\d.]+) FPS", done.said)
    if not found:
        raise SystemExit(f"benchmark_app named no throughput:\n{done.said}")
    return float(found[1])


def matrix_rate(precision: Precision = "float32") -> float:
    """Floating-point operations a second of TensorFlow's product of two large matrices."""
    import tensorflow as tf  # noqa: PLC0415

    matrix = tf.cast(tf.random.uniform((SIDE, SIDE)), precision)
    (milliseconds,) = in_turns([lambda: tf.matmul(matrix, matrix).numpy()], 10)
    return 2 * SIDE**3 / milliseconds * 1e3


def in_turns(functions: Sequence[Callable[[], object]], times: int) -> list[float]:
    """Median milliseconds of each; the first three calls are not timed."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(times + 3):
        for function, found in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            found.append(time.perf_counter() - started)
    return [median(found[3:]) * 1e3 for found in seconds]

"""Milliseconds of a training step: Keras' own, this pipeline's, and what the arithmetic takes.

The limit counts the multiplications of the layers that run, at the rate at which
this machine multiplies large matrices; BatchNorm, activations and the optimizer
are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from benchmarks import report
from benchmarks.limits import (
    HIDDEN,
    arithmetic,
    head_layers,
    in_turns,
    matrix_rate,
    suffix_layers,
)
from benchmarks.project import apart
from pipeline.backbones.catalog import BackboneParams
from pipeline.engines import ExtractParams, Precision
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.training.epochs import bare
from pipeline.training.learning import make_deterministic
from pipeline.training.step import compile_step
from pipeline.training.tuning import trainable_part

CASES = (("EfficientNetLite0", 10), ("EfficientNetLite0", 29), ("ResNet50", 4))
BATCH, CLASSES = 32, 2


class Steps(NamedTuple):
    """Milliseconds of a step."""

    keras: float
    ours: float
    bfloat16: float
    limit: float


def main(words: Sequence[str] | None = None) -> int:
    """Time both steps in turns, for each backbone and number of layers."""
    options = report.parser("train_step", __doc__)
    options.add_argument("--steps", type=int, default=40, help="of each, timed (default 40)")
    chosen = report.parse(options, words)
    rows = []
    for name, layers in CASES:
        found = apart(measure, name, layers, chosen.steps)
        pairs = (
            (found.ours, found.keras),
            (found.bfloat16, found.keras),
            (found.ours, found.limit),
        )
        rows.append((name, layers, *found, *(f"{one / other:.2f}" for one, other in pairs)))
    report.write(
        chosen,
        f"Milliseconds of a step on {BATCH} images' activations at the cut, with a head of "
        f"{HIDDEN} units and Adam: `train_on_batch` of the plain layers, and the pipeline's "
        "step, also with `fine_tune.precision: bfloat16` (on a processor without it that is slow, "
        "and `fine_tune` refuses); medians of steps taken in turns. The limit is the "
        "multiplications in float32: forward, to the gradient of each kernel that learns, and to "
        "that of each input behind one.",
        report.table(
            (
                "backbone",
                "layers",
                "Keras",
                "ours",
                "ours, bfloat16",
                "limit",
                "**ours / Keras**",
                "bfloat16 / Keras",
                "ours / limit",
            ),
            rows,
        ),
    )
    return 0


def measure(name: str, layers: int, steps: int) -> Steps:
    """Time both steps on the same random activations."""
    make_deterministic(1)
    import keras  # noqa: PLC0415

    params = BackboneParams(name=name, weights="none", image_size=None, resize="bicubic")
    extract = ExtractParams(engine="openvino", precision="float32", storage="float32")
    network = FrozenNetwork(FrozenSpec(params, extract, layers))
    ours, low = (
        compile_step(
            trainable_part(network, head(network), precision),
            keras.optimizers.Adam(1e-4),
            "categorical_crossentropy",
        )
        for precision in get_args(Precision)
    )
    plain = keras.Model(bare(network.cut), network.pooled)
    theirs = guides(plain, head(network))
    theirs.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy", metrics=["accuracy"])
    random = np.random.default_rng(1)
    inputs = bare(
        [random.random((BATCH, *shape), np.float32) for shape in network.activation_shapes]
    )
    labels = np.eye(CLASSES, dtype=np.float32)[random.integers(0, CLASSES, BATCH)]
    batch = inputs, labels, np.ones(BATCH, np.float32)
    times = in_turns(
        [
            lambda: theirs.train_on_batch(*batch),
            lambda: np.asarray(ours(*batch)),
            lambda: np.asarray(low(*batch)),
        ],
        steps,
    )
    learning = [*suffix_layers(network), *head_layers(network.values("features"), CLASSES)]
    limit = 2 * arithmetic(learning).step * BATCH / matrix_rate() * 1e3
    keras_ms, ours_ms, low_ms = times
    return Steps(keras_ms, ours_ms, low_ms, limit)


def head(network: FrozenNetwork) -> Any:
    """The head of the default params."""
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    x = features = keras.Input((network.values("features"),))
    x = layers.Dropout(0.5)(layers.Dense(HIDDEN, activation="relu")(x))
    return keras.Model(features, layers.Dense(CLASSES, activation="softmax")(x))


def guides(suffix: Any, head: Any) -> Any:
    """The plain layers behind the cut, BatchNorm in inference mode as in the guide, and a head."""
    import keras  # noqa: PLC0415

    class Guides(keras.Model):  # type: ignore[misc]
        """Keeps BatchNorm in inference mode, which a functional model would not."""

        def __init__(self) -> None:
            super().__init__()
            self.suffix, self.head = suffix, head

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.head(self.suffix(inputs, training=False), training=training)

    return Guides()


if __name__ == "__main__":
    raise SystemExit(main())

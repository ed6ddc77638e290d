"""Take a backbone apart for fine-tuning, and put it together to ship."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones.cut import values_per_image
from pipeline.console import progress
from pipeline.engines import Engine, run_frozen
from pipeline.errors import InputError
from pipeline.images.pictures import Job, pictures
from pipeline.images.views import ResizeFilter
from pipeline.training.learning import bare

if TYPE_CHECKING:
    import keras

    from pipeline.backbones.load import Backbone


def trainable_part(
    backbone: Backbone, first: int, cut: Sequence[Any], head: keras.Model
) -> keras.Model:
    """What an epoch runs: the backbone from the cut on, then the head.

    Its layers are the backbone's own, so training it trains the backbone.
    BatchNorm keeps its statistics; its scale and offset learn where unfrozen.

    Args:
        first: Index of the first operation to unfreeze.
        cut: The tensors that the frozen prefix leaves.

    Returns:
        Model from the cut's activations (n, ...), one input a tensor, to
        probabilities (n, class).
    """
    import keras  # noqa: PLC0415

    for index, operation in enumerate(backbone.network.operations):
        if isinstance(operation, keras.Layer):
            operation.trainable = index >= first
    suffix = keras.Model(bare(cut), backbone.pooled(), name="suffix")

    class Tuned(keras.Model):  # type: ignore[misc]
        """Says `training=False` at every call: a functional model would forget it in `fit`."""

        def __init__(self) -> None:
            super().__init__()
            self.suffix, self.head = suffix, head  # as attributes, so that Keras finds weights

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.head(self.suffix(inputs, training=False), training=training)

    tuned = Tuned()
    tuned(bare([np.zeros((1, *tensor.shape[1:]), np.float32) for tensor in cut]))
    return tuned


def run_prefix(
    backbone: Backbone,
    cut: Sequence[Any],
    engine: Engine,
    wanted: Iterable[Job],
    *,
    views: int,
    resize: ResizeFilter,
    folder: Path,
) -> list[NDArray[np.float32]]:
    """Run the frozen prefix once over every view and keep what crosses the cut on disk.

    Args:
        wanted: Jobs of as many views as `views` says.

    Returns:
        For each tensor of the cut an array (view, ...) float32, memory-mapped.

    Raises:
        InputError: The disk has no room, or an image has gone or changed.
    """
    needed, free = 4 * views * values_per_image(cut), shutil.disk_usage(folder).free
    if needed > free:
        reason = f"{needed / 1e9:.1f} GB of activations do not fit into {free / 1e9:.1f} GB"
        raise InputError(folder, reason, "lower fine_tune.layers or augment.views, or free space")
    sinks: list[NDArray[np.float32]] = [
        np.lib.format.open_memmap(
            folder / f"{number}.npy", "w+", np.float32, (views, *tensor.shape[1:])
        )
        for number, tensor in enumerate(cut)
    ]
    shown = pictures(wanted, backbone.size, resize)
    with progress("fine_tune: frozen layers", views, "view") as bar:
        run_frozen(backbone.from_pixels(cut), engine, shown, sinks, bar)
    return sinks


def joined(backbone: Backbone, head: keras.Model) -> keras.Model:
    """The whole classifier: pixels (n, size, size, 3) in [0, 255] to probabilities (n, class)."""
    import keras  # noqa: PLC0415

    features = backbone.from_pixels([backbone.pooled()])
    return keras.Model(features.inputs[0], head(features.outputs[0]), name="classifier")

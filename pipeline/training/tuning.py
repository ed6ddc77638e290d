"""Take a backbone apart for fine-tuning, and put it together to ship."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.engines import Precision, require_bfloat16
from pipeline.training.epochs import bare
from pipeline.training.fused import fused

if TYPE_CHECKING:
    import keras

    from pipeline.backbones.load import Backbone
    from pipeline.frozen.network import FrozenNetwork


def trainable_part(
    network: FrozenNetwork, head: keras.Model, precision: Precision = "float32"
) -> keras.Model:
    """What an epoch runs: the backbone from the cut on, then the head.

    Its layers are the backbone's own, so training it trains the backbone.
    BatchNorm keeps its statistics; its scale and offset learn where unfrozen.

    Args:
        precision: Of convolutions while learning; with `training=False` it is float32.

    Returns:
        Model from the cut's activations (n, ...), one input a tensor, to
        probabilities (n, class).

    Raises:
        InputError: This machine cannot compute in that precision.
    """
    import keras  # noqa: PLC0415

    for index, operation in enumerate(network.backbone.network.operations):
        if isinstance(operation, keras.Layer):
            operation.trainable = index >= network.first
    plain = keras.Model(bare(network.cut), network.pooled, name="suffix")
    suffix = learning = fused(plain, network.backbone.network)
    if precision == "bfloat16":
        require_bfloat16("fine_tune.precision")
        learning = fused(plain, network.backbone.network, precision)

    class Tuned(keras.Model):  # type: ignore[misc]
        """Keeps the suffix at `training=False`, which a functional model would not."""

        def __init__(self) -> None:
            super().__init__()
            self.suffix, self.learning = suffix, learning  # attributes, for Keras to find weights
            self.head, self.learning_head = head, fused(head, head)

        def call(self, inputs: Any, training: bool = False) -> Any:
            if not training:
                return self.head(self.suffix(inputs, training=False), training=False)
            return self.learning_head(self.learning(inputs, training=False), training=True)

    tuned = Tuned()
    tuned(bare([np.zeros((1, *tensor.shape[1:]), np.float32) for tensor in network.cut]))
    return tuned


def joined(backbone: Backbone, head: keras.Model) -> keras.Model:
    """The whole classifier: pixels (n, size, size, 3) in [0, 255] to probabilities (n, class)."""
    import keras  # noqa: PLC0415

    # Keras numbers the names of what a process builds; the file must not tell how much that was
    keras.backend.clear_session()
    features = backbone.from_pixels([backbone.pooled()])
    return keras.Model(features.inputs[0], head(features.outputs[0]), name="classifier")

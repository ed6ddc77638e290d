"""Cut a backbone where the frozen layers end: a prefix to run once, a suffix to train.

The cut may cross several tensors where shortcuts jump over it.  Joined again,
prefix and suffix are the backbone: they share its layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import ParamsError

if TYPE_CHECKING:
    import keras

REACH = 8  # operations that a cut may lie before the boundary and that each epoch repeats
REPEATED = 0.1  # largest part of an epoch's arithmetic that these may take
BACKWARD = 2  # a training step's backward arithmetic, in forward passes


def first_unfrozen(network: keras.Model, layers: int | str) -> int:
    """Index into `network.operations` where the layers to fine-tune begin.

    Args:
        layers: How many of the last layers, or the beginning of the name of the
            first one, such as "block7".

    Raises:
        InputError: The network has no such layer or not so many layers.
    """
    if isinstance(layers, int):
        if layers > len(network.layers) - 1:
            reason = f"fine_tune.layers is {layers}, but {network.name} has {len(network.layers)}"
            raise ParamsError(reason, "lower it below the number of layers")
        first = network.layers[-layers]
    else:
        named = [layer for layer in network.layers[1:] if layer.name.startswith(layers)]
        if not named:
            last = ", ".join(layer.name for layer in network.layers[-12:])
            reason = f"fine_tune.layers {layers!r} begins no layer's name in {network.name}"
            raise ParamsError(reason, f"name a layer; the last ones are: {last}")
        first = named[0]
    return int(network.operations.index(first))


def crossing(network: keras.Model, index: int) -> list[Any]:
    """The tensors made before operation `index` that it or a later one needs, in order."""
    needed = {id(tensor) for op in network.operations[index:] for tensor in tensors_of(op.input)}
    needed |= {id(tensor) for tensor in network.outputs}
    made = (tensor for op in network.operations[:index] for tensor in tensors_of(op.output))
    return [tensor for tensor in made if id(tensor) in needed]


def best_cut(network: keras.Model, boundary: int) -> int:
    """Index of the operation to cut before: `boundary`, or one a little earlier.

    Earlier where that stores at most half as much, and running what lies between
    again in every epoch costs little beside the training itself.
    """
    trained = sum(map(multiplications, network.operations[boundary:])) * (1 + BACKWARD)
    best, smallest, repeated = boundary, values_per_image(crossing(network, boundary)) / 2, 0
    for index in range(boundary - 1, max(0, boundary - REACH - 1), -1):
        repeated += multiplications(network.operations[index])
        values = values_per_image(crossing(network, index))
        if repeated <= REPEATED * trained and values <= smallest:
            best, smallest = index, values
    return best


def multiplications(operation: Any) -> int:
    """What an operation's kernels multiply for one image, in multiply-accumulates."""
    kernels = [weight for weight in getattr(operation, "weights", ()) if len(weight.shape) > 1]
    places = math.prod(operation.output.shape[1:-1]) if kernels else 0
    return int(places * sum(math.prod(kernel.shape) for kernel in kernels))


def values_per_image(tensors: Sequence[Any]) -> int:
    """How many numbers the tensors hold for one image."""
    return sum(math.prod(tensor.shape[1:]) for tensor in tensors)


def tensors_of(structure: Any) -> list[Any]:
    """An operation's input or output as a list, be it one tensor or several."""
    return list(structure) if isinstance(structure, (list, tuple)) else [structure]

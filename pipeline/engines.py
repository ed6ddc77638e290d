"""Run a frozen network over pictures as fast as the machine can.

`openvino` is the engine for CPUs: each picture is a request of its own, so a
row does not depend on its neighbours, bit for bit.  `tensorflow` is the engine
for GPUs; its rows agree with OpenVINO's to about 1e-4 of the largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.images.decode import Pixels
from pipeline.params import Section

if TYPE_CHECKING:
    import keras

Engine = Literal["openvino", "tensorflow"]


class ExtractParams(Section):
    """What runs the frozen part of the backbone."""

    engine: Engine


TENSORFLOW_BATCH = 32  # pictures; constant, and the last batch is filled up to it


def run_frozen(
    model: keras.Model,
    engine: Engine,
    pictures: Iterable[Pixels],
    sinks: Sequence[NDArray[np.float32]],
    done: Callable[[int], None],
) -> None:
    """Write the outputs of `model` for each picture into `sinks`, in order.

    Args:
        model: From pixels (n, size, size, 3) in [0, 255] to one or more tensors.
        pictures: (size, size, 3) uint8 each.
        sinks: For each output an array (picture, ...) float32; may be memory-mapped.
        done: Is told how many more pictures are done.
    """
    run = _run_openvino if engine == "openvino" else _run_tensorflow
    run(model, pictures, sinks, done)


def _as_function(model: keras.Model, batch: int | None, dtype: str) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    def outputs(pixels: Any) -> list[Any]:
        result = model(tf.cast(pixels, tf.float32), training=False)
        return list(result) if isinstance(result, (list, tuple)) else [result]

    spec = tf.TensorSpec((batch, *model.input_shape[1:]), dtype)
    return tf.function(outputs, input_signature=[spec]).get_concrete_function()


def _run_openvino(
    model: keras.Model,
    pictures: Iterable[Pixels],
    sinks: Sequence[NDArray[np.float32]],
    done: Callable[[int], None],
) -> None:
    import openvino  # noqa: PLC0415

    graph = openvino.convert_model(_as_function(model, 1, "uint8"))
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph, "CPU", hints)
    queue = openvino.AsyncInferQueue(compiled)

    def store(request: Any, row: int) -> None:
        for number, sink in enumerate(sinks):
            sink[row] = request.get_output_tensor(number).data[0]
        done(1)

    queue.set_callback(store)
    for row, picture in enumerate(pictures):
        queue.start_async({0: picture[np.newaxis]}, row)
    queue.wait_all()


def _run_tensorflow(
    model: keras.Model,
    pictures: Iterable[Pixels],
    sinks: Sequence[NDArray[np.float32]],
    done: Callable[[int], None],
) -> None:
    import tensorflow as tf  # noqa: PLC0415

    function = _as_function(model, TENSORFLOW_BATCH, "uint8")
    batch = np.zeros((TENSORFLOW_BATCH, *model.input_shape[1:]), np.uint8)

    def flush(row: int, filled: int) -> None:
        for sink, output in zip(sinks, function(tf.constant(batch)), strict=True):
            sink[row - filled : row] = output.numpy()[:filled]
        done(filled)

    row = filled = 0
    for row, picture in enumerate(pictures, start=1):
        batch[filled] = picture
        filled += 1
        if filled == TENSORFLOW_BATCH:
            flush(row, filled)
            filled = 0
    if filled:
        flush(row, filled)

"""Run a frozen network over pictures as fast as the machine can.

`openvino` is the engine for CPUs: each picture is a request of its own, so a
row does not depend on its neighbours, bit for bit.  `tensorflow` is the engine
for GPUs; its rows agree with OpenVINO's to about 1e-4 of the largest value.
"""

from __future__ import annotations

import itertools
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from pipeline.errors import ParamsError
from pipeline.files import named_when_full
from pipeline.images.decode import Pixels
from pipeline.params import Section
from pipeline.tensorflow_start import within_memory

if TYPE_CHECKING:
    import keras

Engine = Literal["openvino", "tensorflow"]
Precision = Literal["float32", "bfloat16"]
Outputs = list[NDArray[np.float32]]
Run = Callable[[Iterable[Pixels]], Iterator[Outputs]]


class ExtractParams(Section):
    """What runs the frozen part of the backbone, and how its results are kept."""

    engine: Engine
    precision: Precision  # of the arithmetic, for images to train on; for others float32
    storage: Literal["float32", "float16"]  # of features and activations

    @model_validator(mode="after")
    def _bfloat16_is_openvinos(self) -> ExtractParams:
        if (self.engine, self.precision) == ("tensorflow", "bfloat16"):
            raise ValueError("engine tensorflow computes in precision float32 alone")
        return self


HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}  # OpenVINO's names
TENSORFLOW_BATCH = 32  # pictures; constant, and the last batch is filled up to it
SMALLER = "lower backbone.image_size, or set extract.engine to openvino"
REQUESTS_A_STREAM = 2  # one runs while the next already waits
GRAPH = 2  # how a network is made into a graph: another way may round otherwise


def compile_frozen(
    model: keras.Model,
    engine: Engine,
    *,
    precision: Precision = "float32",
    threads: int | None = None,
) -> Run:
    """Make `model` ready to run.

    Args:
        model: From pixels (n, size, size, 3) in [0, 255] to one or more tensors.
        precision: Of what is computed, with `openvino`; results are float32.
        threads: Of the processor, with `openvino`; None: all.

    Returns:
        A function of pictures, (size, size, 3) uint8 each, that yields each
        picture's row of every output, in order.
    """
    return _openvino(model, precision, threads) if engine == "openvino" else _tensorflow(model)


def require_bfloat16(key: str) -> None:
    """Refuse params that ask for it where the processor lacks it, and would emulate it.

    Args:
        key: Of params.yaml.

    Raises:
        InputError: The processor does not multiply bfloat16.
    """
    import openvino  # noqa: PLC0415

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        reason = f"{key} is bfloat16, which the processor of {platform.node()} cannot multiply"
        raise ParamsError(reason, f"set {key} to float32")


def engine_version(engine: Engine) -> str:
    """Release, graph, and device where it has a choice: another one may round otherwise."""
    import tensorflow as tf  # noqa: PLC0415  # its package has several names

    if engine == "openvino":
        return f"{version('openvino')} graph {GRAPH} of TensorFlow {tf.__version__}"
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU with oneDNN"
    return f"{tf.__version__} graph {GRAPH} on {device}"


def _as_function(model: keras.Model, batch: int) -> Any:
    """`model` as one TensorFlow function whose graph holds the weights as constants."""
    import tensorflow as tf  # noqa: PLC0415

    known = [
        [variable.numpy() for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]

    def outputs(pixels: Any) -> list[Any]:
        weights = [[tf.constant(value) for value in values] for values in known]
        result, _ = model.stateless_call(*weights, tf.cast(pixels, tf.float32), training=False)
        return list(result) if isinstance(result, (list, tuple)) else [result]

    spec = tf.TensorSpec((batch, *model.input_shape[1:]), "uint8")
    return tf.function(outputs, input_signature=[spec]).get_concrete_function()


def openvino_graph(model: keras.Model) -> Any:
    """`model` as OpenVINO takes it: one picture, (1, size, size, 3) uint8, to its outputs."""
    import openvino  # noqa: PLC0415

    function = _as_function(model, 1)
    with TemporaryDirectory() as folder, named_when_full(file := Path(folder) / "graph.pb"):
        file.write_bytes(function.graph.as_graph_def().SerializeToString())
        # `convert_model` goes over every node in Python: seconds, of some networks forty
        graph = openvino.Core().read_model(file)
    # it takes what only a gradient needs for more outputs: of every swish, say
    results = [graph.output(tensor.name).node for tensor in function.outputs]
    return openvino.Model(results, graph.get_parameters())


def _openvino(model: keras.Model, precision: Precision, threads: int | None) -> Run:
    import openvino  # noqa: PLC0415

    if precision == "bfloat16":
        require_bfloat16("extract.precision")
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = str(threads)
    compiled = openvino.Core().compile_model(openvino_graph(model), "CPU", hints)
    count = REQUESTS_A_STREAM * compiled.get_property("NUM_STREAMS")

    def run(pictures: Iterable[Pixels]) -> Iterator[Outputs]:
        # an AsyncInferQueue hangs at its end now and then: its callbacks race for Python's lock
        idle = [_Request(compiled) for _ in range(count)]
        busy: deque[_Request] = deque()

        def oldest() -> Outputs:
            idle.append(busy.popleft())
            return idle[-1].outputs()

        try:
            for picture in pictures:
                if not idle:
                    yield oldest()
                request = idle.pop()
                request.start(picture)
                busy.append(request)
            while busy:
                yield oldest()
        finally:
            while busy:
                oldest()

    return run


class _Request:
    """One picture's way through an OpenVINO network, in memory that is looked up once."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._pixels = self._request.input_tensors[0].data
        self._outputs = [tensor.data for tensor in self._request.output_tensors]

    def start(self, picture: Pixels) -> None:
        """Begin with a picture, of which a copy is taken."""
        np.copyto(self._pixels, picture.reshape(self._pixels.shape), casting="no")
        self._request.start_async()

    def outputs(self) -> Outputs:
        """Wait for the picture's row of every output."""
        self._request.wait()
        return [output[0].copy() for output in self._outputs]


def _tensorflow(model: keras.Model) -> Run:
    import tensorflow as tf  # noqa: PLC0415

    function, what = _as_function(model, TENSORFLOW_BATCH), "extract.engine tensorflow"
    # a GPU computes one while the next is filled
    most_ahead = 1 if tf.config.list_physical_devices("GPU") else 0

    def run(pictures: Iterable[Pixels]) -> Iterator[Outputs]:
        batch = np.zeros((TENSORFLOW_BATCH, *model.input_shape[1:]), np.uint8)
        ahead: deque[tuple[int, Any]] = deque()

        def oldest() -> Iterator[Outputs]:
            filled, tensors = ahead.popleft()
            with within_memory(what, SMALLER):
                outputs = [tensor.numpy() for tensor in tensors]
            for place in range(filled):
                yield [output[place] for output in outputs]

        waiting = iter(pictures)
        while group := list(itertools.islice(waiting, TENSORFLOW_BATCH)):
            batch[: len(group)] = group
            with within_memory(what, SMALLER):
                ahead.append((len(group), function(tf.constant(batch))))
            if len(ahead) > most_ahead:
                yield from oldest()
        while ahead:
            yield from oldest()

    return run

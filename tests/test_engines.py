"""A row of features is its picture's alone: with OpenVINO to the bit, with TensorFlow closely."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import get_args

import numpy as np
import pytest

from pipeline.backbones.catalog import CATALOG, BackboneParams
from pipeline.backbones.cut import crossing, first_unfrozen
from pipeline.backbones.load import load_backbone
from pipeline.engines import TENSORFLOW_BATCH, Precision, Run, compile_frozen
from pipeline.errors import InputError
from pipeline.images.pictures import map_ahead
from pipeline.tensorflow_start import start_tensorflow
from tests.conftest import ROOT, needs_bfloat16

PICTURES = np.random.default_rng(0).integers(0, 256, (TENSORFLOW_BATCH + 5, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module", params=[("ResNet50", 4), ("EfficientNetB0", 9)])
def outputs(keras, request):
    """Run an engine over pictures up to a cut through two tensors.

    EfficientNetB0's swish brings its own gradient, which OpenVINO takes for outputs.
    """
    name, layers = request.param
    params = BackboneParams(name=name, weights="none", image_size=64, resize="bicubic")
    backbone = load_backbone(params)
    cut = crossing(backbone.network, first_unfrozen(backbone.network, layers))
    model = backbone.from_pixels(cut)
    assert len(cut) == 2

    @cache
    def compiled(engine: str, precision: str) -> Run:
        return compile_frozen(model, engine, precision=precision)

    def run(engine: str, pictures: np.ndarray, precision: str = "float32") -> list[np.ndarray]:
        rows = list(compiled(engine, precision)(iter(pictures)))
        assert len(rows) == len(pictures)
        return [np.stack(tensors) for tensors in zip(*rows, strict=True)]

    return run


@pytest.mark.parametrize("precision", get_args(Precision))
def test_openvino_rows_do_not_depend_on_order_or_number(outputs, precision, request):
    if precision == "bfloat16":
        request.getfixturevalue("bfloat16")
    order = np.random.default_rng(1).permutation(len(PICTURES))
    together, shuffled, alone = (
        outputs("openvino", pictures, precision)
        for pictures in (PICTURES, PICTURES[order], PICTURES[3:4])
    )

    for row, mixed, single in zip(together, shuffled, alone, strict=True):
        np.testing.assert_array_equal(mixed, row[order])
        np.testing.assert_array_equal(single[0], row[3])


def test_an_engine_that_was_left_early_runs_again(keras):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    run = compile_frozen(model, "openvino")
    pictures = PICTURES[:, :8, :8]

    def failing():
        yield from pictures[:9]
        raise InterruptedError

    left = run(iter(pictures))
    (first,) = next(left)
    left.close()
    with pytest.raises(InterruptedError):
        list(run(failing()))
    rows = [row for (row,) in run(iter(pictures))]

    np.testing.assert_array_equal(first, pictures[0].ravel())
    np.testing.assert_array_equal(rows, pictures.reshape(len(pictures), -1))


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (PICTURES[0], "cannot reshape array of size 12288"),
        (PICTURES[0, :8, :1], "cannot reshape array of size 24"),
        (PICTURES[0, :8, :8] / 255, "Cannot cast"),
    ],
)
def test_a_picture_of_another_kind_is_refused(keras, picture, words):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])

    with pytest.raises((ValueError, TypeError), match=words):
        list(compile_frozen(model, "openvino")([picture]))


def test_engines_agree_on_every_tensor_of_the_cut(outputs):
    for ours, theirs in zip(
        outputs("openvino", PICTURES), outputs("tensorflow", PICTURES), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@needs_bfloat16
def test_bfloat16_rounds_and_does_no_more(outputs):
    for low, exact in zip(
        outputs("openvino", PICTURES, "bfloat16"), outputs("openvino", PICTURES), strict=True
    ):
        off = np.sqrt(np.mean((low - exact) ** 2) / np.mean(exact**2))
        assert 1e-5 < off < 0.1
        assert low.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOG)
def test_every_backbone_runs_on_openvino_as_on_tensorflow(in_turn, name):
    in_turn(check_engines, name)


def check_engines(name: str):
    start_tensorflow()
    size = 96 if name.startswith(("Inception", "Xception")) else 64
    params = BackboneParams(name=name, weights="none", image_size=size, resize="bicubic")
    backbone = load_backbone(params)
    for layer in backbone.network.layers:
        if type(layer).__name__ == "BatchNormalization" and layer.gamma is not None:
            # untrained, EfficientNetV2L makes of a rounding another picture: it is that deep
            layer.gamma.assign(np.full(layer.gamma.shape, 0.5))
        if type(layer).__name__ == "LayerScale":  # which begins by making nothing of a block
            layer.gamma.assign(np.full(layer.gamma.shape, 0.5))
    model = backbone.from_pixels([backbone.pooled()])
    pictures = np.random.default_rng(2).integers(0, 256, (2, size, size, 3), np.uint8)

    ours, theirs = (
        np.array([features for (features,) in compile_frozen(model, engine)(iter(pictures))])
        for engine in ("openvino", "tensorflow")
    )

    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_tensorflow_repeats_itself(outputs):
    for one, other in zip(
        outputs("tensorflow", PICTURES), outputs("tensorflow", PICTURES), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_tensorflow_starts_in_silence_and_leaves_python_as_it_was():
    code = (
        "import gc, sys; from pipeline.tensorflow_start import start_tensorflow;"
        "start_tensorflow(); assert gc.isenabled();"
        "assert not {'sklearn', 'matplotlib'} & set(sys.modules);"
        "import keras, matplotlib.pyplot, sklearn; print(keras.backend.backend())"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("tensorflow\n", "")


def test_tensorflow_goes_by_no_keras_json_of_the_users(tmp_path):
    """Of which another layout, type or epsilon would end in a traceback, or move every figure."""
    settings = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}
    (tmp_path / "keras.json").write_text(json.dumps(settings | {"backend": "jax"}))
    code = (
        "from pipeline.tensorflow_start import start_tensorflow; start_tensorflow();"
        "import tensorflow as tf; from keras import config, layers;"
        "print(tf.config.experimental.tensor_float_32_execution_enabled(), config.backend(),"
        "config.floatx(), config.image_data_format(), config.epsilon(),"
        "layers.Dense(1).compute_dtype)"
    )
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert done.stdout == "False tensorflow float32 channels_last 1e-07 float32\n"


def test_tensorflow_that_lacks_the_memory_for_a_batch_is_an_error(keras, monkeypatch):
    """A CPU would be given it, or the process ended: the function says what a GPU's does."""
    import tensorflow as tf

    def full(_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr("pipeline.engines._as_function", lambda *_: full)
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    run = compile_frozen(model, "tensorflow")

    said = r"extract.engine tensorflow needs more memory.*\n.*lower backbone.image_size"
    with pytest.raises(InputError, match=said):
        next(run([np.zeros((8, 8, 3), np.uint8)]))


def test_few_results_wait_at_any_time():
    """Work ahead of a slow consumer is bounded."""
    started: list[int] = []

    results = map_ahead(lambda item: started.append(item) or item, range(10_000))

    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(started) <= 10 + 4 * (os.cpu_count() or 1)
    results.close()


def test_an_error_in_a_thread_reaches_the_caller():
    def fail(item: int) -> int:
        return 1 // (item - 3)

    with pytest.raises(ZeroDivisionError, match="division"):
        list(map_ahead(fail, range(10)))

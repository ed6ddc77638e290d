"""The layers to train compute and learn the same, however they are arranged."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.backbones.catalog import CATALOG, BackboneParams
from pipeline.backbones.cut import best_cut, crossing, first_unfrozen
from pipeline.backbones.load import load_backbone
from pipeline.engines import ExtractParams
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.params import load_section
from pipeline.tensorflow_start import start_tensorflow
from pipeline.training.epochs import bare
from pipeline.training.fused import fused
from pipeline.training.head import HeadParams, build_head
from pipeline.training.tuning import trainable_part
from tests.conftest import ROOT

CLOSE = 1e-9  # of the largest value; float64 adds up in another order too
HEAD = load_section(ROOT / "params.yaml", "train_head", HeadParams).model_copy(
    update={"l2": 0.01, "dropout": 0.5}
)
FAST = {
    "EfficientNetLite0": [10, 29],
    "MobileNetV2": [10, 30],
    "ResNet50": [4, 20],  # convolutions with a bias
    "ResNet50V2": [10, 25],  # BatchNorm before the convolution
    "DenseNet121": [12],  # and after several joined tensors
    "MobileNetV3Small": [20],
}


@pytest.fixture
def in_float64(keras):
    """In float32 a rounding may move a value across a relu's kink, and a gradient with it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def scattered(network):
    """Weights as if learnt: fresh BatchNorm would hide what is done with its statistics."""
    random = np.random.default_rng(0)
    for layer in network.layers:
        if hasattr(layer, "moving_variance"):
            for weight in layer.weights:
                weight.assign(random.uniform(0.5, 1.5, weight.shape))


def outputs_and_gradients(model, variables, inputs):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        outputs = model(inputs, training=False)
        aim = tf.reduce_sum(tf.square(outputs))
    return [outputs, *tape.gradient(aim, variables)]


@pytest.mark.parametrize("hidden", [[], [6], [6, 3]])
def test_a_fused_head_computes_and_learns_the_same(keras, in_float64, hidden):
    head = build_head(HEAD.model_copy(update={"hidden": hidden}), 5, 3)
    features = np.random.default_rng(1).normal(size=(7, 5))

    quick = fused(head, head)

    assert [type(layer).__name__ for layer in quick.layers].count("Fused") == len(hidden) + 1
    assert sum(quick.losses) == sum(head.losses) > 0
    both = zip(
        outputs_and_gradients(head, head.trainable_variables, features),
        outputs_and_gradients(quick, head.trainable_variables, features),
        strict=True,
    )
    for one, other in both:
        np.testing.assert_allclose(other, one, rtol=CLOSE)


def test_a_fused_head_still_drops_out(keras):
    head = build_head(HEAD, 5, 3)
    features = np.random.default_rng(1).normal(size=(7, 5))

    quick = fused(head, head)

    np.testing.assert_array_equal(quick(features), head(features))
    assert (quick(features, training=True) != head(features)).numpy().any()


def check_fused(keras, name: str, layers: int):
    """Return the fused layers, held to the plain ones."""
    params = BackboneParams(name=name, weights="none", image_size=96, resize="bicubic")
    network = load_backbone(params).network
    scattered(network)
    first = first_unfrozen(network, layers)
    for index, operation in enumerate(network.operations):
        if isinstance(operation, keras.Layer):
            operation.trainable = index >= first
    cut = crossing(network, best_cut(network, first))
    random = np.random.default_rng(1)
    inputs = bare([random.normal(size=(2, *t.shape[1:])) for t in cut])
    plain = keras.Model(bare(cut), network.output)

    quick = fused(plain, network)

    variables = plain.trainable_variables
    assert {id(v) for v in quick.trainable_variables} == {id(v) for v in variables}
    expected = outputs_and_gradients(plain, variables, inputs)
    found = outputs_and_gradients(quick, variables, inputs)
    for one, other in zip(expected, found, strict=True):
        largest = np.abs(one).max()
        np.testing.assert_allclose(other, one, rtol=0, atol=CLOSE * largest + 1e-12)
    return quick


@pytest.mark.parametrize(
    ("name", "layers"), [(name, layers) for name, counts in FAST.items() for layers in counts]
)
def test_fused_layers_compute_and_learn_the_same(keras, in_float64, name, layers):
    check_fused(keras, name, layers)


def test_batch_norm_is_folded_where_a_convolution_alone_feeds_it(keras, in_float64):
    quick = check_fused(keras, "EfficientNetLite0", 29)

    kinds = [type(operation).__name__ for operation in quick.operations]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Fused") >= 3


def test_batch_norm_behind_a_frozen_convolution_stays_apart(keras, in_float64):
    """The cut of EfficientNetLite0's last ten layers lies before a convolution that is frozen."""
    quick = check_fused(keras, "EfficientNetLite0", 10)

    apart = [op.name for op in quick.operations if type(op).__name__ == "BatchNormalization"]
    assert apart == ["block7a_expand_bn"]


def test_a_convolution_that_others_read_keeps_its_batch_norm_apart(keras):
    from keras import layers

    x = inputs = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3)(x)
    x = layers.BatchNormalization()(y)
    network = keras.Model(inputs, layers.Concatenate()([x, y]))
    scattered(network)
    pictures = np.random.default_rng(0).normal(size=(2, 8, 8, 3))

    quick = fused(network, network)

    np.testing.assert_allclose(quick(pictures), network(pictures), rtol=1e-5)


@pytest.mark.parametrize(("name", "layers"), [("EfficientNetLite0", 10), ("VGG16", 4)])
def test_bfloat16_rounds_what_convolutions_multiply(keras, name, layers):
    """VGG's convolutions are neither pointwise nor followed by a BatchNorm."""
    params = BackboneParams(name=name, weights="none", image_size=64, resize="bicubic")
    network = load_backbone(params).network
    first = first_unfrozen(network, layers)
    for operation in network.operations[first:]:
        if isinstance(operation, keras.Layer):
            operation.trainable = True
    cut = crossing(network, best_cut(network, first))
    plain = keras.Model(bare(cut), network.output)
    random = np.random.default_rng(1)
    inputs = bare([random.normal(size=(2, *t.shape[1:])).astype(np.float32) for t in cut])

    exact, low = (
        outputs_and_gradients(fused(plain, network, precision), plain.trainable_variables, inputs)
        for precision in ("float32", "bfloat16")
    )

    assert len(exact) == 1 + len(plain.trainable_variables) > 3
    # rounding by a part in 2**8 carries about so many of a layer's units over ReLU's kink; both
    # have three such layers
    for one, other in zip(exact, low, strict=True):
        assert other.dtype == "float32"
        assert 1e-6 < np.linalg.norm(other - one) / np.linalg.norm(one) < np.sqrt(3 / 2**8)


@pytest.mark.parametrize("kind", ["with_norm", "alone", "depthwise", "grouped", "dense"])
def test_bfloat16_is_for_convolutions_that_multiply(keras, kind):
    """And for each of those; what only moves memory, and dense layers, stay as they are."""
    from keras import layers

    x = inputs = keras.Input((6, 6, 8) if kind != "dense" else (8,))
    layer = {
        "with_norm": lambda: layers.Conv2D(8, 1, use_bias=False),
        "alone": lambda: layers.Conv2D(8, 3),
        "depthwise": lambda: layers.DepthwiseConv2D(3),
        "grouped": lambda: layers.Conv2D(8, 3, groups=8),
        "dense": lambda: layers.Dense(8),
    }[kind]()
    x = layer(x)
    network = keras.Model(inputs, layers.BatchNormalization()(x) if kind == "with_norm" else x)
    scattered(network)
    shown = np.random.default_rng(1).normal(size=(2, *inputs.shape[1:])).astype(np.float32)

    exact, low = (fused(network, network, how)(shown).numpy() for how in ("float32", "bfloat16"))

    assert (exact != low).any() == (kind in {"with_norm", "alone"})


def test_what_learns_in_bfloat16_is_judged_in_float32(keras, monkeypatch):
    monkeypatch.setattr("pipeline.training.tuning.require_bfloat16", lambda _: None)
    backbone = BackboneParams(
        name="EfficientNetLite0", weights="none", image_size=64, resize="bicubic"
    )
    extract = ExtractParams(engine="openvino", precision="float32", storage="float32")
    network = FrozenNetwork(FrozenSpec(backbone, extract, 10))
    features = keras.Input((network.values("features"),))
    head = keras.Model(features, keras.layers.Dense(2, activation="softmax")(features))
    shapes = network.activation_shapes
    shown = bare([np.random.default_rng(1).normal(size=(3, *shape)) for shape in shapes])

    exact, low = (trainable_part(network, head, how) for how in ("float32", "bfloat16"))

    np.testing.assert_array_equal(low(shown, training=False), exact(shown, training=False))
    assert (low(shown, training=True) != exact(shown, training=True)).numpy().any()
    variables = low.trainable_variables
    assert {id(v) for v in variables} == {id(v) for v in exact.trainable_variables}
    assert len(variables) == len(exact.trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CATALOG) - set(FAST)))
def test_every_backbone_can_be_fused(in_turn, name):
    in_turn(check_fused_in_float64, name)


def check_fused_in_float64(name: str):
    start_tensorflow()
    import keras

    keras.config.set_dtype_policy("float64")
    check_fused(keras, name, 15)

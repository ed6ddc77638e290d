"""Backbones are the real networks, with their own preprocessing, and can be cut."""

from __future__ import annotations

import importlib
import inspect
import random
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from pipeline.backbones import lite0
from pipeline.backbones.catalog import CATALOG, BackboneParams
from pipeline.backbones.checkpoint import read_checkpoint
from pipeline.backbones.cut import best_cut, crossing, first_unfrozen, values_per_image
from pipeline.backbones.load import load_backbone
from pipeline.errors import InputError
from pipeline.tensorflow_start import start_tensorflow
from pipeline.training.epochs import bare

CORE = (
    *("ResNet50", "VGG16", "MobileNetV2", "EfficientNetB0", "DenseNet121"),
    pytest.param("ConvNeXtTiny", marks=pytest.mark.slow),
)


OF_CORE = {
    "ResNet50": "resnet",
    "VGG16": "vgg16",
    "MobileNetV2": "mobilenet_v2",
    "EfficientNetB0": "efficientnet",
    "DenseNet121": "densenet",
    "ConvNeXtTiny": "convnext",
}


def params(name: str, weights: str = "none", size: int | None = 32) -> BackboneParams:
    return BackboneParams(name=name, weights=weights, image_size=size, resize="bicubic")


def smallest_size(name: str) -> int:
    """The least input that Keras lets the network have, rounded up."""
    return 96 if name.startswith(("Inception", "Xception")) else 32


@pytest.fixture(scope="module")
def imagenet(keras):
    """Centre-cropped picture of scikit-image to its ImageNet class."""
    backbone = load_backbone(params("EfficientNetLite0", "imagenet", None))
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.network.output)
    model = backbone.from_pixels([pooled])
    tensors = read_checkpoint(lite0.checkpoint_file())  # with the layer that the backbone lacks
    kernel, bias = tensors["_fc.weight"].T, tensors["_fc.bias"]

    def classify(picture: np.ndarray) -> int:
        image = Image.fromarray(picture)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((224, 224))
        features = model.predict(np.asarray(image, np.float32)[np.newaxis], verbose=0)
        return int((np.asarray(features).reshape(1, -1) @ kernel + bias).argmax())

    return classify


@pytest.mark.parametrize(
    ("name", "expected"),
    [("chelsea", 285), ("coffee", 967), ("rocket", 657), ("stereo_motorcycle", 665)],
)
def test_the_default_weights_know_real_pictures(imagenet, name, expected):
    """Egyptian cat, espresso, missile and moped, in ImageNet's numbering."""
    from skimage import data, io

    if name == "stereo_motorcycle":
        folder = importlib.resources.files("skimage") / "data"
        picture = io.imread(str(folder / "motorcycle_left.png"))
    else:
        picture = getattr(data, name)()

    assert imagenet(picture) == expected


def test_the_catalog_is_every_classifier_of_keras(keras):
    functions = {
        name
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value) and "include_top" in inspect.signature(value).parameters
    }

    assert set(CATALOG) - {"EfficientNetLite0"} == functions


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CATALOG) - {"EfficientNetLite0"}))
def test_the_default_size_is_that_of_the_whole_classifier(in_turn, name):
    """But for MobileNetV3, which Keras builds for any size; its weights are for 224."""
    expected = None if name.startswith("MobileNetV3") else CATALOG[name].size
    assert in_turn(size_of_classifier, name) == expected


def size_of_classifier(name: str) -> int | None:
    start_tensorflow()
    import keras

    return getattr(keras.applications, name)(weights=None).input_shape[1]


@pytest.mark.parametrize("name", CORE)
def test_preprocessing_is_the_networks_own(keras, name):
    backbone = load_backbone(params(name))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    module = getattr(keras.applications, OF_CORE[name])

    ours = backbone.from_pixels([backbone.network.output]).predict_on_batch(pixels)
    theirs = backbone.network.predict_on_batch(module.preprocess_input(pixels.copy()))

    found = np.asarray(ours).reshape(theirs.shape)
    np.testing.assert_allclose(found, theirs, atol=1e-4 * np.abs(theirs).max())


def test_every_module_of_the_catalog_has_its_networks(keras):
    """And so, with the above, their preprocessing."""
    of_keras = {name: network for name, network in CATALOG.items() if network.module}
    exempt = {name for name in of_keras if name.startswith("MobileNetV3")}  # has no module public

    for name in of_keras.keys() - exempt:
        module = getattr(keras.applications, of_keras[name].module)
        assert getattr(module, name) is getattr(keras.applications, name)
    assert {of_keras[name].module for name in exempt} == {"mobilenet_v3"}


def test_random_weights_are_the_same_whatever_else_draws_at_random(keras):
    """On a Dask worker other threads draw from Python's generator, too."""
    undisturbed = load_backbone(params("MobileNetV2")).weights_digest
    ended = threading.Event()
    draws = (random.random for _ in iter(ended.is_set, True))
    other = threading.Thread(target=lambda: [draw() for draw in draws])
    other.start()
    try:
        disturbed = load_backbone(params("MobileNetV2")).weights_digest
    finally:
        ended.set()
        other.join()

    assert disturbed == undisturbed


def test_random_kernels_differ_within_a_network(keras):
    network = load_backbone(params("NASNetMobile")).network  # separable convolutions, too
    kernels = [weight.numpy().tobytes() for weight in network.weights if len(weight.shape) == 4]

    assert len(set(kernels)) == len(kernels) > 100


@pytest.mark.parametrize("name", [*CORE, "EfficientNetLite0"])
def test_weights_are_read_from_a_file(keras, tmp_path, name):
    source = load_backbone(params(name))
    source.network.set_weights([weight + 1 for weight in source.network.get_weights()])
    source.network.save_weights(tmp_path / "w.weights.h5")

    loaded = load_backbone(params(name, str(tmp_path / "w.weights.h5")))

    for ours, theirs in zip(
        loaded.network.get_weights(), source.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_imagenet_weights_of_an_efficientnet_from_a_file_see_what_downloaded_ones_do(
    keras, tmp_path, monkeypatch
):
    """Keras adds a layer without weights where it downloads them itself."""
    module = keras.src.applications.efficientnet
    source = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    normalize = source.layers[2]
    normalize.adapt_mean.assign([0.485, 0.456, 0.406])
    normalize.adapt_variance.assign([0.229, 0.224, 0.225])
    source.save_weights(tmp_path / "w.weights.h5")
    monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: tmp_path / "w.weights.h5")

    downloaded = load_backbone(params("EfficientNetB0", "imagenet"))
    loaded = load_backbone(params("EfficientNetB0", str(tmp_path / "w.weights.h5")))

    assert len(downloaded.network.layers) == len(loaded.network.layers) + 1
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    theirs, ours = (np.asarray(one.network(x, training=False)) for one in (downloaded, loaded))
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.ptp(theirs))


def unreadable(tmp_path, kind: str) -> str:
    file = tmp_path / "w.weights.h5"
    if kind == "no hdf5":
        file.write_bytes(b"no HDF5 at all")
    elif kind == "other network":
        load_backbone(params("VGG16")).network.save_weights(file)
    elif kind == "suffix":
        file = tmp_path / "w.bin"
        file.write_bytes(b"")
    return str(file)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("absent", r"w.weights.h5: backbone.weights is neither imagenet, none nor a file"),
        ("no hdf5", r"w.weights.h5: cannot be loaded into MobileNetV2"),
        ("other network", r"w.weights.h5: cannot be loaded into MobileNetV2"),
        ("suffix", r"w.bin: backbone.weights ends in '.bin', not in .h5"),
    ],
)
def test_an_unreadable_weights_file_is_an_error(keras, tmp_path, kind, match, recwarn):
    with pytest.raises(InputError, match=match) as caught:
        load_backbone(params("MobileNetV2", unreadable(tmp_path, kind)))

    assert not [one for one in recwarn if "freshly-initialized" in str(one.message)]
    assert "saved by save_weights of MobileNetV2" in caught.value.fix


def test_no_network_names_the_ways_out(keras, monkeypatch, tmp_path):
    """A proxy that nobody answers stands for no network."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))

    with pytest.raises(
        InputError, match=r"'imagenet' of VGG16 could not be downloaded.*http"
    ) as e:
        load_backbone(params("VGG16", "imagenet"))

    assert "include_top=False" in e.value.fix
    assert "EfficientNetLite0" in e.value.fix


def test_a_download_that_is_not_the_weights_is_not_the_sizes_fault(keras, monkeypatch, tmp_path):
    (tmp_path / "served").mkdir()
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    (tmp_path / "served" / name).write_bytes(b"<html>Log in to the hotel's network</html>")
    monkeypatch.setenv("no_proxy", "*")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{name}"
        monkeypatch.setattr("keras.src.applications.vgg16.WEIGHTS_PATH_NO_TOP", address)
        monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
        with pytest.raises(InputError, match=r"could not be downloaded: Incomplete or corrupted"):
            load_backbone(params("VGG16", "imagenet"))
        server.shutdown()


def test_too_small_an_input_is_an_error(keras):
    with pytest.raises(InputError, match=r"InceptionV3 cannot take images of 32 pixels.*75"):
        load_backbone(params("InceptionV3", size=32))


def check_cut(keras, network, layers: int | str) -> None:
    """suffix(prefix(x)) is backbone(x), bit for bit."""
    boundary = first_unfrozen(network, layers)
    side = network.input_shape[1]
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    whole = np.asarray(network(x, training=False))
    assert np.isfinite(whole).all()
    assert not np.array_equal(*whole)  # or nothing would show
    for cut in (crossing(network, at) for at in {boundary, best_cut(network, boundary)}):
        prefix = keras.Model(network.inputs[0], bare(cut))
        suffix = keras.Model(bare(cut), network.output)

        joined = suffix(prefix(x, training=False), training=False)

        np.testing.assert_array_equal(np.asarray(joined), whole)


@pytest.mark.parametrize("layers", [1, 10, 33, "block5"])
def test_a_cut_joined_again_is_the_backbone(keras, layers):
    check_cut(keras, load_backbone(params("EfficientNetLite0")).network, layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CATALOG) - {"EfficientNetLite0"}))
def test_every_backbone_can_be_built_and_cut(in_turn, name):
    in_turn(check_cuts, name)


def check_cuts(name: str):
    start_tensorflow()
    import keras

    network = load_backbone(params(name, size=smallest_size(name))).network
    most = len(network.layers) - 1
    for layers in sorted({min(number, most) for number in (1, 4, 15, 40, most)}):
        check_cut(keras, network, layers)


def test_the_cut_lies_where_there_is_least_to_keep(keras):
    """EfficientNetLite0's last 10 layers begin behind an expansion to 1152 channels."""
    network = load_backbone(params("EfficientNetLite0", size=224)).network
    boundary = first_unfrozen(network, 10)

    assert values_per_image(crossing(network, boundary)) == 1152 * 7 * 7
    assert values_per_image(crossing(network, best_cut(network, boundary))) == 192 * 7 * 7


def test_the_cut_lies_at_the_boundary_where_running_more_would_cost_more_than_it_saves(keras):
    """Before EfficientNetLite0's last activation lies a convolution, and nothing is trained."""
    network = load_backbone(params("EfficientNetLite0", size=224)).network
    boundary = first_unfrozen(network, 1)

    assert best_cut(network, boundary) == boundary
    assert (
        values_per_image(crossing(network, boundary - 2))
        < values_per_image(crossing(network, boundary)) / 2
    )


def test_a_cut_crosses_a_shortcut(keras):
    """ResNet50's last 4 layers add a shortcut from before the boundary."""
    network = load_backbone(params("ResNet50")).network

    assert len(crossing(network, first_unfrozen(network, 4))) == 2


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        (155, r"fine_tune.layers is 155, but efficientnetlite0 has \d+"),
        ("blok7", r"fine_tune.layers 'blok7' begins no layer's name.*\n.*top_activation"),
    ],
)
def test_layers_that_are_not_there_are_an_error(keras, layers, match):
    network = load_backbone(params("EfficientNetLite0")).network

    with pytest.raises(InputError, match=match):
        first_unfrozen(network, layers)


def test_a_prefix_of_a_name_unfreezes_from_its_first_layer(keras):
    network = load_backbone(params("EfficientNetLite0")).network

    first = network.operations[first_unfrozen(network, "block7")]

    assert first.name == "block7a_expand_conv"

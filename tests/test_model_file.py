"""The model file: byte-stable, plain Keras, and never trusted."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.inference import load_classifier
from pipeline.model_file import CARD, Card, load_model, read_card, save_model

ANSWERS = Card(
    classes=["cat", "dog"],
    image_size=8,
    resize="bicubic",
    shipped="fine_tuned",
    data_digest="d",
    weights_digest="w",
    params={"backbone": {"name": "tiny"}},
)


DENSE = b"""{"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}}"""


def classifier(keras, *, size: int = 8, classes: int = 2, layer: object = None):
    """A model small enough to look through."""
    keras.utils.set_random_seed(1)
    pixels = keras.Input((size, size, 3))
    x = keras.layers.GlobalAveragePooling2D()(pixels / 255.0)
    x = layer(x) if layer else x
    return keras.Model(pixels, keras.layers.Dense(classes, activation="softmax")(x))


def rewrite(file, change) -> None:
    """Change the members of an archive."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def saved(keras, tmp_path):
    save_model(classifier(keras), ANSWERS, tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_equal_models_are_equal_bytes(keras, tmp_path):
    """Keras writes the date into the file and into its archive; we take both out."""
    for name in ("one.keras", "other.keras"):
        keras.backend.clear_session()
        save_model(classifier(keras), ANSWERS, tmp_path / name)

    with zipfile.ZipFile(tmp_path / "one.keras") as archive:
        assert "date_saved" not in json.loads(archive.read("metadata.json"))
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "other.keras").read_bytes()


def test_plain_keras_loads_it_and_takes_uint8_and_float_pixels(keras, saved):
    model = keras.saving.load_model(saved, safe_mode=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)

    from_bytes, from_floats = model.predict(pixels), model.predict(pixels.astype(np.float32))

    np.testing.assert_array_equal(from_bytes, from_floats)
    np.testing.assert_allclose(from_bytes.sum(axis=1), 1, rtol=1e-6)


def test_the_card_comes_back_as_it_went(saved):
    _, card = load_model(saved)

    assert card == read_card(saved) == ANSWERS


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "model.keras: does not exist"),
        (b"no archive", "is not a model of this pipeline: File is not a zip file"),
        (b"", "is not a model of this pipeline"),
    ],
)
def test_what_is_no_model_is_an_error(tmp_path, content, match):
    file = tmp_path / "model.keras"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InputError, match=match) as caught:
        load_model(file)

    assert "dvc repro" in caught.value.fix


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.pop(CARD), "holds no pipeline.json: it is not of this pipeline"),
        (lambda m: m.update({CARD: b"{"}), "is not a model of this pipeline"),
        (lambda m: m.update({CARD: b"\xff"}), "is not a model of this pipeline"),
        (lambda m: m.update({CARD: b"[" * 100_000}), "is not a model of this pipeline"),
        (lambda m: m.update({CARD: b" " * 10_000_000 + m[CARD]}), "is not a model of this pipe"),
        (lambda m: m.update({CARD: m[CARD].replace(b"dog", b"cat")}), "classes must differ"),
        (lambda m: m.update({"config.json": DENSE}), "cannot be loaded safely"),
        (lambda m: m.update({"config.json": b"{}"}), "cannot be loaded safely"),
        (lambda m: m.update({"model.weights.h5": b"junk"}), "cannot be loaded safely"),
    ],
)
def test_a_damaged_model_is_an_error(keras, saved, change, match):
    rewrite(saved, change)

    with pytest.raises(InputError, match=match):
        load_model(saved)


def test_a_model_by_another_ending_is_refused(saved):
    """Keras would read the same bytes otherwise, by the name."""
    other = saved.rename(saved.with_suffix(".h5"))

    with pytest.raises(InputError, match=r"does not end in \.keras"):
        load_model(other)


def test_a_model_that_brings_code_is_refused(keras, tmp_path):
    layer = keras.layers.Lambda(lambda x: x * 2, output_shape=(3,))
    save_model(classifier(keras, layer=layer), ANSWERS, tmp_path / "model.keras")

    with pytest.raises(InputError, match=r"cannot be loaded safely: .*(unsafe|lambda)"):
        load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../../x", r"pipeline\.json, \.\./\.\./x\n"),
        ("assets/x", r"pipeline\.json, assets/x\n"),
        ("metadata.json", r"pipeline\.json, metadata\.json\n"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_model_file_with_other_members_is_refused(saved, name, said):
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(name, "{}")

    with pytest.raises(InputError, match=said):
        load_model(saved)


def test_a_model_file_that_would_fill_the_memory_is_refused(saved):
    """Gigabytes of blanks are a few megabytes, packed."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] += b" " * 10_000_000
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)

    with pytest.raises(InputError, match=r"config\.json is packed"):
        load_model(saved)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_of_no_numbers_is_refused(keras, tmp_path, value):
    """Some layers make plausible answers of them."""
    model = classifier(keras, layer=keras.layers.BatchNormalization(name="norm"))
    model.get_layer("norm").moving_variance.assign([1, value, 1])
    save_model(model, ANSWERS, tmp_path / "model.keras")

    with pytest.raises(InputError, match="not finite, in norm/moving_variance"):
        load_model(tmp_path / "model.keras")


def test_a_model_that_the_engine_cannot_run_is_an_error(keras, tmp_path):
    save_model(classifier(keras, layer=keras.ops.erfinv), ANSWERS, tmp_path / "model.keras")

    with pytest.raises(InputError, match="cannot be run by openvino"):
        load_classifier(tmp_path / "model.keras", "openvino")


@pytest.mark.parametrize("shape", [{"size": 9}, {"classes": 3}])
def test_a_card_that_contradicts_its_model_is_an_error(keras, tmp_path, shape):
    save_model(classifier(keras, **shape), ANSWERS, tmp_path / "model.keras")

    with pytest.raises(InputError, match="which its card contradicts"):
        load_model(tmp_path / "model.keras")


def test_a_card_is_readable_without_this_package(saved):
    with zipfile.ZipFile(saved) as archive:
        card = json.loads(archive.read("pipeline.json"))

    assert card["classes"] == ["cat", "dog"]
    assert (card["image_size"], card["resize"]) == (8, "bicubic")

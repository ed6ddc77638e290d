"""The Keras guide "Transfer learning & fine-tuning", followed on a project's own splits.

https://keras.io/guides/transfer_learning: the frozen backbone stands in the
model, so it runs for every image in every epoch.  Decoded and resized images
are cached in memory and batches are augmented together, both to its favour.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.backbones.catalog import BackboneParams
from pipeline.backbones.load import Backbone, load_backbone
from pipeline.tables import SPLITS, distinct, read_manifest

BATCH = 32
RATES = {"head": 1e-3, "fine_tune": 1e-4}
SEED = 1


class Learned(NamedTuple):
    """Seconds of each epoch of each phase, validation included, and accuracy on the test."""

    epochs: dict[str, list[float]]
    accuracy: float


def start_stock(*, onednn: bool) -> None:
    """Import TensorFlow as its package sets itself up, not as this pipeline does.

    Args:
        onednn: Whether to let it use oneDNN, which by itself it does only on
            processors with AVX-512, and this pipeline on every one.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if onednn:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    else:
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
    import keras  # noqa: F401, PLC0415


def learn(
    project: Path, params: BackboneParams, layers: int, epochs: int, onednn: bool
) -> Learned:
    """Train the head, then the last `layers` layers too, so many epochs each."""
    start_stock(onednn=onednn)
    import keras  # noqa: PLC0415

    backbone = load_backbone(params)

    keras.utils.set_random_seed(SEED)
    train, val, test = datasets(project, backbone.size)
    model = classifier(backbone, classes=train.element_spec[1].shape[-1])
    seconds: dict[str, list[float]] = {}
    for phase, rate in RATES.items():
        if phase == "fine_tune":
            backbone.network.trainable = True
            for layer in backbone.network.layers[:-layers]:
                layer.trainable = False
        model.compile(
            keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"]
        )
        seconds[phase] = []
        stopwatch = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda *_, phase=phase: seconds[phase].append(-time.monotonic()),
            on_epoch_end=lambda *_, phase=phase: seconds[phase].append(
                seconds[phase].pop() + time.monotonic()
            ),
        )
        model.fit(
            train,
            validation_data=val,
            epochs=epochs,
            shuffle=False,  # the data set shuffles
            verbose=0,
            callbacks=[stopwatch],
        )
    return Learned(seconds, float(model.evaluate(test, verbose=0)[1]))


def datasets(project: Path, size: int) -> list[Any]:
    """Batches of train, val and test: pixels (n, size, size, 3) in [0, 255], one-hot labels."""
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    images = distinct(read_manifest(project / "data/splits.csv"))
    classes = sorted(images["label"].unique())
    augment = keras.Sequential(
        [keras.layers.RandomFlip("horizontal_and_vertical"), keras.layers.RandomRotation(5 / 360)]
    )

    def load(file: Any, label: Any) -> tuple[Any, Any]:
        content = tf.io.read_file(file)
        pixels = tf.io.decode_image(content, channels=3, expand_animations=False)
        return tf.image.resize(pixels, (size, size)), tf.one_hot(label, len(classes))

    def batches(split: str) -> Any:
        part = images[images["split"] == split]
        files = [str(project / "data/raw" / path) for path in part["path"]]
        labels = [classes.index(label) for label in part["label"]]
        data = tf.data.Dataset.from_tensor_slices((files, labels))
        data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE).cache()
        if split != "train":
            return data.batch(BATCH).prefetch(tf.data.AUTOTUNE)
        return (
            data.shuffle(len(part))
            .batch(BATCH)
            .map(lambda x, y: (augment(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(tf.data.AUTOTUNE)
        )

    return [batches(split) for split in SPLITS]


def classifier(backbone: Backbone, classes: int) -> Any:
    """The guide's model, frozen but for a head like the pipeline's."""
    import keras  # noqa: PLC0415

    pixels = keras.Input((backbone.size, backbone.size, 3))
    x = backbone.network(backbone.preprocess(pixels), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(1024, activation="relu")(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(pixels, keras.layers.Dense(classes, activation="softmax")(x))

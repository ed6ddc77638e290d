"""One step of training, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.training.epochs import Epochs, bare

if TYPE_CHECKING:
    import keras

Loss = str | Callable[[Any, Any], Any]
"""Of each image, from one-hot labels and probabilities: one of Keras by name, or a function."""

Step = Callable[[Any, Any, Any], Any]
"""Learns from a batch of inputs, one-hot labels and weights; see `compile_step`."""


def compile_step(model: keras.Model, updates: keras.optimizers.Optimizer, loss: Loss) -> Step:
    """Ready the training of `model` on one batch.

    It minimises the mean of each image's loss times its weight, plus the
    model's penalties.

    Returns:
        A function of a batch that returns (2,) float64: what it minimised times
        the number of images, and how many of them it hit.
    """
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    losses = keras.losses.get(loss)
    variables = model.trainable_variables
    updates.build(variables)
    # XLA makes one pass over each weight of the many that an optimizer makes
    apply = tf.function(updates.apply, jit_compile=True, autograph=False)

    def step(inputs: Any, labels: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            probabilities = model(inputs, training=True)
            each = losses(labels, probabilities) * weights
            objective = tf.reduce_mean(each) + tf.add_n([*model.losses, 0.0])
        apply(tape.gradient(objective, variables))
        hits = tf.argmax(labels, axis=1) == tf.argmax(probabilities, axis=1)
        sums = [objective * tf.cast(tf.size(each), objective.dtype), tf.math.count_nonzero(hits)]
        return tf.stack([tf.cast(value, tf.float64) for value in sums])

    compiled: Step = tf.function(step, reduce_retracing=True, autograph=False)
    return compiled


def train_one_epoch(
    step: Step, train: Epochs, epoch: int, done: Callable[[int], None]
) -> dict[str, float]:
    """Train on an epoch's images; return the mean loss and accuracy while learning.

    Args:
        done: Called after each batch with how many images it held.
    """
    sums = []
    for inputs, labels, weights in train.batches(epoch):
        sums.append(step(bare(inputs), labels, weights))
        done(len(labels))
    loss, accuracy = np.sum(sums, axis=0) / len(train.labels)
    return {"loss": float(loss), "accuracy": float(accuracy)}

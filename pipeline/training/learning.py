"""How weights are learnt: optimizer, schedule, epochs, and which epoch is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.console import progress, say
from pipeline.errors import ParamsError
from pipeline.params import Section
from pipeline.tensorflow_start import start_tensorflow
from pipeline.training.choosing import Choice, Judged
from pipeline.training.epochs import Epochs, Gather, Held, bare
from pipeline.training.step import Loss, compile_step, train_one_epoch

if TYPE_CHECKING:
    import keras

LOG_COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy")
LOG_DECIMALS = 6
PREDICT_BATCH = 64
WORSE = 1.1  # times the loss; less may be chance
MOST = 1_000_000  # epochs, images of a batch, learning rate or penalty: no one means more


class LearningParams(Section):
    """One phase of learning; the head and fine-tuning each have their own."""

    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"]
    learning_rate: Annotated[float, Field(gt=0, le=MOST)]  # at its highest
    schedule: Literal["constant", "cosine"]  # cosine: to 0 over all epochs
    warmup_epochs: Annotated[int, Field(ge=0, le=MOST)]  # rising evenly from 0
    epochs: Annotated[int, Field(ge=0, le=MOST)]  # at most
    patience: Annotated[int, Field(ge=1)]  # epochs in a row that are not kept, then stop
    batch_size: Annotated[int, Field(ge=1, le=MOST)]  # images
    # of the moving average of the weights that is judged and kept (Polyak); 0: no averaging
    ema_momentum: Annotated[float, Field(ge=0, lt=1)]


def make_deterministic(seed: int) -> None:
    """Start TensorFlow, which is told to use no racing operation, and seed all generators."""
    start_tensorflow()
    import keras  # noqa: PLC0415

    keras.utils.set_random_seed(seed)


def optimizer(params: LearningParams, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Build the optimizer with its learning-rate schedule."""
    import keras  # noqa: PLC0415

    warmup = params.warmup_epochs * steps_per_epoch
    steps = max(1, params.epochs * steps_per_epoch - warmup)
    rate: Any = params.learning_rate
    if params.schedule == "cosine" or warmup:
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else params.learning_rate,
            decay_steps=steps,
            alpha=0.0 if params.schedule == "cosine" else 1.0,
            warmup_target=params.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    averaging = {"use_ema": True, "ema_momentum": params.ema_momentum}
    config = {"learning_rate": rate, **(averaging if params.ema_momentum else {})}
    return keras.optimizers.get({"class_name": params.optimizer, "config": config})


def learn(
    model: keras.Model,
    params: LearningParams,
    loss: Loss,
    train: Epochs,
    val: Held,
    *,
    keep_start: bool,
    what: str,
) -> pd.DataFrame:
    """Train `model` and leave it with the weights of the epoch that is kept, as `Choice` says.

    Args:
        keep_start: Whether the weights that the model came with, epoch 0, are a
            candidate too.
        what: Named beside the progress bar.

    Raises:
        InputError: Learning diverged and there is nothing to keep.

    Returns:
        The log: epoch, `LOG_COLUMNS` and `kept` (1 for the epoch that is kept).
    """
    if params.warmup_epochs >= params.epochs > 0:
        say(
            f"{what}: {what}.learning_rate is never reached: "
            f"{params.warmup_epochs} epochs warm up, of {params.epochs}"
        )
    updates = optimizer(params, train.steps)
    step = compile_step(model, updates, loss)

    start = judge(model, loss, val)
    log = [{"epoch": 0, **scores_of(start)}]
    choice, kept = Choice(start if keep_start else None), model.get_weights()
    with progress(what, params.epochs * len(train.labels), "image") as bar:
        for epoch in range(1, params.epochs + 1):
            learnt = train_one_epoch(step, train, epoch, bar)
            with averaged(model, updates):
                judged = judge(model, loss, val)
                if choice.consider(epoch, judged):
                    kept = model.get_weights()
            log.append({"epoch": epoch, **learnt, **scores_of(judged)})
            bar(0, note=f"epoch {epoch} of {params.epochs}, val_loss {judged.loss:.4f}")
            if epoch - choice.kept >= params.patience:
                break
    lower = f"lower {what}.learning_rate or train_head.l2"
    if choice.kept == 0 and not keep_start:
        reason = f"{what}: the validation loss was not finite in any epoch"
        raise ParamsError(reason, lower)
    if log[choice.kept]["val_loss"] > WORSE * start.loss:
        before, after = f"{start.loss:.4f}", f"{log[choice.kept]['val_loss']:.4f}"
        say(f"{what}: learning made the validation loss worse, {before} -> {after}; {lower}")
    model.set_weights(kept)
    table = pd.DataFrame(log, columns=["epoch", *LOG_COLUMNS]).round(LOG_DECIMALS)
    return table.assign(kept=(table["epoch"] == choice.kept).astype(int))


@contextmanager
def averaged(model: keras.Model, updates: keras.optimizers.Optimizer) -> Iterator[None]:
    """Give the model its averaged weights for the duration, where its optimizer averages."""
    if not updates.use_ema:
        yield
        return
    latest = model.get_weights()
    updates.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        model.set_weights(latest)


def judge(model: keras.Model, loss: Loss, val: Held) -> Judged:
    """What the model says of each held-out image."""
    import keras  # noqa: PLC0415

    probabilities = predict_rows(model, val.inputs, val.rows)
    losses = np.asarray(keras.losses.get(loss)(val.labels, probabilities), np.float64)
    hits = probabilities.argmax(axis=1) == val.labels.argmax(axis=1)
    return Judged(losses, hits, val.weights, val.units)


def scores_of(judged: Judged) -> dict[str, float]:
    """What the log says of a validation."""
    return {"val_loss": judged.loss, "val_accuracy": judged.accuracy}


def predict_rows(
    model: keras.Model, inputs: Gather, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Predict some rows of views, a batch at a time.

    Returns:
        (row, class) float32 probabilities.
    """
    batches = [rows[start : start + PREDICT_BATCH] for start in range(0, len(rows), PREDICT_BATCH)]
    return np.concatenate([model.predict_on_batch(bare(inputs(batch))) for batch in batches])

"""Import TensorFlow once, on the terms of this pipeline."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import ParamsError

UNUSED = ("sklearn", "matplotlib")  # Keras imports them for wrappers and galleries: seconds


def start_tensorflow() -> None:
    """Import TensorFlow and Keras, quietly and without what nothing here needs."""
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # by itself only where AVX-512 is
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # of functions traced anew, say
    with _quiet(), _quick():
        import keras  # noqa: PLC0415
        import tensorflow as tf  # noqa: PLC0415
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)  # a GPU's float32 is float32
    keras.config.set_floatx("float32")  # whatever the user's keras.json says
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)


@contextmanager
def within_memory(what: str, fix: str) -> Iterator[None]:
    """Name what asks for more memory than there is.

    Args:
        what: Param or stage.

    Raises:
        InputError: TensorFlow finds none.
    """
    import tensorflow as tf  # noqa: PLC0415

    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise ParamsError(f"{what} needs more memory than there is", fix) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Point file descriptor 2 elsewhere: TensorFlow's C++ code logs before a setting can tell."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _quick() -> Iterator[None]:
    """Leave `UNUSED` out, and spare the garbage collector hundreds of thousands of objects.

    It would look at each while they are made and, unless they are frozen, again
    and again until the process ends, which alone takes more than a second.
    """
    collects, hidden = gc.isenabled(), [name for name in UNUSED if name not in sys.modules]
    gc.disable()
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]  # to import one is an error
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        if collects:
            gc.enable()

"""Import TensorFlow once, on the terms of this pipeline."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = "sklearn"  # Keras imports it for wrappers: a fifth of the start


def start_tensorflow() -> None:
    """Import TensorFlow and Keras, quietly and without what nothing here needs."""
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's keras.json says
    with _quiet(), _quick():
        import keras  # noqa: F401, PLC0415


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
    """Collect no garbage among so many new objects, and leave `UNUSED` out."""
    collects, hidden = gc.isenabled(), UNUSED not in sys.modules
    gc.disable()
    if hidden:
        sys.modules[UNUSED] = None  # type: ignore[assignment]  # to import it is an ImportError
    try:
        yield
    finally:
        if hidden:
            del sys.modules[UNUSED]
        if collects:
            gc.enable()

"""Import TensorFlow once, on the terms of this pipeline."""

from __future__ import annotations

import os
import sys


def start_tensorflow() -> None:
    """Import TensorFlow and Keras without the notes that they write to stderr.

    TensorFlow's C++ code logs to file descriptor 2 before any setting can tell
    it not to, so the descriptor points elsewhere during the import.
    """
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's keras.json says
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        import keras  # noqa: F401, PLC0415
    finally:
        os.dup2(kept, 2)
        os.close(kept)

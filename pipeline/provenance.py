"""Where a model file came from: what its own bytes cannot say.

A git revision inside the model would change the model's bytes whenever it is
committed, and so could never be committed with it.  It stands beside the model,
bound to it by a digest, in a file that DVC does not track.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.files import write_json

WRITTEN = (":(exclude)dvc.lock", ":(exclude)reports")  # by DVC and the stages before
PACKAGES = ("keras", "numpy", "openvino", "pillow", "scikit-learn")


def write_provenance(model: Path, file: Path) -> None:
    """Record which git revision and which software made `model`.

    `git_revision` is null outside a git repository; `git_clean` is false when
    tracked files differed from it, but for what a run itself writes.
    """
    revision = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "-uno", "--", ":/", *WRITTEN)
    write_json(
        file,
        {
            "model_digest": _sha256(model),
            "git_revision": revision,
            "git_clean": revision is not None and changes == "",
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES} | {"tensorflow": _tensorflow()},
        },
    )


def read_provenance(model: Path, file: Path) -> dict[str, Any] | None:
    """Read what was recorded, or None where it speaks of another model file."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    matches = isinstance(record, dict) and record.get("model_digest") == _sha256(model)
    return record if matches else None


def _tensorflow() -> str:
    """TensorFlow's version; its package has another name on other machines."""
    import tensorflow as tf  # noqa: PLC0415

    return str(tf.__version__)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *words], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

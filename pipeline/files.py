"""The files a stage reads and writes, and how a file comes to be whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

Reads = Annotated[Path, "reads"]
"""A stage's argument that it reads: a dependency in dvc.yaml."""

Writes = Annotated[Path, "writes"]
"""A stage's argument that it makes: an out, metric or plot in dvc.yaml."""

Beside = Annotated[Path, "writes beside its outs"]
"""A stage's argument that it makes and that DVC must not track."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write a file or folder under; it takes `path`'s place at the end.

    A failure leaves `path` as it was.  What a killed run left behind (its name
    begins with `partial.`) is removed by the next one.
    """
    partial = path.with_name(f"partial.{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)
    try:
        yield partial
        if partial.is_dir():
            _remove(path)
        partial.replace(path)
    finally:
        _remove(partial)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for the duration; one that a killed run left behind is emptied."""
    _remove(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(file: Path, document: dict[str, Any]) -> None:
    """Write a document with sorted keys, so equal content gives equal bytes."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with replacing(file) as partial:
        partial.write_text(text + "\n", encoding="utf-8", newline="\n")

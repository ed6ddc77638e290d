"""The files a stage reads and writes, and how a file comes to be whole or not at all."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pipeline.errors import InputError

Reads = Annotated[Path, "reads"]
"""A stage's argument that it reads: a dependency in dvc.yaml."""

Writes = Annotated[Path, "writes"]
"""A stage's argument that it makes: an out, metric or plot in dvc.yaml."""

Beside = Annotated[Path, "writes beside its outs"]
"""A stage's argument that it makes and that DVC must not track."""


A_FOLDER = "is a folder, no file to write", "name a file in it"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # a disk, or what a user may have of it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write a file or folder under; it takes `path`'s place at the end.

    A failure leaves `path` as it was.  Two runs at once do not meet: the last
    to end wins.  What a killed run left behind is removed by the next one.

    Raises:
        InputError: `path` is a device or the like, or a folder that a file would replace.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(path, "is no file or folder to write", "name another")
    if not path.name:  # as "." or "/"
        raise InputError(path, *A_FOLDER)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with named_when_full(path):
            yield partial
            if path.is_dir() and not partial.is_dir():
                raise InputError(path, *A_FOLDER)
            if partial.is_dir() and path.exists():  # no system call replaces a folder with files
                _exchange(partial, path)
            else:
                partial.replace(path)
    finally:
        _remove(partial)


def _exchange(partial: Path, path: Path) -> None:
    """Let a folder take the place of another, of which a failure loses nothing."""
    aside = path.with_name(f"partial.{os.getpid()}.old.{path.name}")
    path.rename(aside)
    try:
        partial.replace(path)
    except BaseException:
        aside.rename(path)
        raise
    _remove(aside)


@contextmanager
def named_when_full(file: Path) -> Iterator[None]:
    """Name `file` where the disk, or what one may have of it, is full: the system names none."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(file)
        raise


def require_room(file: Path, size: int) -> None:
    """Refuse to begin what would be lost at its end, for want of room for `file`.

    Args:
        size: Of the file, in bytes.

    Raises:
        OSError: The disk has less; it names the file.
    """
    folder = next(path for path in file.absolute().parents if path.is_dir())
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for the duration, beside `folder`; see `replacing`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(folder)
    partial.mkdir()
    try:
        yield partial
    finally:
        _remove(partial)


def _partial(path: Path) -> Path:
    """A name of this process's own beside `path`; those of dead processes are removed."""
    for left in path.parent.glob(f"partial.*.{glob.escape(path.name)}"):
        owner = left.name.split(".")[1]
        if owner == str(os.getpid()) or not (owner.isdecimal() and _is_alive(int(owner))):
            _remove(left)
    return path.with_name(f"partial.{os.getpid()}.{path.name}")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


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

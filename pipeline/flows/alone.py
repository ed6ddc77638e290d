"""One at a time: what must not work twice in one project."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.programs import leash

WAIT_S = leash.GRACE_S + 5  # a killed one's stage may still be ending
FOLDER = Path(".dvc/tmp")  # git ignores it


@contextmanager
def alone(what: Literal["flow", "orchestrate", "serve-flows"]) -> Iterator[None]:
    """Let nothing else of that name work in this project.

    The kernel frees it of a killed one, once all that that one had on a leash has ended.

    Raises:
        InputError: Another one does, or this is no project of DVC's.
    """
    if not FOLDER.parent.is_dir():
        reason = f"is no project's top folder: it has no {FOLDER.parent}"
        raise InputError(Path.cwd(), reason, "run it in the project's folder")
    try:
        FOLDER.mkdir(exist_ok=True)
        stream = (FOLDER / f"{what}.lock").open("w")
    except OSError as error:
        reason = f"cannot hold a lock: {error.strerror}"
        raise InputError(FOLDER, reason, "see that you may write there") from error
    with stream:
        _lock(stream, what)
        leash.kept_open.add(stream.fileno())
        try:
            yield
        finally:
            leash.kept_open.discard(stream.fileno())


def _lock(stream: IO[str], what: str) -> None:
    last, told = time.monotonic() + WAIT_S, False
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= last:
                fix = "wait for it, or give each a clone of its own"
                raise InputError(Path.cwd(), f"another {what} runs here", fix) from error
            if not told:
                say(f"{what}: another one runs or ends here; waiting {WAIT_S:.0f} s at most")
            told = True
            time.sleep(0.1)
        else:
            return

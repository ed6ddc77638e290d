"""One at a time: what must not work twice in one clone."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError
from pipeline.flows.git import git


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Let nothing else of that name work in this clone; the kernel frees it of a killed one.

    Raises:
        InputError: It does.
    """
    path = Path(git("rev-parse", "--git-path", f"{what}.lock"))  # never in a clean tree's way
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            fix = "wait for it, or give each a clone of its own"
            raise InputError(Path.cwd(), f"another {what} runs here", fix) from error
        yield

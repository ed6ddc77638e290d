"""An image's place, and its bytes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import RejectedImage


class Place(NamedTuple):
    """Where an image's bytes lie.

    Of a file of its own only `file` counts.  Of a member, `file` is the archive
    or Parquet file that holds it; `position` and `size` are what that kind of
    container needs to find it again at once, without reading what lies before.
    """

    file: Path
    member: str = ""
    position: int = -1
    size: int = 0

    def __str__(self) -> str:
        """For errors."""
        return f"{self.file}: {self.member}" if self.member else str(self.file)


def check_file(file: Path) -> None:
    """Refuse what is no file with content; a pipe would be waited for.

    Raises:
        RejectedImage: See there.
    """
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        raise RejectedImage("missing", in_words(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise RejectedImage("not_a_file", "is a folder, a pipe or a device")
    if status.st_size == 0:
        raise RejectedImage("empty_file", "has 0 bytes")


def read_span(file: Path, start: int, size: int) -> bytes:
    """Some bytes of a file.

    Raises:
        RejectedImage: The file cannot be read or ends before.
    """
    try:
        with file.open("rb", buffering=0) as stream:
            stream.seek(start)
            content = stream.read(size)
    except PermissionError as error:
        raise RejectedImage("no_permission", in_words(error)) from error
    except (OSError, ValueError, OverflowError) as error:
        raise RejectedImage("missing", in_words(error)) from error
    if len(content) != size:
        raise RejectedImage("damaged", f"{file.name} ends within it")
    return content


def in_words(error: BaseException) -> str:
    """One line of what an error says."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or repr(error)

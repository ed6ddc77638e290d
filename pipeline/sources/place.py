"""An image's place, and its bytes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import InputError, RejectedImage, in_words

READ_FAULTS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ELOOP: "missing",
    errno.ENAMETOOLONG: "missing",
    errno.EISDIR: "not_a_file",
    errno.ENXIO: "not_a_file",  # a socket
    errno.EACCES: "no_permission",
    errno.EPERM: "no_permission",
}


class Place(NamedTuple):
    """Where an image's bytes lie.

    Of a file of its own only `file` counts.  Of a member, `file` is the archive
    or Parquet file that holds it; `position` and `size` are what that kind of
    container needs to find it again.
    """

    file: Path
    member: str = ""
    position: int = -1
    size: int = 0

    def __str__(self) -> str:
        """For errors."""
        return f"{self.file}: {self.member}" if self.member else str(self.file)

    def __reduce__(self) -> tuple[Any, ...]:
        """For other processes: a path takes several times as long to send as its text."""
        return _place, (str(self.file), *self[1:])


def _place(file: str, *rest: Any) -> Place:
    return Place(Path(file), *rest)


def parts_of(member: str) -> tuple[str, ...]:
    """A member's folders and name; archives may write what means nothing, as in ./a//b."""
    return tuple(part for part in member.split("/") if part not in {"", "."})


def in_order(places: Sequence[Place]) -> list[int]:
    """The numbers of places in the order in which every container is read forwards."""
    return sorted(range(len(places)), key=lambda n: (str(places[n].file), places[n].position))


def read_file(file: Path, limit: int | None) -> bytes:
    """Read a file in full, so that nothing can change under the decoders.

    They map files into memory, where one that is cut short while it is read
    ends the process.

    Raises:
        RejectedImage: It is absent, no file, cannot be read or has more than `limit` bytes.
    """
    try:
        opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # waits for no pipe
        try:
            return _read(opened, limit)
        finally:
            os.close(opened)
    except (OSError, MemoryError) as error:
        raise rejection_of(error) from error
    except ValueError as error:  # a name with a zero byte
        raise RejectedImage("missing", in_words(error)) from error


def _read(opened: int, limit: int | None) -> bytes:
    before = os.fstat(opened)
    if not stat.S_ISREG(before.st_mode):
        raise RejectedImage("not_a_file", "is a folder, a pipe or a device")
    check_size(before.st_size, limit)
    content = os.read(opened, before.st_size)
    while len(content) < before.st_size and (more := os.read(opened, before.st_size)):
        content += more
    after = os.fstat(opened)
    written = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if written or len(content) != before.st_size:
        raise RejectedImage("changes", "was written to while it was read")
    return content


def rejection_of(error: BaseException) -> RejectedImage:
    """Why bytes could not be read: for want of memory, by the system's word, or for damage."""
    if isinstance(error, MemoryError):
        return RejectedImage("too_large", "does not fit into memory")
    if isinstance(error, OSError) and error.errno:
        return RejectedImage(READ_FAULTS.get(error.errno, "unreadable"), in_words(error))
    return RejectedImage("damaged", in_words(error))


def fix_of(error: BaseException, usual: str) -> str:
    """What to do about a file that cannot be read: the usual, unless the system forbids it."""
    forbidden = isinstance(error.__cause__ or error, PermissionError)
    return "allow reading it" if forbidden else usual


def lost(place: Place, rejection: RejectedImage) -> InputError:
    """The error for an image that `ingest` has read and that cannot be read any more."""
    fix = fix_of(rejection, "put the image back, or `dvc repro ingest`")
    return InputError(str(place), str(rejection), fix)


def check_size(size: int, limit: int | None) -> None:
    """Refuse more bytes than `limit`.

    Raises:
        RejectedImage: See there.
    """
    if limit is not None and size > limit:
        raise RejectedImage("too_many_bytes", f"{size:,} bytes, more than {limit:,}")


def read_span(file: Path, start: int, size: int) -> bytes:
    """Some bytes of a file.

    Raises:
        RejectedImage: The file cannot be read or ends before.
    """
    try:
        with file.open("rb", buffering=0) as stream:
            stream.seek(start)
            content = stream.read(size)
    except (OSError, MemoryError, ValueError, OverflowError) as error:
        raise rejection_of(error) from error
    if len(content) != size:
        raise RejectedImage("damaged", f"{file.name} ends within it")
    return content

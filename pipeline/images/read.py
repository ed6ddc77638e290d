"""Read an image file whole, or say why it cannot be read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from pipeline.images.rejection import DEFAULT_LIMITS, Limits, RejectedImage, in_words

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


def read_file(file: Path, limits: Limits | None = DEFAULT_LIMITS) -> bytes:
    """Read a file in full, so that nothing can change under the decoders.

    They map files into memory, where one that is cut short while it is read
    ends the process.

    Raises:
        RejectedImage: The file is absent, no file, empty, too large, forbidden
            or written to meanwhile.
    """
    try:
        opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # waits for no pipe
        try:
            return _read(opened, limits)
        finally:
            os.close(opened)
    except OSError as error:
        reason = READ_FAULTS.get(error.errno or 0, "unreadable")
        raise RejectedImage(reason, in_words(error)) from error
    except MemoryError as error:
        raise RejectedImage("too_large", "does not fit into memory") from error
    except ValueError as error:  # a name with a zero byte
        raise RejectedImage("missing", in_words(error)) from error


def check_size(size: int, limits: Limits | None) -> None:
    """Refuse what has no bytes or too many.

    Raises:
        RejectedImage: It does.
    """
    if not size:
        raise RejectedImage("empty_file", "has 0 bytes")
    if limits and size > limits.file_bytes:
        raise RejectedImage("too_many_bytes", f"{size:,} bytes, more than {limits.file_bytes:,}")


def _read(opened: int, limits: Limits | None) -> bytes:
    before = os.fstat(opened)
    if not stat.S_ISREG(before.st_mode):
        raise RejectedImage("not_a_file", "is a folder, a pipe or a device")
    check_size(before.st_size, limits)
    content = os.read(opened, before.st_size)
    while len(content) < before.st_size and (more := os.read(opened, before.st_size)):
        content += more
    after = os.fstat(opened)
    written = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if written or len(content) != before.st_size:
        raise RejectedImage("changes", "was written to while it was read")
    return content

"""Arrays on disk that may be larger than memory, written and read by rows."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.files import named_when_full

MAPPED = 256 * 2**20  # bytes of a file that may count as this process's memory
AROUND = 64 * 2**10  # bytes that the system maps around each row it reads
NO_SUCH_CALL = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # on some network file systems


@contextmanager
def writing_rows(
    file: Path, shape: tuple[int, ...], dtype: DTypeLike
) -> Iterator[Callable[[int, NDArray[np.generic]], None]]:
    """Make a .npy file of zeros and give what sets its rows, in any order.

    Its room on the disk is taken at once, where the file system can.  Rows are written
    through the file and not a memory map: written pages are then not this process's memory.

    Yields:
        A function of a row's number and its values, which are cast to `dtype`.

    Raises:
        OSError: The disk is full; it names the file.
    """
    whole = np.lib.format.open_memmap(file, "w+", dtype, shape)
    first, kind = whole.offset, whole.dtype
    stride = kind.itemsize * int(np.prod(shape[1:]))
    del whole
    descriptor = os.open(file, os.O_RDWR)  # glibc emulates a missing fallocate by reading

    def write(row: int, values: NDArray[np.generic]) -> None:
        content = memoryview(np.ascontiguousarray(values, kind).tobytes())
        if len(content) != stride:
            raise ValueError(f"{len(content)} bytes for a row of {stride}")
        place = first + row * stride
        while content:
            written = os.pwrite(descriptor, content, place)
            content, place = content[written:], place + written

    try:
        with named_when_full(file):
            _take_room(descriptor, first, stride * shape[0])
            yield write
    finally:
        os.close(descriptor)


def _take_room(descriptor: int, first: int, size: int) -> None:
    if not (hasattr(os, "posix_fallocate") and size):
        return
    try:
        os.posix_fallocate(descriptor, first, size)
    except OSError as error:
        if error.errno not in NO_SUCH_CALL:
            raise


class Rows:
    """A .npy file whose rows are read when asked for; memory stays that of what was asked.

    Raises:
        OSError, ValueError, EOFError: The file cannot be read or is no whole array.
    """

    def __init__(self, file: Path) -> None:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap):
            raise ValueError(f"{file.name} holds no array")  # noqa: TRY004
        self._array, self._mapped = array, 0
        self.shape: tuple[int, ...] = array.shape
        self.real = np.issubdtype(array.dtype, np.floating)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """(row, ...) float32."""
        taken = np.asarray(self._array[rows], np.float32)
        self._mapped += taken.nbytes + AROUND * len(rows)
        if self._mapped > MAPPED and isinstance(self._array.base, mmap.mmap):
            self._array.base.madvise(mmap.MADV_DONTNEED)
            self._mapped = 0
        return taken

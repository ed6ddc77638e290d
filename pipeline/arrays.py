"""Arrays on disk that may be larger than memory, written and read by rows."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import DTypeLike, NDArray

MAPPED = 256 * 2**20  # bytes of a file that may count as this process's memory
AROUND = 64 * 2**10  # bytes that the system maps around each row it reads


class RowsWriter:
    """A new .npy file of zeros whose rows are set in any order.

    Written through the file and not a memory map: a full disk is then an error
    that can be named, and written pages are not this process's memory.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        whole = np.lib.format.open_memmap(file, "w+", dtype, shape)
        self._first, self._dtype = whole.offset, whole.dtype
        self._stride = whole.dtype.itemsize * int(np.prod(shape[1:]))
        del whole
        self._file = os.open(file, os.O_WRONLY)

    def write(self, row: int, values: NDArray[np.generic]) -> None:
        """Set a row; `values` are cast to the array's dtype."""
        content = memoryview(np.ascontiguousarray(values, self._dtype).tobytes())
        if len(content) != self._stride:
            raise ValueError(f"{len(content)} bytes for a row of {self._stride}")
        place = self._first + row * self._stride
        while content:
            written = os.pwrite(self._file, content, place)
            content, place = content[written:], place + written

    def __enter__(self) -> RowsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)


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

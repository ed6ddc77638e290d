"""Arrays on disk hold what was written, in whatever order, and name a disk that is full."""

from __future__ import annotations

import errno
import mmap
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import arrays
from pipeline.arrays import Rows, writing_rows


def test_rows_are_those_written_in_any_order(tmp_path):
    values = np.random.default_rng(0).random((50, 3, 4), np.float32)
    with writing_rows(tmp_path / "a.npy", values.shape, "<f4") as write:
        for row in np.random.default_rng(1).permutation(len(values)):
            write(row, values[row])

    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    order = np.random.default_rng(2).integers(0, len(values), 200)
    np.testing.assert_array_equal(Rows(tmp_path / "a.npy")[order], values[order])


def test_rows_stay_right_when_their_memory_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAPPED", 1000)
    values = np.random.default_rng(0).random((50, 100))
    with writing_rows(tmp_path / "a.npy", values.shape, "<f2") as write:
        for row, given in enumerate(values):
            write(row, given)
    rows = Rows(tmp_path / "a.npy")
    assert isinstance(rows._array.base, mmap.mmap)

    for _ in range(3):
        taken = rows[list(range(50))]
        np.testing.assert_array_equal(taken, values.astype("<f2").astype(np.float32))


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is mapped")
def test_memory_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAPPED", 2**20)
    shape = (1024, 4096)  # 16 MB
    with writing_rows(tmp_path / "a.npy", shape, "<f4") as write:
        for row in range(shape[0]):
            write(row, np.full(shape[1], row))
    rows = Rows(tmp_path / "a.npy")

    for first in range(0, shape[0], 8):
        assert (rows[list(range(first, first + 8))][:, 0] == np.arange(first, first + 8)).all()

    _, _, mapped = Path("/proc/self/smaps").read_text().partition(f"{tmp_path / 'a.npy'}\n")
    resident = re.search(r"^Rss: +(\d+) kB$", mapped, re.MULTILINE)
    assert resident
    assert int(resident[1]) < 6_000


def test_a_row_of_another_size_is_refused(tmp_path):
    with (
        writing_rows(tmp_path / "a.npy", (2, 3), "<f4") as write,
        pytest.raises(ValueError, match="16 bytes for a row of 12"),
    ):
        write(0, np.zeros(4))


def test_a_full_disk_is_named_before_anything_is_computed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)

    with (
        pytest.raises(OSError, match=r"No space left on device: .*a\.npy"),
        writing_rows(tmp_path / "a.npy", (2, 3), "<f4"),
    ):
        pytest.fail("was given room that is not there")


def test_a_file_system_that_takes_no_room_in_advance_will_do(tmp_path, monkeypatch):
    def absent(descriptor: int, *_: int) -> None:
        os.read(descriptor, 1)  # as glibc does in its place
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("os.posix_fallocate", absent)

    with writing_rows(tmp_path / "a.npy", (1, 3), "<f4") as write:
        write(0, np.ones(3))

    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), [[1, 1, 1]])

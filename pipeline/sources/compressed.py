"""Members of a compressed tar archive, read forwards.

Nothing in such a file can be found without unpacking all that lies before it.
Every thread has a stream of its own, which goes on from where it was: whoever
asks in order of position reads the archive once.  Going back starts anew.
"""

from __future__ import annotations

import gzip
import tarfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, RejectedImage, in_words
from pipeline.sources.place import Place, fix_of, rejection_of
from pipeline.sources.tars import FIX, SKIP, UNREADABLE, Header, found_in

GZIPPED = (".tar.gz", ".tgz")
ENDINGS = (*GZIPPED, ".tar.zst", ".tzst")
ENOUGH = 3  # times


class _Stream:
    """An archive as one thread reads it, unpacked; `at` is how far it has come."""

    def __init__(self, file: Path) -> None:
        self.file, self.changed, self.at = file, file.stat().st_mtime_ns, 0
        self._unpacked = _unpacked(file)

    def read(self, start: int, size: int) -> bytes:
        """Bytes from `start`, which must not lie behind; fewer where the archive ends."""
        while self.at < start:
            skipped = len(self._unpacked.read(min(start - self.at, SKIP)))
            self.at += skipped
            if not skipped:
                break
        content: bytes = self._unpacked.read(size)
        self.at += len(content)
        return content

    def close(self) -> None:
        """Let the file go."""
        self._unpacked.close()


class _Ending:
    """What is unpacked; tarfile would read on behind its end, as far as a member claims to go."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.ended = stream, 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, and none at the end, which is said a few times only."""
        content: bytes = self.stream.read(size)
        self.ended = 0 if content else self.ended + 1
        if self.ended > ENOUGH:
            raise EOFError("unexpected end of data")
        return content


def _ending(stream: Any) -> Any:  # to tarfile's types it would lack a `write`
    return _Ending(stream)


_own = threading.local()


def is_compressed(file: Path) -> bool:
    """Whether a file is such an archive, by its name."""
    return file.name.lower().endswith(ENDINGS)


def members(file: Path) -> Iterator[tuple[Place, str]]:
    """Every member but folders, with what is wrong with it: a reason code, or "".

    Raises:
        InputError: The archive cannot be read.
    """
    try:
        with (
            closing(_unpacked(file)) as stream,
            tarfile.open(fileobj=_ending(stream), mode="r|", tarinfo=Header) as archive,
        ):
            yield from found_in(archive, file)
    except (*UNREADABLE, zlib.error) as error:
        reason = f"cannot be read as tar: {in_words(error)}"
        raise InputError(file, reason, fix_of(error, FIX)) from error


def read(place: Place) -> bytes:
    """The bytes of a member.

    Raises:
        RejectedImage: They are not there.
    """
    try:
        content = _stream(place).read(place.position, place.size)
    except (OSError, ValueError, EOFError, zlib.error, MemoryError) as error:
        _own.stream = None
        raise rejection_of(error) from error
    if len(content) != place.size:
        raise RejectedImage("damaged", f"{place.file.name} ends within it")
    return content


def _stream(place: Place) -> _Stream:
    """This thread's stream of the archive, from its start where it is beyond the place."""
    known: _Stream | None = getattr(_own, "stream", None)
    if known:
        same = (known.file, known.changed) == (place.file, place.file.stat().st_mtime_ns)
        if same and known.at <= place.position:
            return known
        known.close()
    _own.stream = stream = _Stream(place.file)
    return stream


def _unpacked(file: Path) -> Any:
    if file.name.lower().endswith(GZIPPED):
        return gzip.open(file)  # which, unlike Arrow, allows for zeros behind it, as of tapes
    import pyarrow as pa  # noqa: PLC0415

    return pa.CompressedInputStream(pa.OSFile(str(file)), "zstd")

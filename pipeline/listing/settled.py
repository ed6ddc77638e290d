"""Whether data changed while it was read: DVC looks at it when `ingest` has ended."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.sources.found import leads_outside, visible_files
from pipeline.sources.table import READERS as TABLES

Marks = dict[str, int]
"""By the path of each file in the raw folder a number that is another when the file is."""


def marks(raw: Path, sources: Sequence[str]) -> Marks:
    """What the system says of every file that the sources may lead to.

    Raises:
        InputError: A folder cannot be read.
    """
    return {
        file.relative_to(raw).as_posix(): _mark(file)
        for source in sources
        if not leads_outside(raw, source)
        for file in _files_of(raw / os.path.normpath(source))
    }


def changed(before: Mapping[str, int], after: Mapping[str, int], named: Collection[str]) -> str:
    """The first path that is another, new or gone; or "".

    Args:
        named: Paths of what could not be used: that it has gone since is known.
    """
    apart = (path for path in {**before, **after} if before.get(path) != after.get(path))
    return min((path for path in apart if path in after or path not in named), default="")


def _files_of(source: Path) -> Iterator[Path]:
    beside = source.is_file() and source.suffix.lower() in {*TABLES, ".json"}
    folder = source.parent if beside else source
    if folder.is_dir():
        yield from visible_files(folder)
    elif folder.is_file():
        yield folder


def _mark(file: Path) -> int:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return 0
    return hash((found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))

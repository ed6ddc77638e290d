"""Whether data changed while it was read: DVC looks at it when `ingest` has ended."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_ISDIR

from pipeline.listing.sources import looked_through
from pipeline.sources.found import leads_outside, visible_files

Marks = dict[str, int]
"""By the path of each file in the raw folder a number that is another when the file is."""


def marks(raw: Path, sources: Sequence[str]) -> Marks:
    """What the system says of every file below the sources; hidden ones are left out.

    Raises:
        InputError: A folder or a Parquet file cannot be read.
    """
    return {
        file.relative_to(raw).as_posix(): _mark(file)
        for source in sources
        if os.access(raw / source, os.F_OK) and not leads_outside(raw, source)
        for file in _files_of(looked_through(raw / os.path.normpath(source)))
    }


def changed(before: Mapping[str, int], after: Mapping[str, int], named: Collection[str]) -> str:
    """The first path that is another, new or gone; or "".

    Args:
        named: Paths of what could not be used: that it has gone since is known.
    """
    apart = {path for path, _ in before.items() ^ after.items()}
    return min((path for path in apart if path in after or path not in named), default="")


def _files_of(source: Path) -> Iterator[Path]:
    return visible_files(source) if source.is_dir() else iter([source])


def _mark(file: Path) -> int:
    """Not of its links and other properties, which change what no decoder reads."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return 0
    return 0 if S_ISDIR(found.st_mode) else hash((found.st_size, found.st_mtime_ns))

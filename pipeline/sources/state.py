"""What the system says of a file, by which git, too, takes it as unchanged.

Size, inode, and the times of its last writing and last change of any sort,
which nobody can set back.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

SETTLED_NS = 2_000_000_000  # a file changed later than this before now may change again unseen


def file_state(file: Path) -> str:
    """Text that changes when the file does, and "" of one that changed just now."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return ""
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < SETTLED_NS:
        return ""
    parts = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return json.dumps(parts)


def archive_state(file: Path) -> str:
    """`file_state` with what the name says of the archive's kind: one file may have two names."""
    state = file_state(file)
    return state and state + file.suffix.lower()

"""How many processors there are for decoding."""

from __future__ import annotations

import os


def cores() -> int:
    """How many this process may run on: fewer than the machine's where a scheduler says so."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

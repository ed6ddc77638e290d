"""Locks that a killed git leaves in a clone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.flows import clone
from pipeline.flows.remote import TAG
from pipeline.programs.git import KilledError, git


@contextmanager
def unlocked() -> Iterator[None]:
    """Where a git of this block's is killed, the next one finds no lock of its."""
    try:
        yield
    except KilledError:
        remove_stale()
        raise


def remove_stale() -> None:
    """Remove what a killed git left; only for who knows that no other git is at work."""
    folder = Path(git("rev-parse", "--absolute-git-dir"))
    names = ["index.lock", "HEAD.lock", "packed-refs.lock", "config.lock"]
    shared = Path(git("rev-parse", "--git-common-dir"))  # with other worktrees
    ours = [shared / f"refs/heads/{clone.branch()}.lock", *shared.glob(f"refs/tags/{TAG}*.lock")]
    own = [*folder.glob("next-index-*.lock"), *(folder / "refs").rglob("*.lock")]
    for lock in [*(folder / name for name in names), *own, *ours]:
        lock.unlink(missing_ok=True)

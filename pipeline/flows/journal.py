"""What `retrain` is at, on disk, so that the next run can mend what a killed one left."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError
from pipeline.files import replacing
from pipeline.programs.git import git

Step = Literal["sync", "update", "train", "commit"]


@dataclass(frozen=True)
class Entry:
    """A run under way.

    Args:
        step: sync: catching up with the remotes.  update: an import's data may
            be there in part.  train: files of the tree may be new, and data may
            be on its way to the DVC remote.  commit: all data is there, and there
            may be a commit, a tag, both pushed.
        head: The commit that was checked out before the step.
        tag: Of the model that is being promoted.
        data: The .dvc files whose data is not yet in the workspace.
    """

    step: Step
    head: str
    tag: str = ""
    data: list[str] = field(default_factory=list)


def file() -> Path:
    """In git's own folder, so that it is never in the way of a clean tree."""
    return Path(git("rev-parse", "--git-path", "retrain.json"))


def read() -> Entry | None:
    """What a run that did not end was at."""
    try:
        return Entry(**json.loads(file().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        fix = "delete it, and see that `git status` is clean"
        raise InputError(file(), f"is no journal of retrain: {error}", fix) from error


def write(entry: Entry) -> None:
    """Note a step before it begins."""
    with replacing(file()) as partial, partial.open("w", encoding="utf-8") as stream:
        json.dump(asdict(entry), stream)
        stream.flush()
        os.fsync(stream.fileno())
    folder = os.open(file().parent, os.O_RDONLY)  # which holds the name
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def clear() -> None:
    """The run has ended and left nothing to mend."""
    file().unlink(missing_ok=True)

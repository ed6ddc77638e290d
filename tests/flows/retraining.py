"""What tests of `retrain` do and check again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.flows import journal, retrain
from tests.toy import Toy

UP_TO_DATE = "Data and pipelines are up to date."


def once(toy: Toy) -> Any:
    """Run the flow, which ends in a clean clone; return its state."""
    state = retrain.retrain(return_state=True)
    assert toy.status() == "", state.message
    assert journal.read() is None
    return state


def check_published(toy: Toy, folder: Path) -> Toy:
    """A second clone of what was pushed has all data, and nothing to do."""
    second = Toy(folder)
    toy.run("git", "clone", "--quiet", str(toy.bare), str(second.folder), folder=toy.folder.parent)
    second.dvc("pull")
    assert UP_TO_DATE in second.dvc("repro")
    assert second.git("rev-parse", "HEAD") == toy.git("rev-parse", "HEAD")
    return second

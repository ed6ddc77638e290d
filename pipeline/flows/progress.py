"""How far a run has come, as a bar among its artifacts."""

from __future__ import annotations

import re
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pipeline.flows.artifacts import shown

PART = re.compile(r": (\d+) of (\d+) ")  # of a line by which a stage says how far it is


class Progress:
    """The bar of one run: stages that are up to date, and of the one that runs its part."""

    def __init__(self, stages: int) -> None:
        self._stages, self._done = stages, 0
        self._bar: Any = None  # its UUID, where the server took it

    def begin(self) -> None:
        """There is something to do; without, there is no bar, which takes time."""
        if not self._bar:
            with shown():
                words = "Of the stages"
                self._bar = create_progress_artifact(0.0, key="progress", description=words)

    def hear(self, line: str) -> None:
        """Take in what the stage says that runs."""
        found = PART.search(line)
        if found and 0 < int(found[1]) <= int(found[2]):
            self._show(self._done + int(found[1]) / int(found[2]))

    def reach(self, stages: int) -> None:
        """So many are up to date."""
        self._done = stages
        self._show(stages)

    def _show(self, stages: float) -> None:
        if self._bar:
            with shown():
                update_progress_artifact(self._bar, progress=100 * stages / self._stages)

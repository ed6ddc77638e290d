"""A stage that is killed and run again, and must leave what an undisturbed run leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from typing import NamedTuple

from benchmarks.project import Done, Project, require

OUTS = {
    "extract": ("data/features/features.npy", "data/features/index.csv"),
    "fine_tune": ("data/cached_predictions.csv", "models/model.keras", "reports/metrics.json"),
}


class Kill(NamedTuple):
    """When a run was killed, views that it had computed, and backbone work done twice."""

    moment_s: float
    computed: int
    lost_s: float


class Victim:
    """A stage that has run undisturbed once, to be killed and run again."""

    def __init__(self, project: Project, stage: str) -> None:
        self.project, self.stage = project, stage
        self.counter, self.store = (project.folder.with_name(n) for n in ("counter", "killed"))
        self.forget()
        done = self.finish()
        found = done.views(stage)
        self.seconds, self.views, self.speed = done.seconds, found.computed, found.speed
        self.ran = found.computed - found.alike
        require(self.computed() == self.ran > 0, f"{stage}: all views are counted", done.said)
        self.digests = self.outs()

    def kill(self, moment: float, *, within: bool = False) -> Kill | None:
        """Kill a run and run it again to its end; None where it ended before the moment.

        Args:
            moment: Seconds of the run, or, `within`, of its backbone work.

        Raises:
            SystemExit: What the second run left is not what the undisturbed one did.
        """
        self.forget()
        with subprocess.Popen(
            [sys.executable, *self.words()],
            cwd=self.project.folder,
            env={**self.project.environment, "PIPELINE_STORE": str(self.store)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            started = time.monotonic()
            try:
                while within and not self.computed() and process.poll() is None:
                    time.sleep(0.01)
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        killed = time.monotonic() - started
        words = f"{self.stage} killed after {killed:.1f} s"
        if process.returncode != -signal.SIGKILL:
            require(process.returncode == 0, f"{words}: it ends well before")
            return None
        computed = self.computed()
        done = self.finish()
        found = done.views(self.stage)
        require(found.stored + found.computed == self.views, f"{words}: no view less", done.said)
        require(self.outs() == self.digests, f"{words}, run again: the same bytes", done.said)
        left = sorted(self.project.folder.rglob("partial.*"))
        require(not left, f"{words}, run again: nothing is left over", f"{left}")
        return Kill(killed, computed, (self.computed() - self.ran) / self.speed)

    def forget(self) -> None:
        """Remove the outs, the store and the count."""
        shutil.rmtree(self.store, ignore_errors=True)
        for file in (self.counter, *(self.project.folder / out for out in OUTS[self.stage])):
            file.unlink(missing_ok=True)

    def words(self) -> list[str]:
        """What runs the stage and counts."""
        return ["-m", "benchmarks.counted", str(self.counter), self.stage]

    def finish(self) -> Done:
        """Run the stage to its end; where a model comes of it, evaluate that too."""
        done = self.project.run("python", *self.words(), PIPELINE_STORE=str(self.store))
        if self.stage == "fine_tune":
            self.project.stage("evaluate")
        return done

    def computed(self) -> int:
        """Views that were computed since `forget`."""
        return self.counter.stat().st_size if self.counter.exists() else 0

    def outs(self) -> list[str]:
        """SHA-256 of each."""
        files = (self.project.folder / out for out in OUTS[self.stage])
        return [sha256(file.read_bytes()).hexdigest() for file in files]

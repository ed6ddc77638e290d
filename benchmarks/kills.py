"""Kill stages at random moments and run them again: the same bytes, and little work lost.

A moment is drawn evenly over what an undisturbed run takes.  Half of the kills
hit extract, half fine_tune, each of them with an empty store at first.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from benchmarks import report
from benchmarks.project import Done, Project, require, throwaway
from pipeline.console import say

OUTS = {
    "extract": ("data/features/features.npy", "data/features/index.csv"),
    "fine_tune": ("data/cached_predictions.csv", "models/model.keras", "reports/metrics.json"),
}
EPOCHS = 4  # of fine-tuning: a run with few images is then backbone work for the most part


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
        require(self.computed() == self.views > 0, f"{stage}: all views are counted", done.said)
        self.digests = self.outs()

    def kill(self, moment: float) -> Kill | None:
        """Kill a run and run it again to its end; None where it ended before the moment.

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
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        words = f"{self.stage} killed after {moment:.1f} s"
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
        return Kill(moment, computed, (self.computed() - self.views) / self.speed)

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


def main(words: Sequence[str] | None = None) -> int:
    """Kill, compare, and report the worst loss."""
    options = report.parser("kills", __doc__)
    options.add_argument("--kills", type=int, default=30, help="half of them of each stage")
    options.add_argument("--seed", type=int, default=1, help="of the moments")
    options.add_argument("--images", type=int, default=150, help="of the demonstration's")
    options.add_argument("--most", type=float, default=5.0, help="seconds of work a kill may lose")
    chosen = report.parse(options, words)
    moments = random.Random(chosen.seed)  # noqa: S311
    kills: dict[str, list[Kill]] = {}
    victims: dict[str, Victim] = {}
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        project.set("fine_tune", epochs=EPOCHS)
        for stage in ("sample", "ingest", "split", "augment", "extract", "train_head"):
            project.stage(stage)
        for stage, share in (
            ("extract", (chosen.kills + 1) // 2),
            ("fine_tune", chosen.kills // 2),
        ):
            victim, kills[stage] = Victim(project, stage), []
            victims[stage] = victim
            while len(kills[stage]) < share:
                if kill := victim.kill(moments.uniform(0, victim.seconds)):
                    kills[stage].append(kill)
                    say(f"{stage}: {kill}")
    worst = max(kill.lost_s for stage in kills.values() for kill in stage)
    report.write(
        chosen,
        f"{chosen.images} images. **After each of {sum(map(len, kills.values()))} kills with "
        "signal 9 the next run ended with the same bytes**: features; or the model file, the "
        "cached predictions and the metrics. Lost is the backbone work that was done twice: "
        f"at the worst {worst:.2f} s, of at most {chosen.most:g}.",
        report.table(
            (
                "stage",
                "kills",
                "killed at, s",
                "undisturbed run, s",
                "its backbone work, s",
                "killed within it",
                "mean loss, s",
                "worst loss, s",
            ),
            [line(victims[stage], found) for stage, found in kills.items() if found],
        ),
    )
    return int(worst > chosen.most)


def line(victim: Victim, kills: Sequence[Kill]) -> list[object]:
    """A row of the table."""
    moments, losses = [kill.moment_s for kill in kills], [kill.lost_s for kill in kills]
    within = sum(0 < kill.computed < victim.views for kill in kills)
    span = f"{min(moments):.1f} to {max(moments):.1f}"
    work = victim.views / victim.speed
    mean = sum(losses) / len(losses)
    return [victim.stage, len(kills), span, victim.seconds, work, within, mean, max(losses)]


if __name__ == "__main__":
    raise SystemExit(main())

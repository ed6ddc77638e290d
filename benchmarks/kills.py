"""Kill stages at random moments and run them again: the same bytes, and little work lost.

A moment is drawn evenly over what an undisturbed run takes, every other one over
its backbone work alone.  Half of the kills hit extract, half fine_tune, each of
them with an empty store at first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks import report
from benchmarks.project import throwaway
from benchmarks.victim import Kill, Victim
from pipeline.console import say

EPOCHS = 4  # of fine-tuning: a run with few images is then backbone work for the most part


def main(words: Sequence[str] | None = None) -> int:
    """Kill, compare, and report the worst loss."""
    options = report.parser("kills", __doc__)
    options.add_argument("--kills", type=int, default=30, help="half of them of each stage")
    options.add_argument("--seed", type=int, default=1, help="of the moments")
    options.add_argument("--images", type=int, default=150, help="of the demonstration's")
    options.add_argument("--most", type=float, default=5.0, help="seconds of work a kill may lose")
    chosen = report.parse(options, words)
    if chosen.kills < 1:
        options.error("--kills: 1 or more")
    moments = random.Random(chosen.seed)  # noqa: S311
    kills: dict[str, list[Kill]] = {}
    victims: dict[str, Victim] = {}
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        project.set("fine_tune", epochs=EPOCHS)
        for stage in ("sample", "ingest", "split", "augment", "extract", "train_head"):
            project.stage(stage)
        shares = {"extract": (chosen.kills + 1) // 2, "fine_tune": chosen.kills // 2}
        for stage, share in shares.items():
            if not share:
                continue
            victim, kills[stage] = Victim(project, stage), []
            victims[stage] = victim
            while len(kills[stage]) < share:
                within = len(kills[stage]) % 2 == 1
                span = victim.ran / victim.speed if within else victim.seconds
                if kill := victim.kill(moments.uniform(0, span), within=within):
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
            [line(victims[stage], found) for stage, found in kills.items()],
        ),
    )
    return int(worst > chosen.most)


def line(victim: Victim, kills: Sequence[Kill]) -> list[object]:
    """A row of the table."""
    moments, losses = [kill.moment_s for kill in kills], [kill.lost_s for kill in kills]
    within = sum(0 < kill.computed < victim.ran for kill in kills)
    span = f"{min(moments):.1f} to {max(moments):.1f}"
    work = victim.ran / victim.speed
    mean = sum(losses) / len(losses)
    return [victim.stage, len(kills), span, victim.seconds, work, within, mean, max(losses)]


if __name__ == "__main__":
    raise SystemExit(main())

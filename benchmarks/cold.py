"""The user's own commands: `dvc repro` of every stage from nothing, then with nothing to do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks import report
from benchmarks.project import require, throwaway

COLD_S, NO_OP_S = 360.0, 2.5  # bars, on two idle cores
UP_TO_DATE = "Data and pipelines are up to date."


def main(words: Sequence[str] | None = None) -> int:
    """Run everything once, then nothing several times."""
    options = report.parser("cold", __doc__)
    options.add_argument("--images", type=int, help="of the demonstration's (default: all)")
    options.add_argument("--no-ops", type=int, default=5, help="runs with nothing to do")
    options.add_argument("--bfloat16", action="store_true", help="learn in bfloat16")
    chosen = report.parse(options, words)
    params = "Default params but for precision" if chosen.bfloat16 else "Default params"
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        if chosen.bfloat16:
            project.learn_in_bfloat16()
        cold = project.repro()
        scores = project.scores()
        no_ops = [project.repro() for _ in range(chosen.no_ops)]
    for done in no_ops:
        require(UP_TO_DATE in done.said and not done.stages, "a second run is a no-op", done.said)
    no_op = statistics.median(done.seconds for done in no_ops)
    rest = cold.seconds - sum(cold.stages.values())
    bars = [("cold", cold.seconds, COLD_S), ("no-op", no_op, NO_OP_S)]
    report.write(
        chosen,
        f"{params}, empty store, no DVC cache. Seconds of a stage include what DVC does "
        f"for it; the no-op is the median of {chosen.no_ops}. "
        f"A no-op takes {no_op / cold.seconds:.2%} of the cold run.",
        report.table(
            ("`dvc repro`", "seconds", "bar", "of that"),
            [(name, taken, bar, f"{taken / bar:.0%}") for name, taken, bar in bars],
        ),
        report.table(
            ("stage", "seconds"), [*cold.stages.items(), ("DVC, before the first", rest)]
        ),
        f"Accuracy on the {scores['fine_tuned']['images']:.0f} test images: frozen head "
        f"{scores['head']['accuracy']:.4f}, fine-tuned {scores['fine_tuned']['accuracy']:.4f}.",
        variant="bfloat16" if chosen.bfloat16 else "",
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

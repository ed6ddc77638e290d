"""Nothing to do: a flow from a fresh process against a running server, and `dvc repro`.

Each round measures all three in turn, so that a busy machine slows them alike.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import median

from benchmarks import report
from benchmarks.project import require, throwaway

BAR = 2.5  # times what `dvc repro` takes with nothing to do, and Prefect's import beside
UP_TO_DATE = "Data and pipelines are up to date."
IMPORT = ("python", "-c", "from prefect import flow, get_run_logger, task")


def main(words: Sequence[str] | None = None) -> int:
    """Bring a small project up to date, then measure nothing in turns."""
    options = report.parser("flow", __doc__)
    options.add_argument("--images", type=int, default=60, help="of the demonstration's")
    options.add_argument("--rounds", type=int, default=5, help="of the three commands")
    chosen = report.parse(options, words)
    taken: dict[str, list[float]] = {"`dvc repro`": [], "import prefect": [], "flow": []}
    with throwaway(chosen.folder) as project:
        os.environ["PREFECT_HOME"] = str(project.store.parent / "prefect")
        from pipeline.flows.api import proxy_free, temporary  # noqa: PLC0415  # reads it

        proxy_free()
        project.set("sample", limit=chosen.images)
        project.repro()
        with temporary() as url:
            for _ in range(chosen.rounds + 1):
                repro, imported = project.repro(), project.run(*IMPORT)
                flow = project.run("python", "-m", "pipeline", "run", PREFECT_API_URL=url)
                require(UP_TO_DATE in repro.said, "dvc repro has nothing to do", repro.said)
                require("Cached: nothing was stale" in flow.said, "nor has the flow", flow.said)
                for times, done in zip(taken.values(), (repro, imported, flow), strict=True):
                    times.append(done.seconds)
    seconds = {name: median(times[1:]) for name, times in taken.items()}  # the first warms up
    repro_s, import_s, flow_s = seconds.values()
    bar = BAR * repro_s + import_s
    report.write(
        chosen,
        f"Medians of {chosen.rounds} rounds, after one that is not counted. The flow is "
        "`python -m pipeline run`: start of the process, import, one `dvc status`, a task for "
        "each stage, artifacts, what it logged sent to the server.",
        report.table(("nothing to do", "seconds"), [*seconds.items(), ("bar of the flow", bar)]),
        f"The bar is {BAR} times `dvc repro` and the import of Prefect: the flow takes "
        f"{flow_s / bar:.0%} of it.",
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

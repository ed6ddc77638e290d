"""Run: do what `dvc repro` does as a Prefect flow, on the configured Prefect server or none."""

from __future__ import annotations

import argparse
import os

from pipeline.errors import InputError

LEVEL = "PREFECT_LOGGING_LEVEL"


def main(words: list[str]) -> int:
    """Run the flow `train` in this process; return 1 if a stage failed."""
    parser = argparse.ArgumentParser(prog="python -m pipeline run", description=__doc__)
    parser.add_argument(
        "-S",
        "--set",
        dest="params",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for params.yaml, which keeps it, as train_head.epochs=5; may be repeated",
    )
    parser.add_argument("--until", metavar="STAGE", help="the last to bring up to date")
    parser.add_argument("--force", action="store_true", help="run every stage, stale or not")
    chosen = parser.parse_args(words)
    os.environ.setdefault(LEVEL, "WARNING")  # of Prefect's own words; stages say theirs
    os.environ.setdefault("PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL", "INFO")

    from pipeline.flows.api import api, proxy_free  # noqa: PLC0415
    from pipeline.flows.overrides import overridden  # noqa: PLC0415
    from pipeline.flows.train import PARAMS, stages_up_to, train  # noqa: PLC0415
    from pipeline.programs.dvc import StageError  # noqa: PLC0415

    proxy_free()
    stages = stages_up_to(chosen.until)  # a mistake is told before an API starts
    if chosen.params:
        overridden(PARAMS, chosen.params, stages)
    with api():
        try:
            state = train(chosen.params, chosen.until, chosen.force, return_state=True)
            state.result()
        except StageError as error:
            reason = str(error)
            raise InputError("run", reason, "mend what it names, then rerun") from error
    print(f"{state.name}: {state.message}")
    return 0

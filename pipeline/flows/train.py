"""Train: bring every stage up to date, one Prefect task a stage, as `dvc repro` would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from pipeline.errors import InputError
from pipeline.flows import artifacts
from pipeline.flows.alone import alone
from pipeline.flows.graph import read_graph
from pipeline.flows.overrides import override
from pipeline.flows.progress import Progress
from pipeline.flows.tasks import ordinary
from pipeline.flows.tracked import is_read
from pipeline.programs import dvc
from pipeline.programs.dvc import Outcome

CACHED = "Cached"  # what Prefect calls a task that had nothing to do
PARAMS = Path("params.yaml")


@task(task_run_name="{target}", **ordinary)
def stage(
    target: str, *, ask: bool, hear: Callable[[str], None], force: bool = False
) -> State[Outcome]:
    """Bring one stage up to date.

    Args:
        target: A stage of dvc.yaml, or a .dvc file.
        ask: Whether it can be stale; if not, DVC has said so and is not asked again.
        hear: Gets what it says, as the log does.
        force: Run it whether it is stale or not.
    """
    log = get_run_logger()

    def say(line: str) -> None:
        log.info(line)
        hear(line)

    outcome = Outcome.UNCHANGED
    if ask or force:
        options = ["--force"] if force else []
        outcome = dvc.repro(*options, target=target, say=say)
    if outcome is Outcome.RAN:
        return Completed(message=f"{target} ran", data=outcome)
    return Completed(name=CACHED, message=f"{target}: {outcome.value}", data=outcome)


@flow(name="train", flow_run_name="train", persist_result=False)
def train(
    params: list[str] | None = None, until: str | None = None, force: bool = False
) -> State[dict[str, str]]:
    """Run what is stale, each stage after those it reads; `dvc repro` then has nothing to do.

    Args:
        params: Values for params.yaml, which keeps them, as "train_head.epochs=5".
        until: The last stage to bring up to date.
        force: Run every stage, stale or not.

    Raises:
        InputError: Another flow works in this clone, or a parameter is not known.
        StageError: A stage failed.
    """
    with alone("flow"):
        outcomes = bring_up_to_date(params or [], until, force=force)
        artifacts.of_run(done=list(outcomes))
    words = ", ".join(f"{target} {outcome.name.lower()}" for target, outcome in outcomes.items())
    data = {target: outcome.name for target, outcome in outcomes.items()}
    if set(outcomes.values()) == {Outcome.UNCHANGED}:
        return Completed(name=CACHED, message="nothing was stale", data=data)
    return Completed(message=words, data=data)


def bring_up_to_date(
    params: list[str], until: str | None, *, force: bool = False
) -> dict[str, Outcome]:
    """Run the stages' tasks; return what became of each .dvc file and stage, in order.

    Raises:
        InputError: A value or a stage is not known, or DVC cannot tell what is stale.
        StageError: A stage failed.
    """
    wanted = stages_up_to(until)
    if params:
        override(PARAMS, params, wanted)
    changed = dvc.stale()
    # others are no stage's affair, as for `dvc repro`
    files = sorted(name for name in changed if name.endswith(".dvc") and is_read(name))
    targets = [*files, *wanted]
    progress = Progress(len(targets))
    outcomes: dict[str, Outcome] = {}
    moved = False  # once a file of the workspace has, DVC must be asked anew
    for target in targets:
        ask, own = moved or target in changed, force and target not in files
        if ask or own:
            progress.begin()
        state: Any = stage(target, ask=ask, force=own, hear=progress.hear, return_state=True)
        try:
            outcomes[target] = state.result()
        except dvc.StageError:
            artifacts.of_failed(target)
            raise
        if ask or own or target == targets[-1]:
            progress.reach(len(outcomes))
        moved = moved or outcomes[target] is not Outcome.UNCHANGED
    return outcomes


def stages_up_to(until: str | None) -> list[str]:
    """The stages of dvc.yaml, in its order, to the one named or all.

    Raises:
        InputError: It is none of them.
    """
    order = [*read_graph()]
    if until is None:
        return order
    if until not in order:
        raise InputError("until", f"{until!r} is no stage", f"name one of {', '.join(order)}")
    return order[: order.index(until) + 1]

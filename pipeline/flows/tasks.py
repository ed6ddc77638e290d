"""How the tasks of the flows are run by Prefect, and what it logs of their errors."""

from __future__ import annotations

import logging
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun

from pipeline.errors import InputError
from pipeline.flows.remote import LastingError
from pipeline.programs.dvc import StageError

TRIES, PAUSES_S = 3, [10.0, 30.0, 90.0]  # where another try can help: over a network

ordinary: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


def _helps(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether another try can help."""
    return not isinstance(state.result(raise_on_failure=False), LastingError)


over_a_network: dict[str, Any] = {
    **ordinary,
    "retries": TRIES,
    "retry_delay_seconds": PAUSES_S,
    "retry_condition_fn": _helps,
}


def _in_words(record: logging.LogRecord) -> bool:
    """A traceback is for a bug, not for what the user can mend."""
    if record.exc_info and isinstance(record.exc_info[1], (InputError, StageError, FailedRun)):
        record.exc_info = None
    return True


for _name in ("prefect.task_runs", "prefect.flow_runs", "prefect.engine"):
    logging.getLogger(_name).addFilter(_in_words)

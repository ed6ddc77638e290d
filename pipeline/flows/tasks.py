"""How the tasks of the flows are run by Prefect."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from pipeline.flows.clone import LastingError

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

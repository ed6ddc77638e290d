"""Runs that the server takes to be under way, but whose processes a kill has ended."""

from __future__ import annotations

from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.states import Crashed

from pipeline.errors import InputError

AT_WORK = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}


def end_lost_runs(client: SyncPrefectClient, **whose: Any) -> None:
    """Tell the server that what another process like this one ran has ended.

    It would hold its deployment's only place for ever: the server keeps in
    memory when a place that nobody claims is free again.

    Args:
        whose: Filters of `read_flow_runs`, for runs that only such a process runs.

    Raises:
        InputError: The server does not answer.
    """
    crashed: State[Any] = Crashed(message="the process that ran it was killed")
    ours = FlowRunFilter.model_validate(AT_WORK)
    try:
        for run in client.read_flow_runs(flow_run_filter=ours, **whose):
            client.set_flow_run_state(run.id, crashed, force=True)
    except httpx.HTTPError as error:
        raise InputError(str(client.api_url), f"refuses: {error}", "run it again") from error

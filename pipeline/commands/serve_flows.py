"""Serve-flows: wait in one process for scheduled and asked-for runs; instead of a worker."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.console import say
from pipeline.errors import InputError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

CRON, TIMEZONE = "0 2 * * *", "UTC"
CRON_FIX = 'write minute, hour, day, month and weekday, as "0 2 * * *"'
NO_ZONES = {"Factory", "localtime"}  # among their files: no place's, and that of each machine
FOLDER = "serve-flows in "  # how the tag begins that says whose deployment it is


def main(words: list[str]) -> int:
    """Serve the flows from this folder until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m pipeline serve-flows", description=__doc__)
    parser.add_argument("--cron", default=CRON, help="of retrain (default: %(default)s)")
    parser.add_argument("--timezone", default=TIMEZONE, help="of --cron (default: %(default)s)")
    chosen = parser.parse_args(words)
    check_schedule(chosen.cron, chosen.timezone)

    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.client.schemas.filters import DeploymentFilter  # noqa: PLC0415

    from pipeline.flows import serving  # noqa: PLC0415
    from pipeline.flows.alone import alone  # noqa: PLC0415
    from pipeline.flows.api import check, configured, proxy_free  # noqa: PLC0415
    from pipeline.flows.lost_runs import end_lost_runs  # noqa: PLC0415
    from pipeline.programs.dvc import environment  # noqa: PLC0415
    from pipeline.programs.leash import leashed, take_interrupts  # noqa: PLC0415

    proxy_free()
    url = configured()
    if url is None:
        fix = "run `prefect server start`, then set PREFECT_API_URL=http://127.0.0.1:4200/api"
        raise InputError("serve-flows", "no Prefect server is configured", fix)
    check(url)
    tag = FOLDER + str(Path.cwd())
    with alone("serve-flows"), get_client(sync_client=True) as client:
        check_unclaimed(client, serving.DEPLOYED)
        ours = DeploymentFilter.model_validate({"tags": {"all_": [tag]}})
        end_lost_runs(client, deployment_filter=ours)
        command = [sys.executable, "-m", serving.__name__, chosen.cron, chosen.timezone, tag]
        take_interrupts()
        with suppress(KeyboardInterrupt), leashed(command, Path(), environment()) as process:
            say(f"serve-flows: retrain at {chosen.cron} {chosen.timezone}; Ctrl-C ends it")
            return process.wait()
    return 0


def check_unclaimed(client: SyncPrefectClient, names: Sequence[str]) -> None:
    """Refuse to serve what workers or another folder serve: Prefect would mix up both.

    Raises:
        InputError: A deployment of ours has a work pool, or is another folder's.
    """
    import httpx  # noqa: PLC0415
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

    for name in names:
        try:
            found = client.read_deployment_by_name(name)
        except ObjectNotFound:
            continue
        except httpx.HTTPError as error:
            fix = "see PREFECT_API_URL and PREFECT_API_AUTH_STRING"
            raise InputError(str(client.api_url), f"refuses: {error}", fix) from error
        fix = f"start a worker, or run `prefect deployment delete {name}`"
        if pool := found.work_pool_name:
            raise InputError(name, f"is deployed for the workers of the pool {pool!r}", fix)
        folders = {tag.removeprefix(FOLDER) for tag in found.tags if tag.startswith(FOLDER)}
        if others := folders - {str(Path.cwd())}:
            reason = f"is served from {others.pop()}, whose runs would come here"
            fix = f"use a server of its own, or run `prefect deployment delete {name}`"
            raise InputError(name, reason, fix)


def check_schedule(cron: str, timezone: str) -> None:
    """Refuse what is no schedule before anything starts.

    Raises:
        InputError: The expression or the time zone is none.
    """
    from zoneinfo import available_timezones  # noqa: PLC0415

    from cronsim import CronSim, CronSimError  # noqa: PLC0415
    from prefect.client.schemas.schedules import CronSchedule  # noqa: PLC0415

    if timezone not in available_timezones() - NO_ZONES:
        fix = "write one of the tz database, as Europe/Berlin"
        raise InputError("--timezone", f"{timezone!r} is unknown", fix)
    try:
        CronSim(cron, datetime.now(UTC))
        CronSchedule(cron=cron, timezone=timezone)  # Prefect knows fewer
    except (CronSimError, ValueError) as error:
        reason = f"{cron!r} is no cron expression: {' '.join(str(error).split())}"
        raise InputError("--cron", reason, CRON_FIX) from error
    if len(cron.split()) > 5:
        raise InputError("--cron", f"{cron!r} has seconds, or more", CRON_FIX)

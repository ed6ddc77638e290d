"""Orchestrate: a local Prefect server, work pool, deployments and worker, for trying it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.console import say
from pipeline.errors import InputError

HOME = Path(".prefect")
PORT = 4200
POOL = "pipeline"
PREFECT = [sys.executable, "-m", "prefect"]


def main(words: list[str]) -> int:
    """Start all, print the URL, and end all at Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipeline orchestrate", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="of the server (default: 4200)")
    parser.add_argument(
        "--home",
        type=Path,
        default=HOME,
        metavar="FOLDER",
        help=f"database, logs; default: {HOME}",
    )
    chosen = parser.parse_args(words)

    from prefect.client.orchestration import SyncPrefectClient  # noqa: PLC0415
    from prefect.client.schemas.filters import WorkPoolFilter  # noqa: PLC0415

    from pipeline.flows.alone import alone  # noqa: PLC0415
    from pipeline.flows.api import LOOPBACK, proxy_free, wait_until_healthy  # noqa: PLC0415
    from pipeline.flows.lost_runs import end_lost_runs  # noqa: PLC0415
    from pipeline.programs.dvc import environment  # noqa: PLC0415
    from pipeline.programs.leash import leashed, take_interrupts  # noqa: PLC0415

    proxy_free()
    home = chosen.home.resolve()
    if "?" in str(home):
        reason = "has a question mark, which ends the path in a database's URL"
        raise InputError(home, reason, "give another with --home")
    home.mkdir(parents=True, exist_ok=True)
    server = f"http://{LOOPBACK}:{chosen.port}"
    around = {
        **environment(),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{server}/api",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    take_interrupts()
    with ExitStack() as running:
        running.enter_context(alone("orchestrate"))  # two workers would run flows side by side
        check_port(chosen.port)
        log = running.enter_context((home / "orchestrate.log").open("a", encoding="utf-8"))
        output = {"stdout": log, "stderr": subprocess.STDOUT}
        command = [*PREFECT, "server", "start", "--host", LOOPBACK, "--port", str(chosen.port)]
        process = running.enter_context(leashed(command, Path(), around, **output))
        say(f"orchestrate: starting the server; it logs to {home / 'orchestrate.log'}")
        wait_until_healthy(f"{server}/api", process)
        ask(around, "work-pool", "create", POOL, "--type", "process", "--overwrite")
        ask(around, "--no-prompt", "deploy", "--all")
        with SyncPrefectClient(f"{server}/api") as client:
            ours = WorkPoolFilter.model_validate({"name": {"any_": [POOL]}})
            end_lost_runs(client, work_pool_filter=ours)
        command = [*PREFECT, "worker", "start", "--pool", POOL, "--type", "process"]
        command += ["--limit", "1"]  # all runs share this folder
        worker = running.enter_context(leashed(command, Path(), around, **output))
        print(f"{server}  (set PREFECT_API_URL={server}/api for prefect's own commands)")
        say(
            "orchestrate: deployed retrain/nightly, train/manual, backfill/manual; Ctrl-C ends all"
        )
        sys.stdout.flush()
        wait({"server": process, "worker": worker}, home)
    return 0


def check_port(port: int) -> None:
    """Refuse a port that somebody listens on: it may be another project's server.

    Raises:
        InputError: Somebody does.
    """
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = f"cannot be listened on: {error}"
            raise InputError(f"port {port}", reason, "give another with --port") from error


def ask(around: Mapping[str, str], *words: str) -> None:
    """Run a Prefect command that is soon done.

    Raises:
        InputError: It failed.
    """
    done = subprocess.run(
        [*PREFECT, *words],
        env={**os.environ, **around},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[-600:]
        raise InputError(f"prefect {' '.join(words)}", reason, "mend what it names, then rerun")


def wait(processes: Mapping[str, Any], home: Path) -> None:
    """Wait for Ctrl-C.

    Raises:
        InputError: One of the processes ended by itself.
    """
    try:
        while True:
            for name, process in processes.items():
                if process.poll() is not None:
                    fix = f"see {home / 'orchestrate.log'}"
                    raise InputError(f"the {name}", f"ended with {process.returncode}", fix)
            time.sleep(0.5)
    except KeyboardInterrupt:
        say("orchestrate: ending worker and server")

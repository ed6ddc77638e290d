"""The Prefect API that a command talks to: the configured one, or one for the duration."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import prefect
from prefect.client.orchestration import get_client
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, temporary_settings

from pipeline.console import say
from pipeline.errors import InputError, in_words
from pipeline.programs.leash import leashed

LOOPBACK = "127.0.0.1"
START_S = 120.0  # at most; the first start makes a database
ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_UI_ENABLED": "0",
}


def configured() -> str | None:
    """The URL of the API that the environment or a Prefect profile names."""
    url: str | None = PREFECT_API_URL.value()
    return url and url.rstrip("/")


@contextmanager
def api() -> Iterator[str]:
    """Talk to the configured API, or to a temporary one that ends with this process.

    Its runs are kept in Prefect's own database, as those of `prefect server start` are.

    Raises:
        InputError: The configured API does not answer, or a temporary one does not start.
    """
    if url := configured():
        check(url)
        yield url
        return
    with temporary() as url, temporary_settings({PREFECT_API_URL: url}):
        yield url


def check(url: str) -> None:
    """Refuse the configured API if it does not answer this client, with what key it has.

    Raises:
        InputError: It does not.
    """
    with get_client(sync_client=True) as client:
        trouble = client.api_healthcheck()
    if trouble:
        reason = f"the Prefect API does not answer: {in_words(trouble)}"
        fix = "start it with `prefect server start`, or unset PREFECT_API_URL"
        raise InputError(url, reason, fix) from trouble


@contextmanager
def temporary() -> Iterator[str]:
    """Start an API on loopback, as Prefect would, but so that it cannot outlive this process.

    Raises:
        InputError: It does not start.
    """
    port, began = free_port(), time.monotonic()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "prefect.server.api.server:create_app",
    ]
    command += ["--app-dir", str(prefect.__module_path__.parent), "--lifespan", "on"]
    command += ["--host", LOOPBACK, "--port", str(port), "--log-level", "error"]
    url = f"http://{LOOPBACK}:{port}/api"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with leashed(command, Path(), ENVIRONMENT, **quiet) as process:
        wait_until_healthy(url, process)
        say(f"run: a temporary Prefect API started in {time.monotonic() - began:.1f} s")
        try:
            yield url
        finally:
            asyncio.run(APILogHandler.aflush())  # what was logged last is on its way


def wait_until_healthy(url: str, process: subprocess.Popen[str]) -> None:
    """Wait for an API that was just started.

    Raises:
        InputError: It ended, or takes too long.
    """
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    what = "ended" if process.poll() is not None else f"was not ready within {START_S:.0f} s"
    fix = "see why with `prefect server start`; the lock's versions are those that work"
    raise InputError(url, f"Prefect's API {what}", fix)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def proxy_free() -> None:
    """Keep requests to loopback from a proxy that the environment names."""
    for name in ("NO_PROXY", "no_proxy"):
        kept = os.environ.get(name, "")
        if LOOPBACK not in kept:
            os.environ[name] = ",".join(filter(None, [kept, LOOPBACK, "localhost"]))

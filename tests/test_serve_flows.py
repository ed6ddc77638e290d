"""One process that serves the flows to a running server, instead of a worker."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from pipeline.commands.serve_flows import check_schedule
from pipeline.errors import InputError
from pipeline.flows.api import temporary
from tests.orchestra import Server, left, marked, project_with_pipeline, said, slowly, start, until

PREFECT = [sys.executable, "-m", "prefect"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return project_with_pipeline(tmp_path_factory.mktemp("served"), cron="0 1 * * *")


@pytest.fixture(scope="module")
def server(toy):
    """A server on which nothing is deployed, with no worker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(toy.folder.parent / "home"))
        with temporary() as url:
            yield Server(url)


def crons(server: Server) -> list[str]:
    nightly = server.deployments().get("retrain/nightly", {"schedules": []})
    return [schedule["schedule"]["cron"] for schedule in nightly["schedules"]]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_run_is_served_and_the_schedule_outlives_the_process(toy, server, number):
    words = ["serve-flows", "--cron", f"{number:d} 3 * * *", "--timezone", "Asia/Tokyo"]
    process = start(toy, *words, PREFECT_API_URL=server.url)
    try:
        until(lambda: f"{number:d} 3 * * *" in crons(server), "the flows are deployed")
        until(lambda: "train/manual" in server.deployments(), "all flows are deployed")
        run = server.trigger("train/manual")
        assert server.ended(run)["name"] in {"Completed", "Cached"}
    finally:
        process.send_signal(number)
        process.wait(timeout=120)

    assert left(toy.folder, "serve-flows") == []
    nightly = server.deployments()["retrain/nightly"]
    (schedule,) = nightly["schedules"]
    assert not nightly["paused"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == f"{number:d} 3 * * *"
    assert schedule["schedule"]["timezone"] == "Asia/Tokyo"
    assert "Traceback" not in said(toy)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_its_runs_end_with_it_and_hold_up_none_later(toy, server, number):
    process = start(toy, "serve-flows", PREFECT_API_URL=server.url)
    try:
        until(lambda: "backfill/manual" in server.deployments(), "the flows are deployed")
        lost = slowly(server, toy)
    finally:
        process.send_signal(number)
        process.wait(timeout=120)

    until(lambda: not left(toy.folder), "everything has ended", 30)
    again = start(toy, "serve-flows", PREFECT_API_URL=server.url)
    try:
        assert server.ended(lost)["name"] == "Crashed"
        assert server.ended(server.trigger("train/manual"))["name"] in {"Completed", "Cached"}
    finally:
        again.send_signal(signal.SIGTERM)
        again.wait(timeout=120)


@pytest.mark.slow
def test_what_another_folder_serves_is_not_served(toy, server, tmp_path):
    """Prefect would let one replace the other's schedule, and run either's runs anywhere."""
    other = project_with_pipeline(tmp_path, cron="0 1 * * *")
    process = start(toy, "serve-flows", PREFECT_API_URL=server.url)
    try:
        until(lambda: "backfill/manual" in server.deployments(), "the flows are deployed")
        refused = start(other, "serve-flows", PREFECT_API_URL=server.url)

        assert refused.wait(timeout=120) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)

    assert f"retrain/nightly: is served from {toy.folder}" in said(other)


@pytest.mark.slow
def test_what_is_deployed_for_workers_is_not_served(toy, server):
    around = marked(toy.folder, PREFECT_API_URL=server.url)
    server.ask("work_pools/", name="pipeline", type="process")
    subprocess.run(
        [*PREFECT, "--no-prompt", "deploy", "--all"],
        cwd=toy.folder,
        env=around,
        check=True,
        capture_output=True,
    )

    process = start(toy, "serve-flows", PREFECT_API_URL=server.url)

    assert process.wait(timeout=120) == 1
    assert "error: retrain/nightly: is deployed for the workers of the pool" in said(toy)
    assert "run `prefect deployment delete retrain/nightly`" in said(toy)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Etc/GMT+3", "US/Eastern"])
def test_a_zone_of_the_tz_database_is_taken(name):
    check_schedule("0 2 * * *", name)


@pytest.mark.parametrize(
    "name", ["posixrules", "localtime", "Factory", "", "../UTC", "/etc/localtime"]
)
def test_what_names_no_zone_is_refused_as_the_time_zone(name):
    """Python knows some of them; Prefect does not, or on each machine another."""
    with pytest.raises(InputError, match=f"^--timezone: {name!r} is unknown") as caught:
        check_schedule("0 2 * * *", name)

    assert "as Europe/Berlin" in caught.value.fix


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--cron", "0 2 * *"], "--cron: '0 2 * *' is no cron expression"),
        (["--cron", "0 2 * * 5L"], "--cron: '0 2 * * 5L' is no cron expression"),
        (["--cron", "* * * * * *"], "--cron: '* * * * * *' has seconds, or more"),
        (["--timezone", "Europe/Berln"], "--timezone: 'Europe/Berln' is unknown"),
        ([], "serve-flows: no Prefect server is configured"),
    ],
)
def test_what_cannot_be_served_is_named(toy, tmp_path, words, match):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "serve-flows", *words],
        cwd=toy.folder,
        env=marked(tmp_path, PREFECT_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"error: {match}" in done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr

"""Every night by itself: a real server, worker and schedule, and nothing left of them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.orchestra import (
    Orchestra,
    interrupt,
    left,
    marked,
    project_with_pipeline,
    said,
    start,
    until,
)

UP_TO_DATE = "Data and pipelines are up to date."


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A project that shall be retrained every minute."""
    toy = project_with_pipeline(tmp_path_factory.mktemp("night"), cron="* * * * *")
    orchestra = Orchestra(toy)
    yield orchestra
    if orchestra.process and orchestra.process.poll() is None:
        orchestra.end(signal.SIGKILL)


@pytest.fixture
def orchestra(begun) -> Orchestra:
    begun.start()
    return begun


@pytest.fixture
def quiet(orchestra) -> Orchestra:
    """The schedule is paused, and no scheduled run is under way."""
    nightly = orchestra.deployments()["retrain/nightly"]["id"]
    orchestra.change(f"deployments/{nightly}", paused=True)
    at_work = {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
    until(
        lambda: not orchestra.ask("flow_runs/filter", flow_runs={"state": at_work}),
        "the server is idle",
    )
    return orchestra


def slowly(orchestra: Orchestra) -> str:
    """Begin a run whose stage takes minutes; return its id while the stage sleeps."""
    orchestra.toy.write("data/raw/slow", "300")
    run = orchestra.trigger("train/manual")
    until(lambda: left(orchestra.toy.folder, "stage.py"), "the stage runs")
    (orchestra.toy.folder / "data/raw/slow").unlink()
    return run


def test_everything_is_deployed(orchestra):
    deployments = orchestra.deployments()

    assert set(deployments) == {"retrain/nightly", "train/manual", "backfill/manual"}
    (schedule,) = deployments["retrain/nightly"]["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "* * * * *"
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"
    for deployment in deployments.values():
        assert deployment["work_pool_name"] == "pipeline"
        assert deployment["global_concurrency_limit"]["limit"] == 1
    (pool,) = orchestra.ask("work_pools/filter")
    assert pool["type"] == "process"


def test_a_scheduled_run_fires_by_itself(orchestra):
    """With SQLAlchemy 2.1 the server is well and the scheduler makes no run, in silence."""

    def scheduled():
        found = orchestra.ask("flow_runs/filter", flow_runs={"tags": {"all_": ["auto-scheduled"]}})
        begun = [run for run in found if run["state"]["type"] != "SCHEDULED"]
        return min(begun, key=lambda run: run["expected_start_time"], default=None)

    run = until(scheduled, "a run of the schedule begins")["id"]
    state = orchestra.ended(run)

    assert state["name"] == "Promoted", state
    assert state["message"] == "model@v1.0.0: the first model: HEAD has none"
    until(lambda: "evaluate has 200 rows" in orchestra.logs(run), "stages' words are in the log")
    assert "accuracy" in orchestra.artifacts(run)["metrics"]
    assert {"metrics", "confusion-matrix", "rejected-files", "retrain"} <= set(
        orchestra.artifacts(run)
    )
    assert orchestra.task_states(run)["evaluate"] == "Completed"
    assert orchestra.toy.status() == ""
    assert orchestra.toy.git("ls-remote", "--tags", "origin", "model@v1.0.0")


def test_a_run_asked_for_takes_params(quiet):
    quiet.toy.dvc("repro")

    run = quiet.trigger("train/manual", params=["split.seed=7"])

    assert quiet.ended(run)["name"] == "Completed"
    assert quiet.task_states(run) == {
        "ingest": "Cached",
        "split": "Completed",
        "evaluate": "Cached",
    }
    assert UP_TO_DATE in quiet.toy.dvc("repro")


def test_a_cancelled_run_ends_its_stage(quiet):
    run = slowly(quiet)

    quiet.ask(f"flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})

    toy = quiet.toy.folder
    until(lambda: not left(toy, "stage.py") and not left(toy, "dvc"), "the stage ends", 30)
    assert quiet.ended(run)["name"] == "Cancelled"
    quiet.toy.dvc("repro")
    assert UP_TO_DATE in quiet.toy.dvc("repro")


def test_a_port_in_use_is_named(orchestra):
    words = ["orchestrate", "--port", str(orchestra.port), "--home", "other"]
    done = start(orchestra.toy, *words)

    assert done.wait(timeout=180) == 1
    assert f"error: port {orchestra.port}: cannot be listened on" in said(orchestra.toy)
    assert "fix: give another with --port" in said(orchestra.toy)


def test_ctrl_c_ends_everything_and_it_starts_again(quiet):
    slowly(quiet)

    assert quiet.end(signal.SIGINT) == 0
    quiet.start()
    assert set(quiet.deployments()) == {"retrain/nightly", "train/manual", "backfill/manual"}


def test_a_kill_leaves_nothing_running_and_the_next_run_is_not_held_up(quiet):
    """The server still counts the killed run, whose place the next one needs."""
    killed = slowly(quiet)

    assert quiet.end(signal.SIGKILL) == -signal.SIGKILL
    quiet.start()
    assert quiet.state(killed)["name"] == "Crashed"
    assert quiet.ended(quiet.trigger("train/manual"))["name"] in {"Completed", "Cached"}
    assert UP_TO_DATE in quiet.toy.dvc("repro")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_flows_are_served_by_one_process(quiet, number):
    """It takes over the deployments from the worker, and leaves their schedule active."""
    words = ["serve-flows", "--cron", "0 3 * * *", "--timezone", "Asia/Tokyo"]
    process = start(quiet.toy, *words, PREFECT_API_URL=quiet.url)
    until(
        lambda: quiet.deployments()["retrain/nightly"]["work_pool_name"] is None, "it has deployed"
    )

    run = quiet.trigger("train/manual")

    assert quiet.ended(run)["name"] in {"Completed", "Cached"}
    interrupt(process, number)
    until(lambda: not left(quiet.toy.folder, "serve-flows"), "it ends")
    nightly = quiet.deployments()["retrain/nightly"]
    (schedule,) = nightly["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "0 3 * * *"
    assert schedule["schedule"]["timezone"] == "Asia/Tokyo"
    assert quiet.end(signal.SIGINT) == 0  # the next start deploys for the worker again
    assert "Traceback" not in said(quiet.toy)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--cron", "0 2 * *"], "--cron: '0 2 * *' is no cron expression"),
        (["--timezone", "Europe/Berln"], "--timezone: 'Europe/Berln' is unknown"),
        ([], "serve-flows: no Prefect server is configured"),
    ],
)
def test_what_cannot_be_served_is_named(tmp_path, words, match):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "serve-flows", *words],
        env=marked(tmp_path, PREFECT_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"error: {match}" in done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr

"""Every night by itself: a real server, worker and schedule, and nothing left of them."""

from __future__ import annotations

import signal

import pytest

from pipeline.commands.orchestrate import check_port
from pipeline.errors import InputError
from pipeline.flows.api import free_port
from tests.orchestra import Orchestra, left, project_with_pipeline, said, slowly, start, until

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


@pytest.mark.slow
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
    run = slowly(quiet, quiet.toy)

    quiet.ask(f"flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})

    toy = quiet.toy.folder
    until(lambda: not left(toy, "stage.py") and not left(toy, "dvc"), "the stage ends", 30)
    assert quiet.ended(run)["name"] == "Cancelled"
    quiet.toy.dvc("repro")
    assert UP_TO_DATE in quiet.toy.dvc("repro")


def test_a_port_in_use_is_named(orchestra):
    with pytest.raises(InputError, match=rf"port {orchestra.port}: cannot .*\n.*with --port"):
        check_port(orchestra.port)


def test_a_home_that_no_database_url_can_hold_is_named(orchestra):
    done = start(orchestra.toy, "orchestrate", "--port", str(free_port()), "--home", "what?")

    assert done.wait(timeout=180) == 1
    assert "what?: has a question mark" in said(orchestra.toy)
    assert not (orchestra.toy.folder / "what?").exists()


def test_no_two_share_a_folder(orchestra):
    """Each would take the other's flows for lost, and run its own beside them."""
    before = len(said(orchestra.toy))
    done = start(orchestra.toy, "orchestrate", "--port", str(free_port()), "--home", "other")

    assert done.wait(timeout=180) == 1
    assert "another orchestrate runs here" in said(orchestra.toy)[before:]


def test_ctrl_c_ends_everything(quiet):
    slowly(quiet, quiet.toy)

    assert quiet.end(signal.SIGINT) == 0


@pytest.mark.slow
def test_a_kill_leaves_nothing_running_and_the_next_run_is_not_held_up(quiet):
    """It begins on the folder that Ctrl-C left; the server still counts the killed run."""
    killed = slowly(quiet, quiet.toy)

    assert quiet.end(signal.SIGKILL) == -signal.SIGKILL
    quiet.start()
    assert quiet.state(killed)["name"] == "Crashed"
    assert quiet.ended(quiet.trigger("train/manual"))["name"] in {"Completed", "Cached"}
    assert UP_TO_DATE in quiet.toy.dvc("repro")

"""`python -m pipeline run`, which needs no Prefect server and leaves nothing running."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from pipeline.flows.api import free_port
from tests.orchestra import left, marked, project_with_pipeline, start, until
from tests.toy import Toy

UP_TO_DATE = "Data and pipelines are up to date."


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Toy:
    return project_with_pipeline(tmp_path_factory.mktemp("run"), cron="0 1 * * *")


def around(toy: Toy) -> dict[str, str]:
    return {"PREFECT_HOME": str(toy.folder.parent / "home")}


def run(toy: Toy, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", *words],
        cwd=toy.folder,
        env=marked(toy.folder, **around(toy), **more),
        capture_output=True,
        text=True,
        check=False,
    )
    assert left(toy.folder) == []
    return done


def test_it_does_what_dvc_repro_does_and_says_what_starting_took(toy):
    first = run(toy, "-S", "split.seed=7")
    told = toy.dvc("repro")
    second = run(toy)

    assert first.returncode == 0, first.stderr
    assert "Traceback" not in first.stderr + second.stderr
    assert first.stdout == "Completed: ingest ran, split ran, evaluate ran\n"
    assert "run: a temporary Prefect API started in " in first.stderr
    assert "evaluate has 200 rows" in first.stderr
    assert "seed: 7" in (toy.folder / "params.yaml").read_text()
    assert UP_TO_DATE in told
    assert second.returncode == 0
    assert second.stdout == "Cached: nothing was stale\n"


@pytest.mark.slow
def test_a_failing_stage_is_told_in_its_own_words(toy):
    toy.write("data/raw/stop.csv", "image,label,answer\n1.png,cat,stop\n")

    done = run(toy)
    (toy.folder / "data/raw/stop.csv").unlink()

    assert done.returncode == 1
    assert "error: run: ingest failed: error: data/raw/answers.csv: an answer is" in done.stderr
    assert "fix: remove it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_in_a_param_is_told_before_an_api_starts(toy):
    done = run(toy, "-S", "split.sed=7")

    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml: unknown key 'split.sed'")
    assert "Prefect" not in done.stderr


def test_a_server_that_does_not_answer_is_named(toy):
    url = f"http://127.0.0.1:{free_port()}/api"

    done = run(toy, PREFECT_API_URL=url)

    assert done.returncode == 1
    assert f"error: {url}: the Prefect API does not answer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_nothing_outlives_it(toy, number, status):
    """Server, dvc and stage end with a process that is interrupted, or killed."""
    toy.write("data/raw/slow", f"30{number:d}")
    process = start(toy, "run", **around(toy))
    until(lambda: left(toy.folder, "stage.py"), "the stage runs")
    (toy.folder / "data/raw/slow").unlink()
    assert left(toy.folder, "prefect.server")

    process.send_signal(number)

    assert process.wait(timeout=60) == status
    until(lambda: not left(toy.folder), "all have ended", 20)
    toy.dvc("repro")
    assert UP_TO_DATE in toy.dvc("repro")

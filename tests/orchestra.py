"""A toy project with the pipeline in it, under `orchestrate`, and what the server's API says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from pipeline.flows.api import LOOPBACK, free_port
from tests.conftest import ROOT
from tests.toy import Toy, environment, make_toy

HOME = ".prefect"
MARK = "TOY_PROJECT"  # in the environment of whatever a test starts, and of what that starts
PATIENCE_S = 180.0  # two busy cores


def project_with_pipeline(folder: Path, *, cron: str) -> Toy:
    """As a user has it: the pipeline lies in the clone, and prefect.yaml beside it, for Berlin."""
    toy = make_toy(folder)
    shutil.copytree(
        ROOT / "pipeline", toy.folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    deployments = (ROOT / "prefect.yaml").read_text()
    for ours, theirs in (
        ('"0 2 * * *"', f'"{cron}"'),
        ("timezone: UTC", "timezone: Europe/Berlin"),
    ):
        assert deployments.count(ours) == 1
        deployments = deployments.replace(ours, theirs)
    toy.write("prefect.yaml", deployments)
    toy.write(".gitignore", (ROOT / ".gitignore").read_text() + "/reports/predictions.csv\n")
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "Add the pipeline")
    toy.git("push", "--quiet", "--set-upstream", "origin", "main")
    return toy


def marked(folder: Path, **more: str) -> dict[str, str]:
    """An environment by which `left` finds every process below."""
    known = {name: value for name, value in environment().items() if "PREFECT_API" not in name}
    del known["PYTHONPATH"]  # the clone's own pipeline shall run
    return {**known, MARK: str(folder), **more}


def left(folder: Path, word: str = "") -> list[str]:
    """Command lines with a word in them of processes that were started for this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if process.environ().get(MARK) == str(folder) and word in line:
                found.append(f"{process.pid} {line}")
        except psutil.Error:  # ended meanwhile, or another user's
            continue
    return found


def until(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Ask again and again; return the first answer that is not false."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if answer := true():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"not within {patience_s:.0f} s: {what}")


def start(toy: Toy, *words: str, **more: str) -> subprocess.Popen[str]:
    """Start `python -m pipeline ...` in a project; what it says is in said.txt beside it."""
    with (toy.folder.parent / "said.txt").open("a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words],
            cwd=toy.folder,
            env=marked(toy.folder, **more),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )


def said(toy: Toy) -> str:
    """What all that was started for a project has said."""
    return (toy.folder.parent / "said.txt").read_text()


class Server:
    """What a Prefect server's API says."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **body: Any) -> Any:
        """POST to the server's API."""
        return self._send("POST", path, body).json()

    def change(self, path: str, **body: Any) -> None:
        """PATCH what the server keeps."""
        self._send("PATCH", path, body)

    def _send(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        """Ask the server's API; again, as Prefect's clients do, while its SQLite is busy."""

        def send() -> httpx.Response | None:
            with httpx.Client(trust_env=False, timeout=60) as client:
                found = client.request(method, f"{self.url}/{path}", json=body)
            return None if found.status_code == httpx.codes.SERVICE_UNAVAILABLE else found

        answer = until(send, f"{path} answers")
        assert answer.is_success, answer.text
        return answer

    def deployments(self) -> dict[str, Any]:
        """By flow and name, as `prefect deployment run` calls them."""
        deployed = self.ask("deployments/filter")  # before the flows: a flow is made first
        flows = {flow["id"]: flow["name"] for flow in self.ask("flows/filter")}
        return {f"{flows[d['flow_id']]}/{d['name']}": d for d in deployed}

    def trigger(self, deployment: str, **parameters: Any) -> str:
        """Ask for a run; return its id."""
        number = self.deployments()[deployment]["id"]
        run = self.ask(f"deployments/{number}/create_flow_run", parameters=parameters)
        return str(run["id"])

    def state(self, run: str) -> Any:
        """The state that a run is in."""
        return self.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})[0]["state"]

    def ended(self, run: str) -> Any:
        """The state that a run ends in."""
        final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

        def state() -> Any:
            found = self.state(run)
            return found if found["type"] in final else None

        return until(state, f"run {run} ends")

    def task_states(self, run: str) -> dict[str, str]:
        """Names of a run's tasks and of their states, once the server has all of them."""

        def states() -> dict[str, str] | None:
            found = self.ask("task_runs/filter", flow_runs={"id": {"any_": [run]}})
            if any(task["state"]["type"] in {"PENDING", "RUNNING"} for task in found):
                return None
            return {task["name"]: task["state"]["name"] for task in found}

        return dict(until(states, f"the tasks of run {run} end"))

    def logs(self, run: str) -> str:
        """All that a run has said."""
        found = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run]}})
        return "\n".join(line["message"] for line in found)

    def artifacts(self, run: str) -> dict[str, str]:
        """What a run left to look at, by key."""
        found = self.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
        return {artifact["key"]: artifact["data"] for artifact in found}


class Orchestra(Server):
    """`orchestrate` for a project, begun when it is first needed."""

    def __init__(self, toy: Toy) -> None:
        self.toy = toy
        self.port = free_port()
        super().__init__(f"http://{LOOPBACK}:{self.port}/api")
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, unless it runs; return when it has printed its URL."""
        if self.process and self.process.poll() is None:
            return
        before = said(self.toy).count(self.url) if self.process else 0
        words = ["orchestrate", "--port", str(self.port), "--home", HOME]
        self.process = process = start(self.toy, *words)
        until(
            lambda: said(self.toy).count(self.url) > before or process.poll() is not None,
            "orchestrate prints its URL",
        )
        assert process.poll() is None, said(self.toy)

    def end(self, number: int) -> int:
        """Send it a signal; return its status once nothing that it started is left."""
        assert self.process
        self.process.send_signal(number)
        status = self.process.wait(timeout=PATIENCE_S)
        until(lambda: not left(self.toy.folder), "everything has ended", 30)
        return status


def slowly(server: Server, toy: Toy) -> str:
    """Begin a run whose stage takes minutes; return its id while the stage sleeps."""
    toy.write("data/raw/slow", "300")
    run = server.trigger("train/manual")
    until(lambda: left(toy.folder, "stage.py"), "the stage runs")
    (toy.folder / "data/raw/slow").unlink()
    return run

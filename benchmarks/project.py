"""A throwaway copy of this project, in which its real commands run and are timed."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ruamel.yaml import YAML

from pipeline.console import say

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("tests/", "dvc.lock", "reports/metrics.json")  # what a first run would not have
IDENTITY = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org")
DVC_FOLDERS = ("GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR", "SITE_CACHE_DIR")
SETTINGS = ("DASK_", "DVC_", "GIT_", "PIPELINE_")  # of the user's, which would change the run
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of getrusage(2)
Result = TypeVar("Result")


class Views(NamedTuple):
    """What a stage said of its views; `speed` in views that ran a second, 0 without any.

    `alike` of those computed have the rows of others.
    """

    stored: int
    computed: int
    speed: float
    alike: int


class Done(NamedTuple):
    """A command that ended well.

    `peak_mb` is the resident memory of its largest process, in 10^6 bytes, but
    never less than `own_peak_mb()`, which Linux hands down to a child; `stages`
    holds the seconds of each stage that DVC ran, DVC's own work included.
    """

    seconds: float
    said: str
    peak_mb: float
    stages: dict[str, float]

    def views(self, stage: str) -> Views:
        """What the stage took from the store, and what it computed."""
        pattern = (
            rf"^{stage}: (\d+) views from the store, (\d+) computed(?: at ([\d.]+) views/s)?"
            r"(?:, (\d+) of them as others)?"
        )
        found = re.findall(pattern, self.said, re.MULTILINE)  # in each precision
        if not found:
            raise SystemExit(f"{stage} did not say what it computed:\n{self.said}")
        stored, computed, alike = (sum(int(one[at] or 0) for one in found) for at in (0, 1, 3))
        seconds = sum((int(one[1]) - int(one[3] or 0)) / float(one[2]) for one in found if one[2])
        return Views(stored, computed, (computed - alike) / seconds if seconds else 0, alike)


def own_peak_mb() -> float:
    """The largest resident memory that this process had, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT / 1e6


def run(words: list[str], folder: Path, environment: dict[str, str]) -> Done:
    """Run a command in a process group of its own, which dies with us.

    Raises:
        SystemExit: The command failed; the text is what it said.
    """
    started = time.monotonic()
    said: list[str] = []
    marks: list[tuple[float, str]] = []  # when DVC came to a stage, "" where it skips it
    with subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                said.append(line)
                if found := re.match(r"(Running stage|Stage) '(\w+)'", line):
                    marks.append((time.monotonic(), found[2] if found[1] != "Stage" else ""))
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.monotonic()
    if process.returncode:
        text = "".join(said)
        raise SystemExit(f"{shlex.join(words)} ended with {process.returncode}:\n{text}")
    ends = [*(when for when, _ in marks[1:]), ended]
    stages = {name: end - when for (when, name), end in zip(marks, ends, strict=False) if name}
    return Done(ended - started, "".join(said), usage.ru_maxrss * RSS_UNIT / 1e6, stages)


class Project:
    """This working tree without its tests, committed in a folder of its own.

    Nothing has been run there: the store beside it and DVC's cache are empty.
    """

    def __init__(self, room: Path) -> None:
        self.folder, self.store = room / "project", room / "store"
        self.raw = self.folder / "data/raw"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **{name: v for name, v in os.environ.items() if not name.startswith(SETTINGS)},
            **{f"DVC_{name}": str(room / "dvc") for name in DVC_FOLDERS},
            "PATH": path,
            "TMPDIR": str(room),
            "PIPELINE_STORE": str(self.store),
            "PYTHONUNBUFFERED": "1",  # a line is timed when it is written
        }
        for name in _files():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.folder / name)
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")
        self.run("git", *IDENTITY, "commit", "--quiet", "--no-gpg-sign", "--message", "Begin")

    def run(self, *words: str, **environment: str) -> Done:
        """Run a command of this environment in the project."""
        say(f"$ {shlex.join(words)}")
        return run(list(words), self.folder, {**self.environment, **environment})

    def repro(self, *stages: str) -> Done:
        """Let DVC run what is stale."""
        return self.run("dvc", "repro", *stages)

    def stage(self, name: str, **environment: str) -> Done:
        """Run one stage without DVC."""
        return self.run("python", "-m", "pipeline", name, **environment)

    def set(self, section: str, **values: object) -> None:
        """Change some keys of params.yaml; everything else stays as it is written."""
        yaml, file = YAML(), self.folder / "params.yaml"
        document = yaml.load(file)
        document[section].update(values)
        yaml.dump(document, file)

    def learn_in_bfloat16(self) -> None:
        """Set what makes a run use it wherever it may."""
        self.set("extract", precision="bfloat16")
        self.set("fine_tune", precision="bfloat16")

    def scores(self) -> dict[str, dict[str, float]]:
        """The figures that `evaluate` wrote."""
        document: dict[str, dict[str, float]] = json.loads(
            (self.folder / "reports/metrics.json").read_text()
        )
        return document


@contextmanager
def throwaway(parent: Path | None) -> Iterator[Project]:
    """A project for the duration, in `parent` or where temporary files go.

    Being terminated ends what runs in it, as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=parent) as room:
        yield Project(Path(room).resolve())


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a process of its own, with which TensorFlow's threads and memory end."""
    spawn = get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as room,
        ProcessPoolExecutor(1, spawn, initializer=_litter, initargs=(room,)) as pool,
    ):
        return pool.submit(function, *arguments).result()


def require(law: bool, words: str, said: str = "") -> None:
    """End the benchmark where what it measures is not what it says.

    Raises:
        SystemExit: The law does not hold.
    """
    if not law:
        raise SystemExit(f"{words} does not hold\n{said}".rstrip())


def _litter(room: str) -> None:
    """Put temporary files there: a pool's process ends without removing its own."""
    tempfile.tempdir = room


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return [name for name in listed if not name.startswith(LEFT_OUT) and (ROOT / name).is_file()]

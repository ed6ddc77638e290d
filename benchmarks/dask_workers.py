"""The same `extract` on one Dask worker and on two, one thread and one core each.

A scheduler on loopback; no store, so that every run computes every row.  Each
number of workers runs twice, and the second run, when all have built the
network, is the one that counts.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from benchmarks import report
from benchmarks.project import Done, Project, require, throwaway

FEATURES = "data/features/features.npy"
JOIN_S = 120  # for workers to start


def main(words: Sequence[str] | None = None) -> int:
    """Run extract here, then on each number of workers."""
    options = report.parser("dask_workers", __doc__)
    options.add_argument("--images", type=int, help="of the demonstration's (default: all)")
    chosen = report.parse(options, words)
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        for stage in ("sample", "ingest", "split", "augment"):
            project.stage(stage)
        here = project.stage("extract", PIPELINE_STORE="off")
        bytes_here = digest(project)
        seconds: dict[int, float] = {}
        for count in (1, 2):
            with cluster(project, count) as address:
                for _ in range(2):
                    (project.folder / FEATURES).unlink()
                    done = extract(project, address)
                    same = f"features of {count} workers have the bytes of a local run's"
                    require(digest(project) == bytes_here, same, done.said)
            seconds[count] = rows_seconds(done)
    views = here.views("extract").computed
    local = rows_seconds(here)
    rows = [("this machine, all cores, compiling included", local, views / local)]
    rows += [(f"workers: {count}", taken, views / taken) for count, taken in seconds.items()]
    report.write(
        chosen,
        f"{views} views. **Two workers are {seconds[1] / seconds[2]:.2f} times as fast as one**, "
        "and the features are the same bytes as without a cluster. Seconds are those of the "
        "rows, from the first file sent to the last row received; the stage itself, which "
        "reads files and writes rows, and the scheduler share the processor with the workers.",
        report.table(("extract on", "seconds", "views/s"), rows),
    )
    return 0


def extract(project: Project, address: str) -> Done:
    """Run the stage on a cluster."""
    return project.stage("extract", PIPELINE_STORE="off", DASK_SCHEDULER_ADDRESS=address)


def rows_seconds(done: Done) -> float:
    """What the rows took, without starting the stage."""
    found = done.views("extract")
    return (found.computed - found.alike) / found.speed


def digest(project: Project) -> str:
    """SHA-256 of the features."""
    return sha256((project.folder / FEATURES).read_bytes()).hexdigest()


@contextmanager
def cluster(project: Project, count: int) -> Iterator[str]:
    """A scheduler and so many workers, all joined; its address.

    Raises:
        SystemExit: A worker did not join.
    """
    from distributed import Client  # noqa: PLC0415

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    processes = [dask(project, "scheduler", "--port", port)]
    try:
        for number in range(count):
            folder = project.folder.with_name(f"worker {number}")
            options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
            processes.append(dask(project, "worker", address, *options))
            pin(processes[-1].pid, number)
        deadline = time.monotonic() + JOIN_S
        with Client(address, timeout=JOIN_S) as client:
            while len(client.nthreads()) < count:
                alive = all(process.poll() is None for process in processes)
                require(alive and time.monotonic() < deadline, f"{count} workers join")
                time.sleep(0.1)
        yield address
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def dask(project: Project, *words: str) -> subprocess.Popen[bytes]:
    """Start a part of the cluster as the README does."""
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"],
        cwd=project.folder,
        env={**project.environment, "PYTHONPATH": ".", "PIPELINE_STORE": "off"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def pin(process: int, number: int) -> None:
    """Keep a process that has just started to one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(process, {cores[number % len(cores)]})


if __name__ == "__main__":
    raise SystemExit(main())

"""A process that does one thing to many items, and may die of any of them."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import CDLL, c_int64
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NamedTuple

CHUNK_S = 0.05  # so long a worker works before it reports
AT_MOST_S = 2 * CHUNK_S  # later it begins no item before it has reported
END_S = 5.0  # for a process to end once it has closed its pipe
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES = 2**28  # of freed memory at the heap's end
MMAP_MOST = 2**25  # that older releases of glibc allow as M_MMAP_THRESHOLD


class Died(NamedTuple):
    """Stands for the result of an item that two processes have died of.

    `overdue` says that it took too long, `detail` how the process ended.
    """

    overdue: bool
    detail: str


class Duty(NamedTuple):
    """What a worker does to every item, and what it may take for it.

    `together` is done to the results of several items at once.
    `timeout_s` is of the processor's time, which a busy machine does not stretch;
    `stall_s` of the clock's, for an item that waits for what does not come.  An
    item may take up to `AT_MOST_S` longer, as the items before it took less.
    """

    function: Callable[[Any], Any]
    together: Callable[[list[Any]], list[Any]]
    timeout_s: float
    stall_s: float
    memory_bytes: int | None


class Task(NamedTuple):
    """An item and its place in the order."""

    rank: int
    item: Any


class Chunk(NamedTuple):
    """Tasks that a worker is given together, and `message`, their items as they are sent."""

    tasks: list[Task]
    message: memoryview

    @classmethod
    def of(cls, tasks: list[Task]) -> Chunk:
        """Make some tasks ready to be sent."""
        return cls(tasks, ForkingPickler.dumps([task.item for task in tasks]))


class Worker:
    """A process, and the tasks that it works on."""

    def __init__(self, context: Any, duty: Duty) -> None:
        self.connection, theirs = context.Pipe()
        self.at = context.RawValue(c_int64, -1)  # the place in the chunk of the task under way
        self.tasks: list[Task] = []
        self.finished = 0
        self.ended = False
        self.duty = duty
        self.process = context.Process(target=work, args=(theirs, self.at, duty), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, chunk: Chunk) -> None:
        """Send a chunk; a process that has ended shows that when it is waited for."""
        self.tasks = chunk.tasks
        self.at.value = -1
        with suppress(OSError):
            self.connection.send_bytes(chunk.message)

    def receive(self) -> tuple[list[Any], float] | None:
        """The results of the chunk, or of its beginning, and its seconds; None: it has died.

        Raises:
            Exception: What the function raised.
        """
        try:
            results, seconds, error = self.connection.recv()
        except (EOFError, OSError):
            return None
        if error is not None:
            raise error
        self.finished += len(results)
        return results, seconds

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.ended = True

    def bury(self) -> Died:
        """Wait for the process to end, not for long, and say how it did."""
        self.process.join(END_S)
        self.kill()
        code = self.process.exitcode
        if code == -signal.SIGPROF:
            return Died(True, f"took more than {self.duty.timeout_s:g} s of processor time")
        if code == -signal.SIGALRM:
            return Died(True, f"took longer than {self.duty.stall_s:g} s")
        return Died(False, f"its process ended with {_in_words(code)}")


def waited_for(workers: Sequence[Worker]) -> list[Worker]:
    """Those of some workers that have something to say or have died, as soon as one has."""
    by_connection = {worker.connection: worker for worker in workers}
    return [by_connection[found] for found in wait([*by_connection])] if workers else []


def work(connection: Connection, at: Any, duty: Duty) -> None:
    """What a worker does until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who waits for the results ends this process
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(duty.memory_bytes)
    _keep_memory()
    _silence_native_code()
    with suppress(EOFError, OSError):
        while True:
            report = _do(connection.recv(), at, duty)
            try:
                connection.send(report)
            except (AttributeError, TypeError, ValueError) as error:  # no way to send it
                connection.send(([], 0.0, TypeError(str(error))))


def _do(items: Sequence[Any], at: Any, duty: Duty) -> tuple[list[Any], float, Exception | None]:
    """Results, the seconds they took, and what was raised; items that come too late are left."""
    results: list[Any] = []
    started = time.monotonic()
    seconds = 0.0
    # they end the process, in a decoder's loop too, and when nobody is left to do it; once for all
    # of a chunk, as two calls of the system for each of its items would take a twentieth as long
    signal.setitimer(signal.ITIMER_PROF, AT_MOST_S + duty.timeout_s)
    signal.setitimer(signal.ITIMER_REAL, AT_MOST_S + duty.stall_s)
    try:
        for place, item in enumerate(items):
            at.value = place
            results.append(duty.function(item))
            seconds = time.monotonic() - started
            if seconds > AT_MOST_S:
                break
        results = duty.together(results)
    except Exception as error:  # noqa: BLE001  # it is raised where the results are wanted
        error.add_note(f"in a process of its own:\n{traceback.format_exc()}")
        return results, seconds, error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return results, seconds, None


def _silence_native_code() -> None:
    """What C libraries write on stderr names no item; Python's own words still get there."""
    ours = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(ours, "w", buffering=1)


def _limit_memory(more: int | None) -> None:
    """Refuse this process more private memory than so many bytes beyond what it has."""
    held = Path("/proc/self/statm")
    if more is None or not held.exists():
        return
    data = int(held.read_text().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = min(data + more, sys.maxsize)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _keep_memory() -> None:
    """Let memory that is freed stay with this process: every picture needs as much again.

    glibc would give it back and ask for it anew, page by page, which takes
    longer than to decode a photo.
    """
    with suppress(AttributeError):  # other systems' libraries have no mallopt
        mallopt = CDLL(None).mallopt
        if mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) or mallopt(M_MMAP_THRESHOLD, MMAP_MOST):
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)  # alone it would make things worse


def _in_words(code: int) -> str:
    if code >= 0:
        return f"status {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"

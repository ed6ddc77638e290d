"""Call a function in processes that may crash, hang or outgrow their memory.

A native decoder of untrusted files can do all three.  Whatever it does to its
process, every other item gets its result, and the one at fault is named.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ctypes import c_int64
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK_S = 0.2  # so long a worker works before it reports
MAX_WAITING = 16_384  # items whose results are not yielded yet
LIFETIME = 20_000  # items, after which a worker is replaced, leaks and all
STALL = 10  # of timeouts by the clock: nothing but waiting takes so long, even on a busy machine
MAX_STILLBORN = 3  # workers in a row that end before they begin an item
END_S = 5.0  # for a process to end once it has closed its pipe
METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"


class Died(NamedTuple):
    """Stands for the result of an item that two processes have died of.

    `overdue` says that it took too long, `detail` how the process ended.
    """

    overdue: bool
    detail: str


class Duty(NamedTuple):
    """What a worker does to every item, and what it may take for it.

    `timeout_s` is of the processor's time, which a busy machine does not stretch;
    `stall_s` of the clock's, for an item that waits for what does not come.
    """

    function: Callable[[Any], Any]
    timeout_s: float
    stall_s: float
    memory_bytes: int | None


class Task(NamedTuple):
    """An item and its place in the order."""

    rank: int
    item: Any


def map_isolated(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    timeout_s: float,
    memory_bytes: int | None = None,
    processes: int | None = None,
    preload: Sequence[str] = (),
) -> Iterator[Result | Died]:
    """Call `function` in processes and yield its results in order.

    An item is named by `Died` when two processes have died while they worked on
    it, the second with nothing before it: a process also dies of what an earlier
    item did to its memory, or because somebody ended it.  Items that are lost
    with a process are done again, so `function` must have no effect but its
    result.  The number of items held at any time is bounded.  However the
    iterator ends, it leaves no process at work.

    Args:
        function: A module's own, or a partial of one: it is sent to processes,
            as are items and results.
        timeout_s: An item that takes more of the processor's time is taken to hang, or
            `STALL` times as long by the clock.
        memory_bytes: What a process may take beyond what it starts with; the
            system refuses it more, which raises MemoryError.  Linux only.
        processes: None: one for each processor.
        preload: Modules that `function` needs, imported once for all processes.

    Raises:
        Exception: What `function` raised.
        RuntimeError: Processes end before they begin to work.
    """
    context = get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload([*preload])
    count = processes or os.cpu_count() or 1
    duty, tasks = Duty(function, timeout_s, STALL * timeout_s, memory_bytes), Tasks(items, count)
    workers: list[Worker] = []
    stillborn = 0
    try:
        while True:
            hand_out(tasks, workers)
            while len(workers) < count:
                if not (chunk := tasks.take_suspect() or tasks.take()):
                    break
                workers.append(Worker(context, duty))
                workers[-1].give(chunk)
            yield from tasks.ready()
            if tasks.over:
                return
            for worker in waited_for([w for w in workers if w.chunk]):
                stillborn = stillborn + 1 if settle(tasks, worker) else 0
                if stillborn == MAX_STILLBORN:
                    raise RuntimeError(f"{stillborn} workers did not start")
            workers = [worker for worker in workers if not worker.ended]
    finally:
        for worker in workers:
            worker.kill()


def hand_out(tasks: Tasks, workers: list[Worker]) -> None:
    """Give every idle worker a chunk, and end those that have done enough."""
    for worker in [w for w in workers if not w.chunk]:
        if worker.finished < LIFETIME:
            worker.give(tasks.take())
        else:
            worker.kill()
            workers.remove(worker)


def settle(tasks: Tasks, worker: Worker) -> bool:
    """Take what a worker has to say, or its death; return whether it never began to work."""
    report = worker.receive()
    if report is not None:
        tasks.finish(worker.chunk, report)
        worker.chunk = []
        return False
    tasks.lose(worker.chunk, worker.at.value, worker.bury())
    return not worker.finished and worker.at.value < 0


class Tasks:
    """What is to be done, what is to be done again, and what waits for its turn."""

    def __init__(self, items: Iterable[Item], workers: int) -> None:
        self.largest = max(1, MAX_WAITING // (4 * workers))  # chunk; none takes all that may wait
        self.source = iter(enumerate(items))
        self.again: deque[Task] = deque()
        self.suspects: deque[Task] = deque()  # a process died of them once
        self.suspected: set[int] = set()
        self.done: dict[int, Any] = {}
        self.taken = self.yielded = 0
        self.exhausted = False
        self.size = 1  # of the next chunk

    @property
    def over(self) -> bool:
        """Whether every result has been yielded."""
        return self.exhausted and self.yielded == self.taken

    def take(self) -> list[Task]:
        """The next tasks, as many as a worker does in CHUNK_S; none when too many wait."""
        chunk: list[Task] = []
        while self.again and len(chunk) < self.size:
            chunk.append(self.again.popleft())
        while len(chunk) < self.size and not self.exhausted:
            if self.taken - self.yielded >= MAX_WAITING:
                break
            task = next(self.source, None)
            if task is None:
                self.exhausted = True
                break
            chunk.append(Task(*task))
            self.taken += 1
        return chunk

    def take_suspect(self) -> list[Task]:
        """One task for a new worker, which will die of nothing else."""
        return [self.suspects.popleft()] if self.suspects else []

    def finish(self, chunk: Sequence[Task], report: tuple[list[Any], float]) -> None:
        """Keep what a worker has done of a chunk, in so many seconds; the rest comes again."""
        results, seconds = report
        self.done |= zip((task.rank for task in chunk), results, strict=False)
        self.again.extendleft(reversed(chunk[len(results) :]))
        fitting = int(CHUNK_S * len(results) / max(seconds, 1e-6))
        self.size = max(1, min(fitting, 2 * self.size, self.largest))

    def lose(self, chunk: Sequence[Task], at: int, died: Died) -> None:
        """Take back the chunk of a worker that has died at one of its tasks, -1: at none."""
        for place, task in enumerate(chunk):
            if place != at:
                self.again.append(task)
            elif task.rank in self.suspected:
                self.done[task.rank] = died
            else:
                self.suspected.add(task.rank)
                self.suspects.append(task)

    def ready(self) -> Iterator[Any]:
        """The results whose turn it is."""
        while self.yielded in self.done:
            self.yielded += 1
            yield self.done.pop(self.yielded - 1)


class Worker:
    """A process, and the chunk of tasks that it works on."""

    def __init__(self, context: Any, duty: Duty) -> None:
        self.connection, theirs = context.Pipe()
        self.at = context.RawValue(c_int64, -1)  # the place in the chunk of the task under way
        self.chunk: list[Task] = []
        self.finished = 0
        self.ended = False
        self.duty = duty
        self.process = context.Process(target=work, args=(theirs, self.at, duty), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, chunk: list[Task]) -> None:
        """Send a chunk; a process that has ended shows that when it is waited for."""
        self.chunk = chunk
        self.at.value = -1
        if chunk:
            with suppress(OSError):
                self.connection.send([task.item for task in chunk])

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
    try:
        for place, item in enumerate(items):
            at.value = place
            # they end the process, in a decoder's loop too, and when nobody is left to do it
            signal.setitimer(signal.ITIMER_PROF, duty.timeout_s)
            signal.setitimer(signal.ITIMER_REAL, duty.stall_s)
            results.append(duty.function(item))
            seconds = time.monotonic() - started
            if seconds > 2 * CHUNK_S:
                break
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
    wanted = data + more
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _in_words(code: int) -> str:
    if code >= 0:
        return f"status {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"

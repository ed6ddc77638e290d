"""Call a function in processes that may crash, hang or outgrow their memory.

A native decoder of untrusted files can do all three.  Whatever it does to its
process, every other item gets its result, and the one at fault is named.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import forkserver, get_all_start_methods, get_context, resource_tracker
from typing import Any, TypeVar

from pipeline.images.cores import cores
from pipeline.images.worker import CHUNK_S, Chunk, Died, Duty, Task, Worker, waited_for

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WAITING = 16_384  # items whose results are not yielded yet
CHUNK_BYTES = 64_000_000  # of items that are bytes, in a chunk
LIFETIME = 20_000  # items, after which a worker is replaced, leaks and all
STALL = 10  # of timeouts by the clock: nothing but waiting takes so long, even on a busy machine
MAX_STILLBORN = 3  # workers in a row that end before they begin an item
METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"


def map_isolated(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    together: Callable[[list[Any]], list[Any]] = list,
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
        together: Turns the results of some items, in their order, into as many
            others, for what is done faster to several.
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
        _start_server()
    count = processes or cores()
    duty = Duty(function, together, timeout_s, STALL * timeout_s, memory_bytes)
    tasks = Tasks(items, count)
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
            tasks.prepare()
            for worker in waited_for([w for w in workers if w.tasks]):
                stillborn = stillborn + 1 if settle(tasks, worker) else 0
                if stillborn == MAX_STILLBORN:
                    raise RuntimeError(f"{stillborn} workers did not start")
            workers = [worker for worker in workers if not worker.ended]
    finally:
        for worker in workers:
            worker.kill()


def _start_server() -> None:
    """Start what forks processes, deaf to an interrupt: one that imports yet would tell of it."""
    resource_tracker.ensure_running()  # which would unblock it
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)


def hand_out(tasks: Tasks, workers: list[Worker]) -> None:
    """Give every idle worker a chunk, and end those that have done enough."""
    for worker in [w for w in workers if not w.tasks]:
        if worker.finished >= LIFETIME:
            worker.kill()
            workers.remove(worker)
        elif chunk := tasks.take():
            worker.give(chunk)


def settle(tasks: Tasks, worker: Worker) -> bool:
    """Take what a worker has to say, or its death; return whether it never began to work."""
    report = worker.receive()
    if report is not None:
        tasks.finish(worker.tasks, report)
        worker.tasks = []
        return False
    tasks.lose(worker.tasks, worker.at.value, worker.bury())
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
        self.prepared: Chunk | None = None

    @property
    def over(self) -> bool:
        """Whether every result has been yielded."""
        return self.exhausted and self.yielded == self.taken

    def prepare(self) -> None:
        """Have the next chunk ready, so that no worker waits for it to be made."""
        if not self.prepared and (tasks := self._next()):
            self.prepared = Chunk.of(tasks)

    def take(self) -> Chunk | None:
        """The next tasks, as many as a worker does in CHUNK_S; none when too many wait."""
        self.prepare()
        chunk, self.prepared = self.prepared, None
        return chunk

    def _next(self) -> list[Task]:
        chunk: list[Task] = []
        size = 0
        while len(chunk) < self.size and size < CHUNK_BYTES:
            if self.again:
                task = self.again.popleft()
            elif self.exhausted or self.taken - self.yielded >= MAX_WAITING:
                break
            elif (fresh := next(self.source, None)) is None:
                self.exhausted = True
                break
            else:
                task = Task(*fresh)
                self.taken += 1
            chunk.append(task)
            size += len(task.item) if isinstance(task.item, bytes) else 0
        return chunk

    def take_suspect(self) -> Chunk | None:
        """One task for a new worker, which will die of nothing else."""
        return Chunk.of([self.suspects.popleft()]) if self.suspects else None

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

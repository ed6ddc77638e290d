"""Leash: run a command that ends, with all that it started, when whoever holds the leash ends.

DVC does not end its stages when it is killed, nor Prefect a server that it
started.  The holder keeps the other end of this process' stdin open; closing
it, or being killed, is the signal.  A stage that DVC started looks itself
whether DVC is still there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

GRACE_S = 10.0  # between SIGTERM and SIGKILL
STAGE = "DVC_STAGE"  # in the environment of what DVC starts
LOOK_S = 0.2  # a DVC that is started takes longer to reach a stage
kept_open: set[int] = set()  # descriptors, of locks: whoever keeps the leash holds them too


@contextmanager
def leashed(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a process group of its own; none outlives a block left early.

    Args:
        folder: The command's working directory.
        environment: Beside, or instead of, what this process has.
        options: Of `subprocess.Popen`, such as where stdout goes.
    """
    with subprocess.Popen(
        [sys.executable, "-I", __file__, *command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=tuple(kept_open),
        text=True,
        errors="replace",
        **options,
    ) as process:
        try:
            yield process
        finally:
            if process.stdin:
                process.stdin.close()
            process.wait()


def take_interrupts() -> None:
    """Raise KeyboardInterrupt at SIGTERM, too, and where whoever started this has it ignored."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def end_with_dvc() -> None:
    """Let this stage end as soon as the DVC that started it has, if one did.

    DVC does not end its stages when it is killed; one that lived on would
    replace the outs of the next run by its own.
    """
    if STAGE in os.environ:
        threading.Thread(target=_end_with_starter, daemon=True).start()


def _end_with_starter() -> None:
    import psutil  # noqa: PLC0415

    with suppress(psutil.Error):  # it ends while it is looked at
        starter = psutil.Process().parent()
        while starter and _is_shell_between(starter):
            starter = starter.parent()
        if not starter:  # it is in a place of its own, as a container is
            return
        while starter.is_running() and starter.status() != psutil.STATUS_ZOMBIE:
            time.sleep(LOOK_S)
    with suppress(OSError, ValueError):  # the terminal may have gone with it
        print(f"{os.environ[STAGE]}: DVC has ended; so does its stage", file=sys.stderr)  # noqa: T201
    os._exit(1)


def _is_shell_between(process: Any) -> bool:
    """Whether a process is the shell by which DVC starts a stage; most make way for it."""
    words = process.cmdline()
    return words[-2:-1] == ["-c"] and " -m pipeline " in words[-1]


def run(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; it has no stdin, and does not outlive this process."""
    return run_all([command], folder, environment)[0]


def run_all(
    commands: Sequence[list[str]], folder: Path, environment: Mapping[str, str]
) -> list[subprocess.CompletedProcess[bytes]]:
    """Run commands side by side as `run` does one, without threads: these no signal ends."""
    from tempfile import TemporaryFile  # noqa: PLC0415  # the leash itself starts sooner without

    with ExitStack() as stack:
        started = []
        for command in commands:
            out, err = (stack.enter_context(TemporaryFile()) for _ in range(2))  # a pipe may fill
            child = leashed(command, folder, environment, stdout=out, stderr=err)
            started.append((stack.enter_context(child), out, err))
        done = []
        for command, (process, out, err) in zip(commands, started, strict=True):
            status = process.wait()
            out.seek(0)
            err.seek(0)
            done.append(subprocess.CompletedProcess(command, status, out.read(), err.read()))
        return done


def main(command: list[str]) -> int:
    """Run `command`, and end everything below it at the end of stdin."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # the group is told; this process outlives it
    signal.signal(signal.SIGINT, lambda *_: None)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    ending = threading.Event()
    watch = threading.Thread(target=_end_with_stdin, args=(ending,), daemon=True)
    watch.start()
    status = process.wait()
    if ending.is_set():
        watch.join()  # to the end of the whole group, this process included
    if status < 0:  # what it started may live on
        _end_children()
    return status if status >= 0 else 128 - status


def _end_with_stdin(ending: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    ending.set()
    _end_children()
    os.killpg(0, signal.SIGKILL)


def _end_children() -> None:
    import psutil  # noqa: PLC0415

    # parents first: one that saw its child end would begin to write, and be killed at that
    below = [*dict.fromkeys([*psutil.Process().children(recursive=True), *_orphans()])]
    for process in below:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(below, timeout=GRACE_S)
    for process in alive:
        _signal(process.kill)


def _orphans() -> Iterator[Any]:
    """Processes of this session whose parent may have ended before them."""
    import psutil  # noqa: PLC0415

    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if process.pid != os.getpid() and os.getsid(process.pid) == os.getsid(0):
                yield process


def _signal(send: Any) -> None:
    import psutil  # noqa: PLC0415

    with suppress(psutil.Error):  # it has ended, or is another user's by now
        send()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

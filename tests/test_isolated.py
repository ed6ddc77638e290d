"""Whatever an item does to its process, the others get their results and it is named."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from pipeline.images import isolated
from pipeline.images.isolated import Tasks, map_isolated
from pipeline.images.worker import Died
from tests.conftest import ROOT
from tests.hazards import Unstartable, numbered, obey, page_faults, pid, square

HARMLESS = [("echo", number) for number in range(30)]


def ask(items, *, timeout_s=60.0, **options):
    return list(map_isolated(obey, items, timeout_s=timeout_s, **options))


def among_others(*hazards):
    """Some items in the midst of harmless ones, and what is found for them alone."""
    found = ask([*HARMLESS, *hazards, *HARMLESS], timeout_s=2, processes=2)
    others = [*range(30), *range(30)]
    assert [*found[:30], *found[30 + len(hazards) :]] == others
    return found[30 : 30 + len(hazards)]


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_results_come_in_order(count, processes):
    found = list(map_isolated(square, range(count), timeout_s=60, processes=processes))

    assert found == [n * n for n in range(count)]


def test_results_are_taken_together_and_those_of_the_dead_are_left_out():
    items = [*HARMLESS, ("exit", 3), *HARMLESS]

    found = ask(items, together=numbered, processes=2)

    assert found.pop(30) == Died(False, "its process ended with status 3")
    assert [value for value, _ in found] == [*range(30), *range(30)]
    assert max(place for _, place in found) > 0  # of a chunk


@pytest.mark.parametrize(
    ("hazard", "died"),
    [
        (("segfault", 0), Died(False, "its process ended with SIGSEGV")),
        (("exit", 3), Died(False, "its process ended with status 3")),
        (("hang", 0), Died(True, "took more than 2 s of processor time")),
        (("sleep", 1000), Died(True, "took longer than 5 s")),
    ],
)
def test_an_item_that_ends_its_process_is_named_and_no_other(monkeypatch, hazard, died):
    # a busy machine stretches the clock: only who waits is to be ended by it
    monkeypatch.setattr(isolated, "STALL", 2.5 if hazard[0] == "sleep" else 500)

    assert among_others(hazard) == [died]


def test_many_such_items_in_a_row_are_all_named():
    assert among_others(*[("exit", n) for n in range(1, 9)]) == [
        Died(False, f"its process ended with status {n}") for n in range(1, 9)
    ]


def test_a_process_that_dies_of_an_earlier_item_blames_nobody():
    assert among_others(("poison", 1), ("echo", 2), ("poison", 3)) == [1, 2, 3]


def test_a_process_that_somebody_ends_costs_no_item(tmp_path):
    marker = str(tmp_path / "died")

    assert among_others(("die once", marker)) == [marker]
    assert os.path.exists(marker)  # noqa: PTH110


@pytest.mark.skipif(sys.platform != "linux", reason="no other system refuses memory")
def test_memory_beyond_the_limit_is_refused():
    items = [("allocate", 10**8), ("allocate", 10**9), ("allocate", 10**8)]

    assert ask(items, memory_bytes=5 * 10**8) == [10**8, "refused", 10**8]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep memory or cannot")
def test_memory_that_is_freed_is_used_again():
    """A photo's worth of pages, asked for anew for each, takes longer than to decode it."""
    first, *others = map_isolated(page_faults, [5_000_000] * 20, timeout_s=60, processes=1)

    assert max(others) < first / 10


def test_more_memory_than_there_can_be_is_no_limit():
    assert ask([("echo", 1)], memory_bytes=10**40) == [1]


def test_an_exception_reaches_the_caller_with_where_it_was_raised():
    with pytest.raises(ZeroDivisionError, match="17") as caught:
        ask([*HARMLESS, ("raise", 17)])

    assert "in obey" in caught.value.__notes__[0]
    assert not multiprocessing.active_children()


def test_a_result_that_cannot_be_sent_is_an_error():
    with pytest.raises(TypeError, match="pickle"):
        ask([("unsendable", 0)])


def test_workers_that_cannot_start_are_an_error():
    with pytest.raises(RuntimeError, match="3 workers did not start"):
        list(map_isolated(Unstartable(), range(5), timeout_s=60, processes=2))


def test_few_items_wait_at_any_time(monkeypatch):
    """The first takes long, and memory does not grow with what could be done meanwhile."""
    monkeypatch.setattr(isolated, "MAX_WAITING", 100)
    taken = []

    def items():
        for item in [("sleep", 1), *[("echo", n) for n in range(3000)]]:
            taken.append(item)
            yield item

    found = map_isolated(obey, items(), timeout_s=60, processes=2)

    assert next(found) == 1
    assert len(taken) <= 100
    assert list(found) == list(range(3000))


def test_workers_are_replaced_in_time(monkeypatch):
    monkeypatch.setattr(isolated, "LIFETIME", 20)

    found = list(map_isolated(pid, range(300), timeout_s=60, processes=1))

    assert 1 < len(set(found)) < 30


def test_who_stops_early_leaves_no_process():
    found = map_isolated(obey, [("echo", 1), ("hang", 0), ("hang", 1)], timeout_s=60, processes=2)
    assert next(found) == 1

    found.close()

    assert not multiprocessing.active_children()


SCRIPT = """
import signal
from pipeline.images.isolated import map_isolated
from tests.hazards import obey
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a script's background
    items = [(what, "ready") for what in {deeds}]
    for result in map_isolated(obey, items, timeout_s=2, processes=2):
        print(result, flush=True)
"""


def start(folder, *deeds: str) -> subprocess.Popen:
    """Let a process of its own ask for some deeds."""
    (folder / "script.py").write_text(SCRIPT.format(deeds=deeds))
    return subprocess.Popen(
        [sys.executable, folder / "script.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_what_native_code_writes_on_stderr_is_not_shown(tmp_path):
    said, complaint = start(tmp_path, "speak").communicate(timeout=60)

    assert (said, complaint) == ("ready\n", "Python: ready\n")


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_ended(tmp_path, how):
    """Ctrl-C reaches the whole group, the others the first process alone."""
    process = start(tmp_path, "echo", "hang", "hang")
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)

    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)

    said, complaint = process.communicate(timeout=60)
    assert said == ""
    assert complaint.count("Traceback") == (how == signal.SIGINT)
    deadline = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(process.pid)


def test_a_chunk_of_bytes_is_no_larger_than_memory_can_hold():
    """Small items let chunks grow; large ones may come after them."""
    tasks = Tasks((bytes(1_000_000) for _ in range(500)), 2)
    tasks.size = 400

    taken = [len(tasks.take().tasks) for _ in range(8)]

    assert taken == [64] * 7 + [52]


def test_an_interrupt_while_processes_start_is_told_once(tmp_path):
    """Ctrl-C reaches what imports for all processes, too, and it has nothing to say of it."""
    (tmp_path / "interrupting.py").write_text(
        "import os, signal, time; os.killpg(0, signal.SIGINT); time.sleep(0.5)"
    )
    (tmp_path / "script.py").write_text(
        "from pipeline.images.isolated import map_isolated\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        list(map_isolated(len, ['a'], timeout_s=9, preload=['interrupting']))\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )

    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )

    assert (done.stdout, done.stderr) == ("interrupted\n", "")

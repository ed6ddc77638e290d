"""No process outlives whoever holds its leash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.errors import InputError
from pipeline.flows.alone import alone
from pipeline.programs import leash
from pipeline.programs.leash import GRACE_S, leashed
from tests.conftest import ROOT
from tests.orchestra import MARK, left, marked, until

FAMILY = ["sh", "-c", "sleep 600 & sh -c 'sleep 601; true' & wait"]
ORPHANS = ["sh", "-c", "sleep 600 & kill -9 $$"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(602)",
]
HOLDER = f"""
import time
from pathlib import Path
from pipeline.programs.leash import leashed
with leashed({FAMILY!r}, Path()):
    time.sleep(600)
"""


def family(folder) -> bool:
    return len(left(folder, "sleep 60")) >= 3  # two that sleep, a shell that waits for one


def test_children_and_grandchildren_end_with_the_block(tmp_path):
    with leashed(FAMILY, tmp_path, {MARK: str(tmp_path)}):
        until(lambda: family(tmp_path), "all have started")

    assert left(tmp_path) == []


def test_children_and_grandchildren_end_with_a_killed_holder(tmp_path):
    around = marked(tmp_path, PYTHONPATH=str(ROOT))
    with subprocess.Popen([sys.executable, "-c", HOLDER], cwd=tmp_path, env=around) as holder:
        until(lambda: family(tmp_path), "all have started")
        holder.kill()

    until(lambda: not left(tmp_path), "all have ended", GRACE_S + 20)


def test_ctrl_c_ends_several_that_run_side_by_side(tmp_path):
    """Threads that wait for them would go on doing so."""
    code = (
        "import os; from pathlib import Path;"
        "from pipeline.programs.leash import run_all, take_interrupts; take_interrupts();"
        f"run_all([{FAMILY!r}, {FAMILY!r}], Path(), os.environ)"
    )
    around = marked(tmp_path, PYTHONPATH=str(ROOT))
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=around, stderr=subprocess.DEVNULL
    ) as holder:
        until(lambda: len(left(tmp_path, "sleep 60")) >= 6, "all have started")
        holder.send_signal(signal.SIGINT)

        assert holder.wait(timeout=GRACE_S + 20) != 0

    until(lambda: not left(tmp_path), "all have ended", GRACE_S + 20)


def test_what_runs_side_by_side_is_told_apart(tmp_path):
    codes = [f"import sys; print({n}); sys.exit({n})" for n in (3, 0, 2)]

    done = leash.run_all([[sys.executable, "-c", code] for code in codes], tmp_path, {})

    assert [(one.returncode, one.stdout.strip()) for one in done] == [
        (3, b"3"),
        (0, b"0"),
        (2, b"2"),
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 128 + signal.SIGKILL)],
)
def test_the_exit_status_is_handed_on(tmp_path, code, status):
    with leashed([sys.executable, "-c", code], tmp_path) as process:
        assert process.wait(timeout=60) == status


def test_a_killed_child_leaves_none_of_its_own(tmp_path):
    with leashed(ORPHANS, tmp_path, {MARK: str(tmp_path)}) as process:
        assert process.wait(timeout=60) == 128 + signal.SIGKILL

    assert left(tmp_path) == []


def test_whoever_ignores_the_signal_is_killed_after_the_grace(tmp_path):
    with leashed(STUBBORN, tmp_path, {MARK: str(tmp_path)}):
        until(lambda: len(left(tmp_path, "sleep(602)")) == 2, "it and its leash have started")
        time.sleep(1)  # for its first statement
        began = time.monotonic()

    assert GRACE_S - 1 < time.monotonic() - began < GRACE_S + 30
    assert left(tmp_path) == []


@pytest.mark.slow
def test_a_stubborn_grandchild_ends_though_the_child_ended_well(tmp_path):
    """A shell that ends with status 0 at SIGTERM leaves what ignores it to the leash."""
    stubborn = "(trap '' TERM; echo $$ ready; sleep 600) &"
    with leashed(["sh", "-c", f"trap 'exit 0' TERM; {stubborn} wait"], tmp_path) as process:
        time.sleep(1)
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 2

    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive


def test_a_parent_does_not_live_to_see_its_child_end(tmp_path):
    """DVC that learns that its stage has ended writes, and would be killed while it does."""
    wrote = tmp_path / "wrote"
    parent = f"""
import os, subprocess
children = [subprocess.Popen(["sleep", "603"]) for _ in range(40)]
os.wait()
os.mkdir({str(wrote)!r})
"""
    with leashed([sys.executable, "-c", parent], tmp_path, {MARK: str(tmp_path)}):
        until(lambda: len(left(tmp_path, "sleep 603")) == 40, "its children have started")

    assert not wrote.exists()


def test_a_lock_of_a_killed_holder_is_held_until_its_stage_has_ended(tmp_path, monkeypatch):
    """Who comes next would mend and restore files under it."""
    (tmp_path / ".dvc").mkdir()
    slow = (
        "import signal, time; from pathlib import Path\n"
        "def end(*_):\n time.sleep(2); Path('ended').touch(); raise SystemExit\n"
        "signal.signal(signal.SIGTERM, end); Path('up').touch(); time.sleep(600)"
    )
    code = (
        "from pathlib import Path; from pipeline.flows.alone import alone\n"
        "from pipeline.programs.leash import leashed\n"
        f"with alone('flow'), leashed([{sys.executable!r}, '-c', {slow!r}], Path()) as stage:\n"
        " stage.wait()"
    )
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", code], env=marked(tmp_path, PYTHONPATH=str(ROOT))
    ) as holder:
        until((tmp_path / "up").exists, "the stage has started")
        holder.kill()

    with alone("flow"):
        assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("between", [(), ("sh", "-c", "{}; true")], ids=["alone", "in a shell"])
def test_a_stage_ends_with_the_dvc_that_started_it(tmp_path, between):
    """Or it would replace the outs of the run that follows."""
    os.mkfifo(tmp_path / "params.yaml")  # it waits for ever for what this says
    stage = [sys.executable, "-m", "pipeline", "ingest"]
    command = [word.format(" ".join(stage)) for word in between] or stage
    (tmp_path / "dvc.py").write_text(f"import subprocess; subprocess.run({command!r})")
    around = marked(tmp_path, PYTHONPATH=str(ROOT), DVC_STAGE="ingest")
    with subprocess.Popen([sys.executable, "dvc.py"], cwd=tmp_path, env=around) as dvc:
        until(lambda: left(tmp_path, "pipeline ingest"), "it has started")
        time.sleep(3)
        assert left(tmp_path, "pipeline ingest")
        dvc.kill()

    until(lambda: not left(tmp_path), "it has ended", 20)


def test_a_stage_whose_starter_cannot_be_seen_is_not_ended(monkeypatch):
    """As in a container of its own."""
    monkeypatch.setattr(psutil.Process, "parent", lambda _: None)
    monkeypatch.setattr(os, "_exit", lambda _: pytest.fail("it ended"))

    leash._end_with_starter()


def test_a_stage_outlives_another_starter_than_dvc(tmp_path):
    """Who starts it by hand and closes the terminal may want it to go on."""
    os.mkfifo(tmp_path / "params.yaml")
    code = f"import subprocess; subprocess.run([{sys.executable!r}, '-m', 'pipeline', 'ingest'])"
    around = marked(tmp_path, PYTHONPATH=str(ROOT))
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=around) as starter:
        until(lambda: left(tmp_path, "-m pipeline ingest"), "it has started")
        time.sleep(3)
        starter.kill()
    time.sleep(2)

    (alive,) = left(tmp_path, "-m pipeline ingest")
    psutil.Process(int(alive.split()[0])).kill()


def test_outside_a_project_there_is_no_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=r"it has no \.dvc"), alone("flow"):
        pass
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/tmp").touch()
    with pytest.raises(InputError, match="cannot hold a lock: File exists"), alone("flow"):
        pass

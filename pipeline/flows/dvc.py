"""DVC by its command line, which is its stable interface: what is stale, and run one stage."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.flows import leash
from pipeline.flows.leash import leashed
from pipeline.params import parse_yaml

DVC = [sys.executable, "-m", "dvc"]
KEPT_LINES = 30  # of what a failed stage said, for its state's message
MISSING = "Missing cache files:"  # what DVC says on stderr, and ends well
LAST = re.compile(r"^(error: |ERROR: )")


class Outcome(Enum):
    """What DVC did about a stage."""

    UNCHANGED = "nothing that it depends on has changed"
    RESTORED = "an earlier run with the same inputs was restored"
    RAN = "ran"


class StageError(Exception):
    """A stage failed; the message is what it said last."""


def environment() -> dict[str, str]:
    """Stages call `python`: the first on the PATH must be the one that has the pipeline."""
    folder = str(Path(sys.executable).parent)
    return {"PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])}


def ask(folder: Path, *words: str) -> str:
    """Run a DVC command; return what it printed.  Whatever ends this process ends it.

    Raises:
        InputError: It failed.
    """
    return _run(folder, *words)[0]


def transfer(verb: Literal["push", "fetch"], folder: Path, *words: str) -> str:
    """Push or fetch; return what DVC names that neither cache nor remote has.

    That is no error of DVC's own.  What it remembers of earlier times is left
    out: it keeps a list of what to transfer, out by out; one that was killed
    leaves a part of it, and later ones transfer that part and end well.

    Raises:
        InputError: The remote does not answer, or lacks something of its own.
    """
    with TemporaryDirectory() as nothing:
        said = _run(folder, verb, *words, more={"DVC_SITE_CACHE_DIR": nothing})[1]
    _, found, names = said.partition(MISSING)
    return " ".join(names.split()) if found else ""


def _run(folder: Path, *words: str, more: Mapping[str, str] | None = None) -> tuple[str, str]:
    _mend_rwlock(folder)
    done = leash.run([*DVC, *words], folder, {**environment(), **(more or {})})
    printed, said = _text(done.stdout), _text(done.stderr)
    if done.returncode:
        lines = [line for line in said.splitlines() if line.strip()]
        reason = " ".join(lines[-3:]) or f"status {done.returncode}"
        raise InputError(f"dvc {' '.join(words)}", reason, "mend what DVC names, then rerun")
    return printed, said


def _mend_rwlock(folder: Path) -> None:
    """Remove DVC's list of who reads and writes what, where a killed DVC left half of it.

    DVC itself would refuse to start.  It holds rwlock.lock while it writes the list.
    """
    rwlock = folder / ".dvc/tmp/rwlock"
    if not rwlock.exists():
        return
    with rwlock.with_name("rwlock.lock").open("a") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            json.loads(rwlock.read_bytes())
        except ValueError:
            rwlock.unlink()
        except (BlockingIOError, FileNotFoundError):  # a DVC is at it, and alive
            return


def _text(said: bytes) -> str:
    return said.decode(errors="replace")


def stages(folder: Path) -> list[str]:
    """The stages of dvc.yaml, each after those whose outs it reads, else in the file's order.

    Raises:
        InputError: There is no such file, it holds none, or one that stands for many.
    """
    file = folder / "dvc.yaml"
    try:
        specs = dict(loaded(file)["stages"])
        for name, spec in specs.items():
            if several := {"matrix", "foreach"} & spec.keys():
                reason = f"stage {name} has {several.pop()}, which flows cannot run one by one"
                raise InputError(file, reason, "write its stages out")
        outs = {name: outs_of(spec) for name, spec in specs.items()}
        reads = {name: _paths(spec, "deps") for name, spec in specs.items()}
    except (OSError, KeyError, TypeError, AttributeError) as error:
        fix = "run in a project's top folder"
        raise InputError(file, f"names no stages: {error!r}", fix) from error
    before = {
        name: {
            other
            for other in specs
            if other != name and any(_meet(dep, out) for dep in reads[name] for out in outs[other])
        }
        for name in specs
    }
    order: list[str] = []
    while waiting := [name for name in specs if name not in order]:
        free = (name for name in waiting if before[name] <= set(order))
        order.append(next(free, waiting[0]))  # DVC itself refuses stages that form a ring
    return order


def is_read(file: str, folder: Path) -> bool:
    """Whether a stage reads what a .dvc file tracks."""
    specs = loaded(folder / "dvc.yaml")["stages"].values()
    read = [path for spec in specs for path in _paths(spec, "deps")]
    outs = loaded(folder / file).get("outs", [])
    kept = [(PurePosixPath(file).parent / out["path"]).as_posix() for out in outs]
    return any(_meet(one, other) for one in read for other in kept)


def outs_of(spec: Mapping[str, Any]) -> list[str]:
    """What a stage of dvc.yaml makes."""
    return [path for kind in ("outs", "metrics", "plots") for path in _paths(spec, kind)]


def _paths(spec: Mapping[str, Any], kind: str) -> list[str]:
    entries = spec.get(kind, [])
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def _meet(one: str, other: str) -> bool:
    """Whether one path is the other, or lies in it."""
    parts, others = PurePosixPath(one).parts, PurePosixPath(other).parts
    shared = min(len(parts), len(others))
    return parts[:shared] == others[:shared]


def loaded(file: Path) -> dict[str, Any]:
    """What a file of DVC's holds.

    Raises:
        InputError: It is not YAML, or holds no keys.
    """
    document = parse_yaml(file, file.read_bytes()) or {}
    if not isinstance(document, dict):
        raise InputError(file, "holds no keys", "restore it, as by `git checkout`")
    return document


def stale(folder: Path) -> set[str]:
    """The stages, and the .dvc files, that DVC finds changed.

    What depends on them may be stale, too: DVC knows once they have run.
    """
    # what is news at the source of an import is nothing to `dvc repro`
    return set(json.loads(ask(folder, "status", "--json", "--no-updates")))


def repro(target: str, folder: Path, *, force: bool = False, say: Callable[[str], Any]) -> Outcome:
    """Run one stage, or take in one .dvc file, if it is stale; its output goes to `say`.

    Whatever ends this process or this call ends the stage.

    Raises:
        StageError: The stage failed.
    """
    command = [*DVC, "repro", "--single-item", *(["--force"] if force else []), target]
    last: deque[str] = deque(maxlen=KEPT_LINES)
    outcome = Outcome.RAN
    _mend_rwlock(folder)
    with leashed(
        command, folder, environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            if words := line.rstrip():
                say(words)
                last.append(words)
                outcome = _outcome(words) or outcome
        status = process.wait()
    if status:
        raise StageError(f"{target} failed: {_reason(list(last)) or f'status {status}'}")
    return outcome


def _outcome(line: str) -> Outcome | None:
    """What a line of DVC's says of the stage, if anything."""
    if line.startswith("Stage ") and line.endswith("didn't change, skipping"):
        return Outcome.UNCHANGED
    if line.startswith("Stage ") and "is cached - skipping run" in line:
        return Outcome.RESTORED
    return None


def _reason(lines: list[str]) -> str:
    """From the first error among the last lines on; or the last three."""
    first = next((at for at, line in enumerate(lines) if LAST.match(line)), max(len(lines) - 3, 0))
    return "\n".join(lines[first:])

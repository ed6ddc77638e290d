"""DVC by its command line."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.programs import leash
from pipeline.programs.git import git
from pipeline.programs.leash import leashed

DVC = [sys.executable, "-m", "dvc"]
ADVERT = "Having any troubles? Hit us up at https://dvc.org/support, we are always happy to help!"
SHOWN_LINES = 3  # of what DVC says of each object that it could not transfer
KEPT_LINES = 30  # of what a failed stage said, for its state's message
MISSING = "Missing cache files:"  # what DVC says on stderr, and ends well
NOT_UTF8 = "surrogates not allowed"  # in what DVC says of a file's name, without the name
RENAME = "rename files whose names are not UTF-8; `python -m pipeline ingest` names them"
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


def run(*words: str, folder: Path = Path()) -> str:
    """Run DVC; return what it printed.  Whatever ends this process ends it.

    Raises:
        InputError: It failed.
    """
    return _finished(folder, *words)[0]


def get(commit: str, wanted: Mapping[str, Path], *options: str) -> dict[str, str]:
    """Write files that DVC keeps, as a commit of this project has them, all at once.

    Args:
        wanted: By the path below this folder, where to.

    Returns:
        Why some could not be had, by path.
    """
    top, below = (git("rev-parse", word) or "." for word in ("--show-cdup", "--show-prefix"))
    words = ["get", *options, "--force", "--rev", commit]
    commands = [
        [*DVC, *words, "--out", str(to), top, str(PurePosixPath(below) / path)]
        for path, to in wanted.items()
    ]
    with _rwlock_mended(Path()):
        done = leash.run_all(commands, Path(), environment())
    failed = {path: _failure(one) for path, one in zip(wanted, done, strict=True)}
    return {path: why.removeprefix("ERROR: ") for path, why in failed.items() if why}


def transfer(verb: Literal["push", "fetch"], *words: str) -> str:
    """Push or fetch; return what DVC names that neither cache nor remote has.

    That is no error of DVC's own.  What it remembers of earlier times is left
    out: it keeps a list of what to transfer, out by out; one that was killed
    leaves a part of it, and later ones transfer that part and end well.

    Raises:
        InputError: The remote does not answer, or lacks something of its own.
    """
    with TemporaryDirectory() as nothing:
        said = _finished(Path(), verb, *words, more={"DVC_SITE_CACHE_DIR": nothing})[1]
    _, found, names = said.partition(MISSING)
    return " ".join(names.split()) if found else ""


def _finished(folder: Path, *words: str, more: Mapping[str, str] | None = None) -> tuple[str, str]:
    with _rwlock_mended(folder):
        done = leash.run([*DVC, *words], folder, {**environment(), **(more or {})})
    if reason := _failure(done):
        fix = RENAME if NOT_UTF8 in reason else "mend what DVC names, then rerun"
        raise InputError(f"dvc {' '.join(words)}", reason, fix)
    return _text(done.stdout), _text(done.stderr)


def _failure(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why DVC failed, in its words; "" where it did not."""
    if not done.returncode:
        return ""
    said = map(str.strip, _text(done.stderr).splitlines())
    lines = [line for line in said if line and line != ADVERT]
    return _shortened(_reason(lines)) or f"status {done.returncode}"


@contextmanager
def _rwlock_mended(folder: Path) -> Iterator[None]:
    """Before and after: whoever cancels a run ends DVC at whatever it does."""
    _mend_rwlock(folder)
    try:
        yield
    finally:
        _mend_rwlock(folder)


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


def digest(file: Path) -> str | None:
    """The digest that DVC knows a file by; None where there is no file."""
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def stale() -> set[str]:
    """The stages, and the .dvc files, that DVC finds changed.

    What depends on them may be stale, too: DVC knows once they have run.
    """
    # what is news at the source of an import is nothing to `dvc repro`
    return set(json.loads(run("status", "--json", "--no-updates")))


def repro(
    *options: str, target: str = "", folder: Path = Path(), say: Callable[[str], Any]
) -> Outcome:
    """Run what is stale, its output going to `say`; return what became of the last stage.

    Whatever ends this process or this call ends the stage.

    Args:
        target: The only stage to run, or .dvc file to take in; all where there is none.

    Raises:
        StageError: A stage failed.
    """
    command = [*DVC, "repro", *options, *(["--single-item", target] if target else [])]
    last: deque[str] = deque(maxlen=KEPT_LINES)
    outcome = Outcome.RAN
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with (
        _rwlock_mended(folder),
        leashed(command, folder, environment(), **streams) as process,
    ):
        for line in process.stdout or ():
            if words := line.rstrip():
                say(words)
                last.append(words)
                outcome = _outcome(words) or outcome
        status = process.wait()
    if status:
        reason = _reason(list(last)) or f"status {status}"
        raise StageError(f"{target or 'a stage'} failed: {reason}")
    return outcome


def _outcome(line: str) -> Outcome | None:
    """What a line of DVC's says of the stage, if anything."""
    if line.startswith("Stage ") and line.endswith("didn't change, skipping"):
        return Outcome.UNCHANGED
    if line.startswith("Stage ") and "is cached - skipping run" in line:
        return Outcome.RESTORED
    return None


def _shortened(reason: str) -> str:
    """The first lines as one, and how many more there are."""
    lines = reason.splitlines()
    more = f" (and {len(lines) - SHOWN_LINES} lines more)" if len(lines) > SHOWN_LINES else ""
    return " ".join(" ".join(lines[:SHOWN_LINES]).split()) + more


def _reason(lines: list[str]) -> str:
    """From the first error among the last lines on; or the last three."""
    first = next((at for at, line in enumerate(lines) if LAST.match(line)), max(len(lines) - 3, 0))
    return "\n".join(lines[first:])

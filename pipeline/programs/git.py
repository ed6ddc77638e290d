"""Git by its command line."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.programs import leash

READERS = {"cat-file", "config", "diff", "for-each-ref", "log", "ls-files", "ls-tree", "remote"}
READERS |= {"rev-list", "rev-parse", "status", "symbolic-ref"}
QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
# a git that tidies up in the background would be on no leash
GIT = ["git", "-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"]
GIT += ["-c", "log.showSignature=false"]  # it would stand among what is asked for
KILLED = 130  # statuses from here on: 128 and the signal, 129 being git's own for wrong words


class KilledError(InputError):
    """A git that writes was killed; its locks are left behind."""


class Finished(NamedTuple):
    """How git ended, what it printed, and what it said in a line."""

    status: int
    printed: bytes
    said: str


def run(*words: str, folder: Path = Path(), asked: bytes = b"") -> Finished:
    """Run git to its end, be that a failure.

    Whatever ends this process ends a git that writes or talks to a remote.

    Args:
        asked: What a git that only reads is given to read itself.

    Raises:
        InputError: It is not installed.
        KilledError: It wrote, and somebody killed it alone.
    """
    command = [*GIT, *words]
    try:
        if _verb(words) in READERS:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **QUIET},
                input=asked,
                capture_output=True,
                check=False,
            )
        else:
            done = leash.run(command, folder, QUIET)
            if done.returncode >= KILLED:
                reason = f"was killed by signal {done.returncode - 128}"
                raise KilledError(f"git {_verb(words)}", reason, "rerun")
    except FileNotFoundError as error:
        raise InputError("git", f"cannot be run: {error}", "install it") from error
    return Finished(
        done.returncode, done.stdout, " ".join(done.stderr.decode(errors="replace").split())
    )


def git(*words: str, folder: Path = Path()) -> str:
    """Run git; return what it printed, without the last line break.

    Names that are no text come as `os.fsdecode` has them.

    Raises:
        InputError: It failed.
    """
    done = run(*words, folder=folder)
    if done.status:
        raise _failure(words, done)
    return os.fsdecode(done.printed).rstrip("\n")


def answer(*words: str) -> str:
    """What git printed as `git` has it, or "" where its status says that there is no such thing.

    Raises:
        InputError: It failed otherwise.
    """
    done = run(*words)
    if done.status not in {0, 1}:
        raise _failure(words, done)
    return "" if done.status else os.fsdecode(done.printed).rstrip("\n")


def listed(*words: str, folder: Path = Path()) -> list[str]:
    """The names that git prints, each with a null byte behind it, as its option -z asks.

    Raises:
        InputError: It failed.
    """
    return [path for path in git(*words, folder=folder).split("\0") if path]


def blob(commit: str, path: str) -> bytes | None:
    """A file of a commit, by its path below this folder; None where the commit lacks it.

    Raises:
        InputError: The file or the commit cannot be read.
    """
    done = run("cat-file", "blob", f"{commit}:./{path}")
    if done.status == 0:
        return done.printed
    if not listed("ls-tree", "-z", "--name-only", commit, "--", path):
        return None
    raise _failure(("cat-file", "blob"), done)


def blobs(names: Sequence[str]) -> list[bytes]:
    """The contents of blobs by their hashes.

    Raises:
        InputError: One cannot be read.
    """
    words = ("cat-file", "--batch=%(objectsize)")
    done = run(*words, asked="".join(f"{name}\n" for name in names).encode())
    if done.status:
        raise _failure(words, done)
    contents, stream = [], io.BytesIO(done.printed)
    for name in names:
        head = stream.readline()
        if not head.strip().isdigit():
            raise InputError(f"git {words[0]}", f"cannot read {name}: {head!r}", "run `git fsck`")
        contents.append(stream.read(int(head)))
        stream.read(1)  # a line break
    return contents


def readable(name: str) -> str:
    """A name or a line as `git` returns it, as text: what is none becomes a question mark."""
    return os.fsencode(name).decode(errors="replace")


def _verb(words: tuple[str, ...]) -> str:
    return next(word for word in words if not word.startswith("-") and "=" not in word)


def _failure(words: tuple[str, ...], done: Finished) -> InputError:
    reason = done.said or f"status {done.status}"
    return InputError(f"git {_verb(words)}", reason, "mend what git names, then rerun")

"""What flows do by git to a clone that they have to themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

from pipeline.errors import InputError
from pipeline.programs.git import answer, git, listed

SHOWN = 5


def on_paths(paths: Sequence[str], *words: str) -> None:
    """Run git on files of these very names, be they patterns or look like options."""
    if paths:
        with NamedTemporaryFile() as file:  # a command line holds only so many
            file.write(b"".join(os.fsencode(path) + b"\0" for path in paths))
            file.flush()
            listed_in = [f"--pathspec-from-file={file.name}", "--pathspec-file-nul"]
            git("--literal-pathspecs", *words, *listed_in)


def check_top() -> None:
    """Refuse to run anywhere but in the clone's top folder, by which git names files.

    Raises:
        InputError: This is no clone, or a folder in one.
    """
    inside = git("rev-parse", "--show-prefix")
    if inside:
        raise InputError(Path.cwd(), "is not the clone's top folder", "run it there")


def check_clean() -> None:
    """Refuse a tree with changes of its own: a rollback would lose them, a commit take them in.

    Raises:
        InputError: It has some; the first are named.
    """
    if found := changed(untracked="normal"):
        fix = "commit or remove them, or use a clone of its own"
        raise InputError(Path.cwd(), f"has uncommitted changes: {first_of(found)}", fix)


def first_of(paths: Sequence[str]) -> str:
    """The first of some paths, and how many more there are."""
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more


def changed(*, untracked: Literal["all", "normal", "no"] = "all") -> list[str]:
    """Files that are not as HEAD has them; those that git does not know, too, or not."""
    words = ["status", "--porcelain", "-z", f"--untracked-files={untracked}", "--no-renames"]
    return [line[3:] for line in listed(*words)]


def files_between(one: str, other: str) -> list[str]:
    """Files that differ between two commits."""
    words = ["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", one, other]
    return listed(*words)


def restore(paths: Sequence[str]) -> None:
    """Bring files as HEAD has them; what it lacks goes."""
    if not paths:
        return
    known = set(listed("ls-tree", "-r", "-z", "--name-only", "HEAD"))
    gone = [path for path in paths if path not in known]  # first: a folder may take one's place
    on_paths(gone, "rm", "--quiet", "--cached", "--force", "--ignore-unmatch")
    for path in map(Path, gone):
        if not any(folder.is_symlink() for folder in path.parents):  # or it is another file
            with suppress(NotADirectoryError):
                path.unlink(missing_ok=True)
    there = [path for path in paths if path in known]
    on_paths(there, "checkout", "HEAD")
    if modules := [path for path in there if Path(path).is_dir() and not Path(path).is_symlink()]:
        git("submodule", "update", "--init", "--recursive", "--force", "--", *modules)


def tracked(pattern: str) -> list[str]:
    """The files of git's that match, in any folder."""
    return listed("ls-files", "-z", "--", pattern)


def head() -> str:
    """The commit that is checked out."""
    return git("rev-parse", "HEAD")


def branch() -> str:
    """The branch that is checked out.

    Raises:
        InputError: None is.
    """
    name = answer("symbolic-ref", "--quiet", "HEAD")  # short, a tag could change it
    if not name:
        raise InputError(Path.cwd(), "has no branch checked out", "run `git switch BRANCH`")
    return name.removeprefix("refs/heads/")


def move_to(commit: str, paths: Sequence[str]) -> None:
    """Move the branch to a commit, then the files that differ there.

    In this order a kill leaves files that `restore` knows; `git merge` would
    leave new ones that nobody knows.
    """
    git("update-ref", "-m", "retrain: take over what others pushed", "HEAD", commit)
    restore(paths)


def commit(message: str, paths: Sequence[str]) -> None:
    """Commit the paths and no others, as whoever git knows, or else as the pipeline.

    What a hook has changed besides is taken back: the tree was clean, and is.
    """
    on_paths(paths, "add")
    on_paths(paths, *somebody(), "commit", "--quiet", "--message", message, "--only")
    restore(changed(untracked="no"))


def find(words: str, since: str) -> str:
    """The first commit since another whose message holds some words; empty if there is none.

    A hook may have put others before them, and a later one may revert it.
    """
    found = ["--reverse", "--fixed-strings", f"--grep={words}", "--format=%H"]
    return git("log", *found, f"{since}..HEAD").partition("\n")[0]


def somebody() -> list[str]:
    """Options that name an author where git knows none."""
    if answer("config", "user.email"):
        return []
    return ["-c", "user.name=retrain", "-c", "user.email=retrain@localhost"]

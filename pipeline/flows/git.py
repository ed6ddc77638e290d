"""Git by its command line, for a clone that `retrain` has to itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError

TAG = "model@v"  # as `dvc artifacts get` wants it
SHOWN = 5


class PartedError(InputError):
    """Others have pushed what this clone does not build on; no other try will mend that."""


class Remote(NamedTuple):
    """Where the branch is pushed to."""

    name: str
    branch: str

    @property
    def reference(self) -> str:
        """The remote's branch, as last fetched."""
        return f"refs/remotes/{self.name}/{self.branch}"


def git(*words: str, may_fail: bool = False) -> str:
    """Run git; return what it printed, without the last line break.

    Raises:
        InputError: It failed, unless that is expected: then the answer is empty.
    """
    done = subprocess.run(
        ["git", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stdout.rstrip("\n")
    if may_fail:
        return ""
    reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
    raise InputError(f"git {words[0]}", reason, "mend what git names, then rerun")


def check_clean() -> None:
    """Refuse a tree with changes of its own: a rollback would lose them, a commit take them in.

    Raises:
        InputError: It has some; the first are named.
    """
    lines = git("status", "--porcelain").splitlines()
    if lines:
        names = ", ".join(line[3:] for line in lines[:SHOWN])
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        fix = "commit or remove them, or give retrain a clone of its own"
        raise InputError(Path.cwd(), f"has uncommitted changes: {names}{more}", fix)


def tracked(pattern: str) -> list[str]:
    """The files of git's that match, in any folder."""
    return [path for path in git("ls-files", "-z", "--", pattern).split("\0") if path]


def head() -> str:
    """The commit that is checked out."""
    return git("rev-parse", "HEAD")


def branch() -> str:
    """The branch that is checked out.

    Raises:
        InputError: None is.
    """
    name = git("symbolic-ref", "--quiet", "--short", "HEAD", may_fail=True)
    if not name:
        raise InputError(Path.cwd(), "has no branch checked out", "run `git switch BRANCH`")
    return name


def remote() -> Remote | None:
    """The branch's own remote, or the only one; None where there is none.

    Raises:
        InputError: There are several, and the branch has none of its own.
    """
    name = branch()
    names = git("remote").split()
    own = git("config", f"branch.{name}.remote", may_fail=True)
    if own in names:
        return Remote(own, name)
    if len(names) > 1:
        fix = f"run `git push --set-upstream REMOTE {name}`"
        raise InputError(Path.cwd(), f"branch {name} has none of the remotes {names}", fix)
    return Remote(names[0], name) if names else None


def catch_up(where: Remote) -> None:
    """Take over what others have pushed.

    Raises:
        InputError: The remote does not answer.
        PartedError: This clone has commits of its own, and so has the remote.
    """
    if not fetched(where):
        return
    if is_ahead("HEAD", where.reference) and is_ahead(where.reference, "HEAD"):
        fix = f"run `git rebase {where.name}/{where.branch}`, or `git reset --hard` to it"
        raise PartedError(Path.cwd(), f"and {where.name}/{where.branch} have parted", fix)
    git("merge", "--quiet", "--ff-only", where.reference)


def fetched(where: Remote) -> bool:
    """Fetch the remote's branch and tags; False where it has no such branch yet."""
    if not git("ls-remote", "--heads", where.name, where.branch):
        return False
    git("fetch", "--quiet", "--tags", where.name, where.branch)
    git("update-ref", where.reference, "FETCH_HEAD")
    return True


def is_ahead(one: str, other: str) -> bool:
    """Whether a commit builds on what the other lacks."""
    return bool(git("rev-list", "--max-count=1", one, f"^{other}"))


def publish(where: Remote, tag: str, before: str) -> None:
    """Push HEAD and its tag, both or none.

    Args:
        before: The commit to go back to where others were first.

    Raises:
        InputError: The remote does not answer, or refuses.
        PartedError: Others were first; commit and tag are gone, and can be made anew.
    """
    if fetched(where) and is_ahead(where.reference, "HEAD"):
        git("tag", "--delete", tag)
        git("reset", "--hard", "--quiet", before)
        fix = "run retrain again: it builds on what is there now, and nothing is computed twice"
        raise PartedError(Path.cwd(), f"others have pushed to {where.name} meanwhile", fix)
    refs = [f"HEAD:refs/heads/{where.branch}", f"refs/tags/{tag}"]
    git("push", "--quiet", "--atomic", where.name, *refs)


def next_tag() -> str:
    """The name of the next model that is promoted."""
    tags = git("tag", "--list", f"{TAG}*").split()
    numbers = [int(n) for tag in tags if (n := tag.removeprefix(TAG).partition(".")[0]).isdigit()]
    return f"{TAG}{max(numbers, default=0) + 1}.0.0"


def commit(message: str, paths: list[str]) -> None:
    """Commit the paths, as whoever git knows, or else as the pipeline."""
    known = git("config", "user.email", may_fail=True)
    unnamed = ["-c", "user.name=retrain", "-c", "user.email=retrain@localhost"]
    git("add", "--", *paths)
    git(*([] if known else unnamed), "commit", "--quiet", "--message", message)


def remove_stale_locks() -> None:
    """Remove what a killed git left; only for who knows that no other git is at work."""
    folder = Path(git("rev-parse", "--absolute-git-dir"))
    names = ["index.lock", "HEAD.lock", "packed-refs.lock", "config.lock"]
    for lock in [*(folder / name for name in names), *(folder / "refs").rglob("*.lock")]:
        lock.unlink(missing_ok=True)

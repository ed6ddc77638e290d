"""What flows do by git to a clone that they have to themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, NamedTuple

from pipeline.errors import InputError
from pipeline.programs.git import KilledError, answer, git, listed

TAG = "model@v"  # as `dvc artifacts get` wants it
SHOWN = 5
# by a hook, or a rule of its host; or by a host that cannot take commit and tag both or none
REFUSED = re.compile(r"\[remote rejected\].*declined|does not support --atomic")


class LastingError(InputError):
    """No other try will mend that."""


class PartedError(LastingError):
    """Others have pushed what this clone does not build on."""


class Remote(NamedTuple):
    """Where the branch is pushed to."""

    name: str
    branch: str

    @property
    def reference(self) -> str:
        """The remote's branch, as last fetched."""
        return f"refs/remotes/{self.name}/{self.branch}"


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
    lines = git("status", "--porcelain", "--untracked-files=normal").splitlines()
    if lines:
        names = ", ".join(line[3:] for line in lines[:SHOWN])
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        fix = "commit or remove them, or use a clone of its own"
        raise InputError(Path.cwd(), f"has uncommitted changes: {names}{more}", fix)


def changed(*, untracked: Literal["all", "no"] = "all") -> list[str]:
    """Files that are not as HEAD has them; those that git does not know, too, or not."""
    words = ["status", "--porcelain", "-z", f"--untracked-files={untracked}", "--no-renames"]
    return [line[3:] for line in listed(*words)]


def between(one: str, other: str) -> list[str]:
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


def remote() -> Remote | None:
    """The branch's own remote, or the only one; None where there is none.

    Raises:
        InputError: There are several, and the branch has none of its own; or it
            follows a branch of another name, to which models would be pushed.
    """
    name = branch()
    names = git("remote").split()
    own = answer("config", f"branch.{name}.remote")
    if own in names:
        followed = answer("config", f"branch.{name}.merge").removeprefix("refs/heads/")
        if followed not in {"", name}:
            fix = f"switch to {followed}, or run `git push --set-upstream {own} {name}`"
            raise InputError(Path.cwd(), f"branch {name} follows {own}/{followed}", fix)
        return Remote(own, name)
    if len(names) > 1:
        fix = f"run `git push --set-upstream REMOTE {name}`"
        raise InputError(Path.cwd(), f"branch {name} has none of the remotes {names}", fix)
    return Remote(names[0], name) if names else None


def incoming(where: Remote) -> str:
    """The commit that others have pushed on top of HEAD; HEAD where there is none.

    Raises:
        InputError: The remote does not answer.
        PartedError: This clone has commits of its own, and so has the remote.
    """
    if not fetched(where) or not is_ahead(where.reference, "HEAD"):
        return head()
    if is_ahead("HEAD", where.reference):
        fix = f"run `git rebase {where.name}/{where.branch}`, or `git reset --hard` to it"
        raise PartedError(Path.cwd(), f"and {where.name}/{where.branch} have parted", fix)
    return git("rev-parse", where.reference)


def move_to(commit: str, paths: Sequence[str]) -> None:
    """Move the branch to a commit, then the files that differ there.

    In this order a kill leaves files that `restore` knows; `git merge` would
    leave new ones that nobody knows.
    """
    git("update-ref", "-m", "retrain: take over what others pushed", "HEAD", commit)
    restore(paths)


def fetched(where: Remote) -> bool:
    """Fetch the remote's branch and tags; False where it has no such branch yet."""
    full = f"refs/heads/{where.branch}"
    there = bool(git("ls-remote", where.name, full))
    tags = f"+refs/tags/{TAG}*:refs/tags/{TAG}*"  # others' tags may move, and are theirs
    branches = [f"+{full}:{where.reference}"] if there else []
    git("fetch", "--quiet", "--no-tags", "--no-prune", where.name, *branches, tags)
    return there


def is_ahead(one: str, other: str) -> bool:
    """Whether a commit builds on what the other lacks."""
    return bool(git("rev-list", "--max-count=1", one, f"^{other}"))


def publish(where: Remote | None, name: str, commit: str) -> None:
    """Tag a commit, and push HEAD and the tag, both or none; all or part may be done already.

    Raises:
        InputError: The remote does not answer.
        LastingError: It refuses.
        PartedError: Others were first; there is no such tag of this clone's now.
    """
    answer("tag", "--delete", name)  # others may have one of this name
    behind = where is not None and fetched(where) and is_ahead(where.reference, "HEAD")
    tag = f"refs/tags/{name}"
    taken = answer("rev-parse", "--verify", "--quiet", f"{tag}^{{commit}}")
    if where and (taken not in {"", commit} or (behind and is_ahead("HEAD", where.reference))):
        fix = "run retrain again: it builds on what is there now, and nothing is computed twice"
        raise PartedError(Path.cwd(), f"others have pushed to {where.name} meanwhile", fix)
    if not taken:
        words = ["tag", "--annotate", "--message", f"Promoted by retrain: {name}", name, commit]
        git(*_somebody(), *words)
    if where:
        refs = [] if behind else [f"HEAD:refs/heads/{where.branch}"]
        try:
            git("push", "--quiet", "--atomic", where.name, *refs, tag)
        except InputError as error:
            if REFUSED.search(error.reason):
                raise LastingError(error.file, error.reason, error.fix) from error
            raise


def next_tag() -> str:
    """The name of the next model that is promoted."""
    tags = git("tag", "--list", f"{TAG}*").split()
    parts = [tag.removeprefix(TAG).partition(".")[0] for tag in tags]
    numbers = [int(part) for part in parts if part.isdecimal()]
    return f"{TAG}{max(numbers, default=0) + 1}.0.0"


def commit(message: str, paths: Sequence[str]) -> None:
    """Commit the paths and no others, as whoever git knows, or else as the pipeline.

    What a hook has changed besides is taken back: the tree was clean, and is.
    """
    on_paths(paths, "add")
    on_paths(paths, *_somebody(), "commit", "--quiet", "--message", message, "--only")
    restore(changed(untracked="no"))


def find(words: str, since: str) -> str:
    """The first commit since another whose message holds some words; empty if there is none.

    A hook may have put others before them, and a later one may revert it.
    """
    found = ["--reverse", "--fixed-strings", f"--grep={words}", "--format=%H"]
    return git("log", "--no-show-signature", *found, f"{since}..HEAD").partition("\n")[0]


def _somebody() -> list[str]:
    """Options that name an author where git knows none."""
    if answer("config", "user.email"):
        return []
    return ["-c", "user.name=retrain", "-c", "user.email=retrain@localhost"]


@contextmanager
def unlocked() -> Iterator[None]:
    """Where a git of this block's is killed, the next one finds no lock of its."""
    try:
        yield
    except KilledError:
        remove_stale_locks()
        raise


def remove_stale_locks() -> None:
    """Remove what a killed git left; only for who knows that no other git is at work."""
    folder = Path(git("rev-parse", "--absolute-git-dir"))
    names = ["index.lock", "HEAD.lock", "packed-refs.lock", "config.lock"]
    shared = Path(git("rev-parse", "--git-common-dir"))  # with other worktrees
    ours = [shared / f"refs/heads/{branch()}.lock", *shared.glob(f"refs/tags/{TAG}*.lock")]
    own = [*folder.glob("next-index-*.lock"), *(folder / "refs").rglob("*.lock")]
    for lock in [*(folder / name for name in names), *own, *ours]:
        lock.unlink(missing_ok=True)

"""Where a clone's branch is pushed to, and what others have pushed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.flows import clone
from pipeline.programs.git import answer, git

TAG = "model@v"  # as `dvc artifacts get` wants it
# by a hook, or a rule of its host; by a host that cannot take commit and tag both or none; or by
# whoever should sign
REFUSED = re.compile(r"\[remote rejected\].*declined|does not support --atomic|unable to sign")


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


def of_branch() -> Remote | None:
    """The branch's own remote, or the only one; None where there is none.

    Raises:
        InputError: There are several, and the branch has none of its own; or it
            follows a branch of another name, to which models would be pushed.
    """
    name = clone.branch()
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
        return clone.head()
    if is_ahead("HEAD", where.reference):
        fix = f"run `git rebase {where.name}/{where.branch}`, or `git reset --hard` to it"
        raise PartedError(Path.cwd(), f"and {where.name}/{where.branch} have parted", fix)
    return git("rev-parse", where.reference)


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
    """Tag a commit, and push it and the tag, both or none; all or part may be done already.

    Commits on top of it are left for later: their data may be in no DVC remote yet.

    Raises:
        InputError: The remote does not answer.
        LastingError: It refuses.
        PartedError: Others were first; there is no such tag of this clone's now.
    """
    answer("tag", "--delete", name)  # others may have one of this name
    theirs = where.reference if where and fetched(where) else ""  # "": there is no such branch yet
    parted = bool(theirs) and is_ahead(theirs, "HEAD") and is_ahead("HEAD", theirs)
    tag = f"refs/tags/{name}"
    taken = answer("rev-parse", "--verify", "--quiet", f"{tag}^{{commit}}")
    if where and (taken not in {"", commit} or parted):
        fix = "run retrain again: it builds on what is there now, and nothing is computed twice"
        raise PartedError(Path.cwd(), f"others have pushed to {where.name} meanwhile", fix)
    lacks = not theirs or is_ahead(commit, theirs)
    refs = [f"{commit}:refs/heads/{where.branch}"] if where and lacks else []
    try:
        if not taken:
            told = ["--annotate", "--message", f"Promoted by retrain: {name}"]
            git(*clone.somebody(), "tag", *told, name, commit)
        if where:
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

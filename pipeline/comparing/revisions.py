"""A revision of the project, or its workspace, and what git keeps of it.

A revision is a commit's hash from the first line on: what a user typed reaches
no command but `git rev-parse`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.comparing.changes import FileChange
from pipeline.errors import InputError
from pipeline.params import parse_yaml
from pipeline.programs.git import blob, git, listed, readable, run

WORKSPACE = "workspace"
EXPERIMENTS = "refs/exps/"
PARAMS = "params.yaml"
CODE = ("pipeline", "dvc.yaml", "pyproject.toml", "requirements.lock", "requirements-gpu.lock")
SHORT = 8  # letters of a hash
SEARCH = ":/"  # before words of a message, to the end of the name; what git finds is a commit


@dataclass(frozen=True)
class Revision:
    """A commit, or the workspace.

    Args:
        name: As the user has it.
        commit: Its hash; None for the workspace.
    """

    name: str
    commit: str | None

    @property
    def title(self) -> str:
        """The name, with the hash where the name is another."""
        if self.commit is None or self.commit.startswith(self.name):
            return self.name
        return f"{self.name} ({self.commit[:SHORT]})"


def find_revision(name: str) -> Revision:
    """Find a commit by hash, tag, branch or the name of a DVC experiment; or the workspace.

    Raises:
        InputError: Git knows no such commit; the error names the nearest names.
    """
    if name == WORKSPACE:
        return Revision(name, None)
    commit = _commit(name)
    if commit is not None:
        return Revision(name, commit)
    experiments = _references(EXPERIMENTS)
    commits = {commit for other, commit in experiments if other == name}
    if len(commits) > 1:
        reason = f"{len(commits)} experiments have the name {name!r}"
        raise InputError("git", reason, f"give one of the hashes {', '.join(sorted(commits))}")
    if commits:
        return Revision(name, commits.pop())
    known = [
        *(other for other, _ in experiments),
        *(other for other, _ in _references("refs/heads/", "refs/tags/", "refs/remotes/")),
        WORKSPACE,
        "HEAD",
    ]
    if name == "HEAD":
        reason = f"cannot read HEAD: {run('log', '-1').said}"
        raise InputError("git", reason, "commit first, if there is no commit")
    if name in known:
        raise InputError("git", f"{name!r} is no commit but a file or folder", "see `git log`")
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=3, cutoff=0.5)
    fix = f"did you mean {' or '.join(map(repr, near))}?" if near else "see `git log`"
    if is_shallow():
        fix = f"this clone is shallow: `git fetch --unshallow` brings older commits; or {fix}"
    raise InputError("git", f"knows no revision {name!r}", fix)


def is_shallow() -> bool:
    """Whether the clone lacks older commits, as those of CI do."""
    return git("rev-parse", "--is-shallow-repository") == "true"


def file_of(revision: Revision, path: str) -> bytes | None:
    """A file that git keeps, or None where the revision lacks it.

    Raises:
        InputError: Git cannot read it.
    """
    if revision.commit is None:
        file = Path(path)
        return file.read_bytes() if file.is_file() else None
    return blob(revision.commit, path)


def yaml_of(revision: Revision, path: str) -> dict[str, Any]:
    """A YAML file that git keeps.

    Raises:
        InputError: The revision lacks it, or it is no mapping.
    """
    content = file_of(revision, path)
    where = f"{path} of {revision.title}"
    if content is None:
        raise InputError(where, "does not exist", "name a revision that has one")
    document = parse_yaml(where, content)
    if not isinstance(document, dict):
        raise InputError(where, "holds no keys", "name a revision that has one")
    return document


def code_changes(one: Revision, other: Revision) -> tuple[FileChange, ...]:
    """Files of code that differ between two revisions, by path."""
    if one.commit == other.commit:
        return ()
    commits = [revision.commit for revision in (one, other) if revision.commit]
    turned = ["-R"] if one.commit is None else []
    words = ["diff", *turned, "--name-status", "-z", "--no-renames", "--no-ext-diff"]
    fields = map(readable, listed(*words, "--relative", *commits, "--", *CODE))
    found = [FileChange(status, path) for status, path in zip(fields, fields, strict=True)]
    if len(commits) == 1:  # git diff does not show what it does not know
        words = ["ls-files", "-z", "--others", "--exclude-standard", "--", *CODE]
        found += [
            FileChange("D" if turned else "A", path) for path in map(readable, listed(*words))
        ]
    return tuple(sorted(found, key=lambda change: change.path))


def _commit(name: str) -> str | None:
    """The hash of a commit that git knows by this name."""
    if "\0" in name or not name:
        return None
    peeled = name if name.startswith(SEARCH) else f"{name}^{{commit}}"
    done = run("rev-parse", "--verify", "--quiet", "--end-of-options", peeled)
    if done.status == 0:
        return done.printed.decode().strip()
    if (outside := run("rev-parse", "--git-dir")).status:
        reason = f"is in no git repository: {outside.said}"
        raise InputError(Path.cwd(), reason, "run this in the project's clone")
    return None


def _references(*prefixes: str) -> list[tuple[str, str]]:
    """(last part of the name or, of a branch or tag, the name; commit) of references."""
    printed = git("for-each-ref", "--format=%(refname) %(objectname)", *prefixes)
    lines = (readable(line).split(" ") for line in printed.splitlines())
    return [
        (
            name.rpartition("/")[2]
            if name.startswith(EXPERIMENTS)
            else name.split("/", maxsplit=2)[2],
            commit,
        )
        for name, commit in lines
    ]

"""A revision of the project, or its workspace, and what git keeps of it.

A revision is a commit's hash from the first line on: what a user typed reaches
no command but `git rev-parse`.
"""

from __future__ import annotations

import difflib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.comparing.changes import FileChange
from pipeline.errors import InputError
from pipeline.params import parse_yaml

WORKSPACE = "workspace"
EXPERIMENTS = "refs/exps/"
PARAMS = "params.yaml"
CODE = ("pipeline", "dvc.yaml", "pyproject.toml", "requirements.lock", "requirements-gpu.lock")
SHORT = 8  # letters of a hash


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
        said = git("log", "-1").stderr.decode(errors="replace")
        reason = f"cannot read HEAD: {' '.join(said.split())}"
        raise InputError("git", reason, "commit first, if there is no commit")
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=3, cutoff=0.5)
    fix = f"did you mean {' or '.join(map(repr, near))}?" if near else "see `git log`"
    if is_shallow():
        fix = f"this clone is shallow: `git fetch --unshallow` brings older commits; or {fix}"
    raise InputError("git", f"knows no revision {name!r}", fix)


def is_shallow() -> bool:
    """Whether the clone lacks older commits, as those of CI do."""
    return git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"


def file_of(revision: Revision, path: str) -> bytes | None:
    """A file that git keeps, or None where the revision lacks it."""
    if revision.commit is None:
        file = Path(path)
        return file.read_bytes() if file.is_file() else None
    done = git("cat-file", "blob", f"{revision.commit}:./{path}")
    return done.stdout if done.returncode == 0 else None


def yaml_of(revision: Revision, path: str) -> dict[str, Any]:
    """A YAML file that git keeps.

    Raises:
        InputError: The revision lacks it, or it is no mapping.
    """
    content = file_of(revision, path)
    where = f"{path} of {revision.title}"
    if content is None:
        raise InputError(where, "does not exist", "compare revisions that have one")
    document = parse_yaml(where, content)
    if not isinstance(document, dict):
        raise InputError(where, "holds no keys", "compare revisions that have one")
    return document


def code_changes(one: Revision, other: Revision) -> tuple[FileChange, ...]:
    """Files of code that differ between two revisions, by path."""
    if one.commit == other.commit:
        return ()
    commits = [revision.commit for revision in (one, other) if revision.commit]
    turned = ["-R"] if one.commit is None else []
    words = ["diff", *turned, "--name-status", "-z", "--no-renames", "--no-ext-diff"]
    done = git(*words, "--relative", *commits, "--", *CODE)
    fields = done.stdout.decode(errors="replace").split("\0")[:-1]
    found = [FileChange(*pair) for pair in zip(fields[::2], fields[1::2], strict=True)]
    if len(commits) == 1:  # git diff does not show what it does not know
        words = ["ls-files", "-z", "--others", "--exclude-standard", "--", *CODE]
        new = git(*words).stdout.decode(errors="replace").split("\0")[:-1]
        found += [FileChange("D" if turned else "A", path) for path in new]
    return tuple(sorted(found, key=lambda change: change.path))


def _commit(name: str) -> str | None:
    """The hash of a commit that git knows by this name."""
    if "\0" in name or not name:
        return None
    done = _run(
        "git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )
    if done.returncode == 128 and not Path(".git").exists() and not _in_git():
        raise InputError(Path.cwd(), "is in no git repository", "run this in the project's clone")
    return done.stdout.decode().strip() if done.returncode == 0 else None


def _in_git() -> bool:
    return git("rev-parse", "--git-dir").returncode == 0


def _references(*prefixes: str) -> list[tuple[str, str]]:
    """(last part of the name or, of a branch or tag, the name; commit) of references."""
    done = git("for-each-ref", "--format=%(refname) %(objectname)", *prefixes)
    lines = (line.split(" ") for line in done.stdout.decode(errors="replace").splitlines())
    return [
        (
            name.rpartition("/")[2]
            if name.startswith(EXPERIMENTS)
            else name.split("/", maxsplit=2)[2],
            commit,
        )
        for name, commit in lines
    ]


def git(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run git; whoever calls knows what its failure means."""
    return _run("git", *words)


def _run(*words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(words, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise InputError(words[0], "is not installed", "enter the environment first") from error

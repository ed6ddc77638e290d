"""A revision of the project, or its workspace, and the files it holds.

What git keeps is read through git, what DVC keeps through `dvc get`, which
finds it in the cache or a remote.  A revision is a commit's hash from the first
line on: what a user typed reaches no command but `git rev-parse`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.comparing.changes import FileChange
from pipeline.errors import InputError

WORKSPACE = "workspace"
EXPERIMENTS = "refs/exps/"
LOCK = "dvc.lock"
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
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=3, cutoff=0.5)
    fix = f"did you mean {' or '.join(map(repr, near))}?" if near else "see `git log`"
    raise InputError("git", f"knows no revision {name!r}", fix)


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
    try:
        document = YAML(typ="safe").load(content.decode())
    except (YAMLError, ValueError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(where, f"is not YAML: {reason}", "correct what it names") from error
    if not isinstance(document, dict):
        raise InputError(where, "holds no keys", "compare revisions that have one")
    return document


def recorded(revision: Revision) -> dict[str, str]:
    """The MD5 digest of each out by its path, as the revision's dvc.lock has it."""
    try:
        return {
            str(out["path"]): str(out.get("md5", ""))
            for stage in yaml_of(revision, LOCK).get("stages", {}).values()
            for out in stage.get("outs", [])
        }
    except (AttributeError, KeyError, TypeError) as error:
        where = f"{LOCK} of {revision.title}"
        raise InputError(where, f"is none of DVC's: {error!r}", _repro(revision)) from error


def outs_of(revision: Revision, paths: Sequence[str], folder: Path) -> list[Path]:
    """Files that DVC keeps, as the revision has them.

    Args:
        folder: Takes up what the workspace has not.

    Raises:
        InputError: One is neither in DVC's cache nor in a remote, or the
            workspace's is not that of its dvc.lock.
    """
    outs = recorded(revision)
    for path in paths:
        if path not in outs:
            reason = f"records no {path}"
            raise InputError(f"{LOCK} of {revision.title}", reason, _repro(revision))
    if revision.commit is None:
        return [_present(Path(path), outs[path]) for path in paths]
    found = {
        path: Path(path)
        if _digest(Path(path)) == outs[path]
        else folder / f"{revision.commit}.{number}"
        for number, path in enumerate(paths)
    }
    running = {
        path: _start(
            ["dvc", "get", *_config(), "-f", "-o", str(file), "--rev", revision.commit, ".", path]
        )
        for path, file in found.items()
        if file.parent == folder
    }
    said = {path: process.communicate()[1] for path, process in running.items()}
    for path, process in running.items():
        if process.returncode:
            lines = said[path].decode(errors="replace").strip().splitlines() or ["it failed"]
            raise InputError(
                f"{path} of {revision.title}",
                f"is neither in DVC's cache nor in a remote: {lines[0].removeprefix('ERROR: ')}",
                f"`dvc fetch --all-commits` where a remote has it, or else {_repro(revision)}",
            )
    return [*found.values()]


def stale_stages() -> list[str]:
    """Stages whose outs in the workspace are not of its present files, as `dvc status` has it."""
    done = _run("dvc", "status", "--json")
    try:
        report = json.loads(done.stdout)
    except ValueError as error:
        reason = f"`dvc status` failed: {done.stderr.decode(errors='replace').strip()[:300]}"
        raise InputError("dvc.yaml", reason, "correct what it names") from error
    return sorted(report)


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


def _present(file: Path, digest: str) -> Path:
    """The workspace's file, if it is the one that dvc.lock records."""
    if not file.is_file():
        raise InputError(file, "does not exist", "run `dvc checkout`, or `dvc repro`")
    if _digest(file) != digest:
        reason = f"is not the one that {LOCK} records, so it is of another run"
        raise InputError(file, reason, "run `dvc checkout`, or `dvc repro`")
    return file


def _digest(file: Path) -> str | None:
    """The digest that DVC knows a file by."""
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _config() -> list[str]:
    """Today's remotes: a revision may be older than they are."""
    file = Path(".dvc/config").absolute()
    return ["--config", str(file)] if file.is_file() else []


def _repro(revision: Revision) -> str:
    if revision.commit is None:
        return "run `dvc repro`"
    return f"check out {revision.commit[:SHORT]} in a clone, run `dvc repro` and `dvc push` there"


def git(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run git; whoever calls knows what its failure means."""
    return _run("git", *words)


def _run(*words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(words, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise InputError(words[0], "is not installed", "enter the environment first") from error


def _start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise InputError(words[0], "is not installed", "enter the environment first") from error

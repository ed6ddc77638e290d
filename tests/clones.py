"""Real git and DVC projects in temporary folders: this tree, and commands run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT

OF_THE_USER = ("AWS_", "DVC_", "GIT_", "GITHUB_")


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment for commands that reads nothing of the user's own.

    `folder` stands for the home, no AWS credentials are found, loopback takes no proxy.
    """
    nothing = folder / "nothing"  # botocore refuses os.devnull
    nothing.touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_THE_USER)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    apart = {"PATH": path, "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"}
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        apart |= {f"{name}_NAME": "tester", f"{name}_EMAIL": "tester@example.org"}
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "GIT_CONFIG_GLOBAL"):
        apart[name] = str(nothing)
    for name in ("NO_PROXY", "no_proxy"):
        apart[name] = "127.0.0.1,localhost"
    return {**kept, **apart, **(more or {})}


def attempt(
    folder: Path, *words: str, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment in a clone, with `more` variables set."""
    return subprocess.run(
        words, cwd=folder, env=environment(folder.parent, more), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def run(folder: Path, *words: str, more: Mapping[str, str] | None = None) -> str:
    """Run a command that must succeed; return all that it said."""
    done = attempt(folder, *words, more=more)
    assert done.returncode == 0, done.stdout
    return done.stdout


def copy_tree(folder: Path) -> None:
    """Copy what git tracks or would track of this tree, as it is now."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def commit_run(folder: Path, finished: Path) -> None:
    """Make `folder` a project as `dvc repro` leaves it, images under `dvc add`, committed.

    What the stages wrote in `finished` is taken over by `dvc commit`, which fills the
    cache, dvc.lock and the run-cache, in a tenth of the time of another run.
    """
    copy_tree(folder)
    (folder / "dvc.lock").unlink(missing_ok=True)
    run(folder, "git", "init", "--quiet", "--initial-branch", "main")
    run(folder, "dvc", "remove", "sample")
    shutil.copy2(finished / "params.yaml", folder)
    for name in ("data", "models", "reports"):
        shutil.copytree(finished / name, folder / name, dirs_exist_ok=True)
    run(folder, "dvc", "add", "--quiet", "data/raw")
    run(folder, "dvc", "commit", "--quiet", "--force")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "Run")


def clone(origin: Path, folder: Path) -> Path:
    """Clone with git into `folder`/project."""
    folder.mkdir(exist_ok=True)
    run(folder, "git", "clone", "--quiet", str(origin), "project")
    return folder / "project"


def has_nothing_to_do(folder: Path) -> bool:
    """Whether `dvc repro` runs no stage and leaves git's tree clean."""
    said = run(folder, "dvc", "repro")
    assert "Data and pipelines are up to date." in said, said
    return "Running stage" not in said and run(folder, "git", "status", "--porcelain") == ""

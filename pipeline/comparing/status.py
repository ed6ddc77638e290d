"""What is not up to date, as DVC has it; its import costs nothing, for flows start with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.params import parse_yaml


def stale(folder: Path, ask: Callable[..., str]) -> list[str]:
    """What `dvc repro` would bring up to date, by name, before it knows what that changes.

    `dvc status` also asks the repositories of imports for news, which is
    nothing to `dvc repro`: news is left out, and a repository that does not
    answer is not asked again.

    Args:
        ask: Runs a DVC command and returns what it prints.

    Raises:
        InputError: DVC cannot tell.
    """
    try:
        said = ask("status", "--json")
    except InputError:
        targets, left_out = _own_targets(folder)
        if not left_out:
            raise
        said = ask("status", "--json", *targets)
    return sorted(name for name, entries in json.loads(said).items() if not _only_news(entries))


def _only_news(entries: Any) -> bool:
    changed = [entry.get("changed deps") if isinstance(entry, dict) else None for entry in entries]
    return all(
        deps and all(what == "update available" for what in deps.values()) for deps in changed
    )


def _own_targets(folder: Path) -> tuple[list[str], bool]:
    """Stages and .dvc files but for imports from repositories; whether there are such."""
    graph = folder / "dvc.yaml"
    own, left_out = [*parse_yaml(graph, graph.read_bytes())["stages"]], False
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.dvc"], cwd=folder, capture_output=True, check=False
    )
    for file in filter(None, listed.stdout.decode(errors="replace").split("\0")):
        document = parse_yaml(folder / file, (folder / file).read_bytes())
        imported = any("repo" in dep for dep in document.get("deps", []))
        left_out |= imported
        own += [] if imported else [file]
    return own, left_out

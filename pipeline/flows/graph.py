"""The stages of dvc.yaml: in which order they run, what they read and what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import InputError
from pipeline.params import parse_yaml

GRAPH = Path("dvc.yaml")


@dataclass(frozen=True)
class Stage:
    """Paths that a stage reads and makes; a frozen one does not run."""

    reads: list[str]
    makes: list[str]
    frozen: bool


def read_graph() -> dict[str, Stage]:
    """The stages by name, each after those that make what it reads, else in the file's order.

    Raises:
        InputError: There is no such file, it holds none, or one that stands for many.
    """
    try:
        specs = dict(loaded(GRAPH)["stages"])
        for name, spec in specs.items():
            if several := {"matrix", "foreach"} & spec.keys():
                reason = f"stage {name} has {several.pop()}, which flows cannot run one by one"
                raise InputError(GRAPH, reason, "write its stages out")
            if spec.get("wdir", ".") != ".":
                reason = f"stage {name} has wdir, from which flows do not follow paths"
                raise InputError(GRAPH, reason, "write its paths from the project's folder")
        found = {name: _stage(spec) for name, spec in specs.items()}
        for name, stage in found.items():
            if unread := [path for path in (*stage.reads, *stage.makes) if "${" in path]:
                reason = f"stage {name} names {unread[0]!r}, which flows do not fill in"
                raise InputError(GRAPH, reason, "write the path out")
    except (OSError, KeyError, TypeError, AttributeError) as error:
        fix = "run in a project's top folder"
        raise InputError(GRAPH, f"names no stages: {error!r}", fix) from error
    before = {
        name: {other for other in found if other != name and meet(stage.reads, found[other].makes)}
        for name, stage in found.items()
    }
    order: list[str] = []
    while waiting := [name for name in found if name not in order]:
        free = (name for name in waiting if before[name] <= set(order))
        order.append(next(free, waiting[0]))  # DVC itself refuses stages that form a ring
    return {name: found[name] for name in order}


def _stage(spec: Mapping[str, Any]) -> Stage:
    makes = [path for kind in ("outs", "metrics", "plots") for path in _paths(spec, kind)]
    return Stage(_paths(spec, "deps"), makes, bool(spec.get("frozen")))


def _paths(spec: Mapping[str, Any], kind: str) -> list[str]:
    entries = spec.get(kind, [])
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def meet(some: list[str], others: list[str]) -> bool:
    """Whether a path is one of the others, or lies in it, or has it in it."""
    return any(_meet(one, other) for one in some for other in others)


def _meet(one: str, other: str) -> bool:
    parts, others = PurePosixPath(one).parts, PurePosixPath(other).parts
    shared = min(len(parts), len(others))
    return parts[:shared] == others[:shared]


def loaded(file: Path) -> dict[str, Any]:
    """What a file of DVC's holds.

    Raises:
        InputError: It is not YAML, or holds no keys.
    """
    document = parse_yaml(file, file.read_bytes()) or {}
    if not isinstance(document, dict):
        raise InputError(file, "holds no keys", "restore it, as by `git checkout`")
    return document

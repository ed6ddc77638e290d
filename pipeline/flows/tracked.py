"""What DVC keeps in this clone: outs, .dvc files, and which of them have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.flows import clone
from pipeline.flows.graph import Stage, loaded, meet, read_graph
from pipeline.programs import dvc

RAW = "data/raw"


def raw_stages() -> list[str]:
    """The stages that make data/raw, where users may have put files of their own."""
    return [name for name, stage in _run_stages().items() if RAW in stage.makes]


def derived_stages() -> list[str]:
    """The other stages that have run at HEAD, and still are: their outs are nobody's own."""
    return [name for name, stage in _run_stages().items() if RAW not in stage.makes]


def _run_stages() -> dict[str, Stage]:
    known = read_graph()
    return {name: known[name] for name in _lock() if name in known}


def written() -> list[str]:
    """Files of git's that training has changed: dvc.lock, figures, .dvc files, what to ignore."""
    made = {path for stage in read_graph().values() for path in stage.makes}
    known = {"dvc.lock", *clone.tracked("*.dvc"), *made}
    folders = tuple(f"{path}/" for path in made)
    return [
        path
        for path in clone.changed()
        if path in known or path.startswith(folders) or Path(path).name == ".gitignore"
    ]


def imports() -> list[str]:
    """The .dvc files that say where their data comes from."""
    return [file for file in clone.tracked("*.dvc") if loaded(Path(file)).get("deps")]


def digests_of(file: str) -> dict[Path, str]:
    """The digest of each path that a .dvc file tracks."""
    outs = loaded(Path(file)).get("outs", [])
    return {Path(file).parent / out["path"]: out.get("md5", "") for out in outs}


def is_read(file: str) -> bool:
    """Whether a stage reads what a .dvc file tracks."""
    kept = [path.as_posix() for path in digests_of(file)]
    return any(meet(stage.reads, kept) for stage in read_graph().values())


def outs_exist(file: str) -> bool:
    """Whether what a .dvc file tracks lies in the workspace."""
    return all(path.exists() for path in digests_of(file))


def modified(files: list[str]) -> list[str]:
    """Those .dvc files whose data in the workspace is another, in part or whole."""
    if not files:
        return []
    # what is news at the source of an import is no change here, and asks a network
    found = json.loads(dvc.run("status", "--json", "--no-updates", *files))
    return [
        file
        for file in files
        for entry in found.get(file, [])
        if isinstance(entry, dict) and "modified" in entry.get("changed outs", {}).values()
    ]


def differences(file: str) -> list[str]:
    """The paths at which the workspace has other data than a .dvc file names, by their names."""
    found = json.loads(dvc.run("data", "status", "--granular", "--json")).get("uncommitted", {})
    kept = [path.as_posix() for path in digests_of(file)]
    paths = [path for how in ("added", "modified", "deleted") for path in found.get(how, [])]
    return sorted(path for path in paths if not path.endswith("/") and meet([path], kept))


def check_settled() -> None:
    """Refuse a run whose data changed while stages read it: nobody could pull that.

    Raises:
        InputError: A stage read other data than a .dvc file names.
    """
    kept = {
        path.as_posix(): md5
        for file in clone.tracked("*.dvc")
        for path, md5 in digests_of(file).items()
    }
    for name, stage in _lock().items():
        for dep in stage.get("deps", []):
            whole = dep["path"] in kept
            if whole and dep.get("md5") == kept[dep["path"]]:
                continue
            # of a part of it DVC keeps no digest that could be compared
            held = [] if whole else [path for path in kept if meet([path], [dep["path"]])]
            if whole or (held and modified(clone.tracked("*.dvc"))):
                reason = f"changed while {name} read it"
                fix = "run again once all new files are there; move them in, rather than copy"
                raise InputError(dep["path"], reason, fix)


def check_versioned() -> None:
    """Refuse raw data that DVC does not keep, or stages that it does not run.

    A pushed commit could not be reproduced, or a model would be judged by old answers.

    Raises:
        InputError: data/raw is neither the out of a stage nor under `dvc add` or an
            import; or a stage is frozen.
    """
    stages = read_graph()
    if frozen := [name for name, stage in stages.items() if stage.frozen]:
        reason = f"stage {frozen[0]} is frozen, so what it makes stays as it is"
        raise InputError("dvc.yaml", reason, f"run `dvc unfreeze {frozen[0]}` and commit")
    made = any(RAW in stage.makes for stage in stages.values())
    if not made and not Path("data/raw.dvc").exists():
        fix = "run `dvc add data/raw`, or import it with `dvc import-url`, and commit data/raw.dvc"
        raise InputError(RAW, "is not under DVC", fix)


def _lock() -> dict[str, Any]:
    """What dvc.lock says of each stage."""
    lock = Path("dvc.lock")
    stages: dict[str, Any] = loaded(lock).get("stages", {}) if lock.exists() else {}
    return stages

"""What DVC keeps in this clone: outs, .dvc files, and which of them have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.flows import dvc, git

RAW = "data/raw"


def raw_stages() -> list[str]:
    """The stages that make data/raw, where users may have put files of their own."""
    return [stage for stage in _run_stages() if RAW in _made_by(stage)]


def derived_stages() -> list[str]:
    """The other stages that have run at HEAD, and still are: their outs are nobody's own."""
    return [stage for stage in _run_stages() if RAW not in _made_by(stage)]


def _run_stages() -> list[str]:
    known = dvc.stages(Path())
    return [stage for stage in _lock() if stage in known]


def made() -> list[str]:
    """What stages make."""
    return [path for stage in dvc.stages(Path()) for path in _made_by(stage)]


def _made_by(stage: str) -> list[str]:
    return dvc.outs_of(dvc.loaded(Path("dvc.yaml"))["stages"][stage])


def written() -> list[str]:
    """Files of git's that training has changed: dvc.lock, figures, .dvc files, what to ignore."""
    known = {"dvc.lock", *git.tracked("*.dvc")}
    folders = tuple(f"{path}/" for path in made())
    return [
        path
        for path in git.changed()
        if path in known
        or path in made()
        or path.startswith(folders)
        or Path(path).name == ".gitignore"
    ]


def imports() -> list[str]:
    """The .dvc files that say where their data comes from."""
    return [file for file in git.tracked("*.dvc") if dvc.loaded(Path(file)).get("deps")]


def outs_of(file: str) -> dict[Path, str]:
    """The digest of each path that a .dvc file tracks."""
    outs = dvc.loaded(Path(file)).get("outs", [])
    return {Path(file).parent / out["path"]: out.get("md5", "") for out in outs}


def outs_exist(file: str) -> bool:
    """Whether what a .dvc file tracks lies in the workspace."""
    return all(path.exists() for path in outs_of(file))


def modified(files: list[str]) -> list[str]:
    """Those .dvc files whose data in the workspace is another, in part or whole."""
    if not files:
        return []
    found = json.loads(dvc.ask(Path(), "status", "--json", *files))
    return [
        file
        for file in files
        for entry in found.get(file, [])
        if isinstance(entry, dict) and "modified" in entry.get("changed outs", {}).values()
    ]


def check_settled() -> None:
    """Refuse a run whose data changed while stages read it: nobody could pull that.

    Raises:
        InputError: A stage read other data than a .dvc file names.
    """
    kept = {
        path.as_posix(): md5
        for file in git.tracked("*.dvc")
        for path, md5 in outs_of(file).items()
    }
    for name, stage in _lock().items():
        for dep in stage.get("deps", []):
            if dep.get("md5") != kept.get(dep["path"], dep.get("md5")):
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
    dvc.stages(Path())  # for its errors
    specs = dvc.loaded(Path("dvc.yaml"))["stages"]
    if frozen := [name for name, spec in specs.items() if spec.get("frozen")]:
        reason = f"stage {frozen[0]} is frozen, so what it makes stays as it is"
        raise InputError("dvc.yaml", reason, f"run `dvc unfreeze {frozen[0]}` and commit")
    if RAW not in made() and not Path("data/raw.dvc").exists():
        fix = "run `dvc add data/raw`, or import it with `dvc import-url`, and commit data/raw.dvc"
        raise InputError(RAW, "is not under DVC", fix)


def _lock() -> dict[str, Any]:
    """What dvc.lock says of each stage."""
    lock = Path("dvc.lock")
    stages: dict[str, Any] = dvc.loaded(lock).get("stages", {}) if lock.exists() else {}
    return stages

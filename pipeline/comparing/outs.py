"""Files that DVC keeps, as a revision has them: from the workspace, the cache or a remote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.comparing.revisions import SHORT, Revision, yaml_of
from pipeline.errors import InputError
from pipeline.programs import dvc

LOCK = "dvc.lock"
CONFIG = Path(".dvc/config")


def files_of(revision: Revision, paths: Sequence[str], folder: Path) -> list[Path]:
    """Find files that DVC keeps, as the revision has them.

    Args:
        folder: Takes up what the workspace has not.

    Raises:
        InputError: One is neither in DVC's cache nor in a remote, or is not
            that of the revision's dvc.lock.
    """
    outs = recorded(revision)
    for path in paths:
        if path not in outs:
            reason = f"records no {path}"
            raise InputError(f"{LOCK} of {revision.title}", reason, _repro(revision))
    if revision.commit is None:
        return [_present(Path(path), outs[path]) for path in paths]
    wanted = {
        path: folder / f"{revision.commit}.{number}"
        for number, path in enumerate(paths)
        if dvc.digest(Path(path)) != outs[path]
    }
    failed = dvc.get(revision.commit, wanted)
    if failed and CONFIG.is_file():
        again = {path: wanted[path] for path in failed}
        # a revision may be older than the remotes of today
        failed = dvc.get(revision.commit, again, "--config", str(CONFIG.absolute()))
    for path, why in failed.items():
        raise InputError(
            f"{path} of {revision.title}",
            f"is neither in DVC's cache nor in a remote: {why}",
            f"`dvc fetch --all-commits` where a remote has it, or else {_repro(revision)}",
        )
    for path, file in wanted.items():
        if file.is_file() and dvc.digest(file) != outs[path]:
            where = f".dvc/cache/files/md5/{outs[path][:2]}/{outs[path][2:]}"
            reason = f"is not what its {LOCK} records: DVC's cache, or the remote, is damaged"
            fix = f"delete {where}, and `dvc fetch --all-commits` where a remote has it"
            raise InputError(f"{path} of {revision.title}", reason, fix)
    return [wanted.get(path, Path(path)) for path in paths]


def recorded(revision: Revision) -> dict[str, str]:
    """The MD5 digest of each out by its path, as the revision's dvc.lock has it.

    Raises:
        InputError: There is no such file, or it is none of DVC's.
    """
    try:
        return {
            str(out["path"]): str(out.get("md5", ""))
            for stage in yaml_of(revision, LOCK).get("stages", {}).values()
            for out in stage.get("outs", [])
        }
    except (AttributeError, KeyError, TypeError) as error:
        where = f"{LOCK} of {revision.title}"
        raise InputError(where, f"is none of DVC's: {error!r}", _repro(revision)) from error


def _present(file: Path, digest: str) -> Path:
    """The workspace's file, if it is the one that dvc.lock records."""
    if not file.is_file():
        fix = "run `dvc pull` where a remote has it, `dvc checkout`, or `dvc repro`"
        raise InputError(file, "does not exist", fix)
    if dvc.digest(file) != digest:
        reason = f"is not the one that {LOCK} records, so it is of another run"
        raise InputError(file, reason, "run `dvc checkout`, or `dvc repro`")
    return file


def _repro(revision: Revision) -> str:
    if revision.commit is None:
        return "run `dvc repro`"
    return f"check out {revision.commit[:SHORT]} in a clone, run `dvc repro` and `dvc push` there"

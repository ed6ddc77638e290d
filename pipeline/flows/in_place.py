"""Which data lies in this clone, where git has brought a .dvc file and nobody its data.

To `dvc repro` such data looks like somebody's own changes: it would take out
what others have added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from pipeline.files import replacing
from pipeline.flows import clone
from pipeline.flows.clone import first_of
from pipeline.flows.remote import PartedError
from pipeline.flows.tracked import differences, digests_of
from pipeline.programs import dvc
from pipeline.programs.git import git

PUT_BACK = "then put them back, tables line by line"
# in a reflog; the latter of rebase, or of pull
MADE_HERE = re.compile(r"(commit( \((initial|amend)\))?|.* \((pick|reword|squash|fixup)\)): ")
FOLDER = ".dir"  # how the digest of a folder ends; under it the cache has a list of its files

Listing = dict[str, str]
"""Digest by path, of the files of an out."""


def record() -> None:
    """Note that the data of every .dvc file of HEAD is in place, or was and has changed since."""
    known = {file: _names(file) for file in clone.tracked("*.dvc")}
    with replacing(_record()) as partial:
        partial.write_text(json.dumps(known), encoding="utf-8")


def not_brought(own: Collection[str]) -> list[str]:
    """The .dvc files whose data others have changed and nobody put in place, nor changed here.

    Args:
        own: Those of which all that differs is this clone's own doing; see `added_here`.

    Raises:
        PartedError: It has changes of its own, too; both are named.
    """
    try:
        known = json.loads(_record().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # the first run takes what is there
        return []
    behind = []
    for file in clone.tracked("*.dvc"):
        absent = [] if file in own else _absent(known.get(file, {}), _names(file))
        if absent:
            changed = sorted({*differences(file)} - {*absent})
            if changed:
                theirs = f"{len(absent)} files that others changed, such as {first_of(absent)}"
                reason = (
                    f"{theirs}, were never put in place here, where {first_of(changed)} changed"
                )
                fix = f"copy these away, run `dvc checkout --force {file}`, {PUT_BACK}"
                raise PartedError(file, reason, fix)
            behind.append(file)
    return behind


def added_here() -> set[str]:
    """The .dvc files of commits that were made here, and whose data DVC's cache has by that.

    To be asked before anything is fetched: who squashes what others did commits
    here, too, but not beside the data.
    """
    cache = _cache()
    moves = (line.partition(" ") for line in git("reflog", "--format=%H %gs").splitlines())
    made = {commit for commit, _, how in moves if MADE_HERE.match(how)}
    return {
        file
        for file in clone.tracked("*.dvc")
        if git("log", "-1", "--format=%H", "--", file) in made
        and all((cache / _kept_as(digest)).exists() for digest in _names(file).values())
    }


def _absent(was: Listing, now: Listing) -> list[str]:
    """Paths at which there is what `was` has, although `now` has something else."""
    turned = {path for path, digest in now.items() if was.get(path, digest) != digest}
    stale: list[str] = []
    for path in turned:
        before, after = _files(path, was[path]), _files(path, now[path])
        changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
        stale += [name for name in changed if dvc.digest(Path(name)) == before.get(name)]
    return sorted(stale)


def _files(path: str, digest: str) -> Listing:
    """The files of an out, as the cache has them; none where it lacks the list."""
    if not digest.endswith(FOLDER):
        return {path: digest}
    try:
        listed = json.loads((_cache() / _kept_as(digest)).read_bytes())
    except FileNotFoundError:
        return {}
    return {f"{path}/{entry['relpath']}": entry["md5"] for entry in listed}


def _cache() -> Path:
    """DVC's cache of this clone."""
    return Path(dvc.run("cache", "dir").strip())


def _kept_as(digest: str) -> Path:
    """Where a cache has what has this digest."""
    return Path("files/md5") / digest[:2] / digest[2:]


def _names(file: str) -> Listing:
    return {path.as_posix(): digest for path, digest in digests_of(file).items()}


def _record() -> Path:
    """In git's own folder, as the journal is."""
    return Path(git("rev-parse", "--git-path", "retrain-data.json"))

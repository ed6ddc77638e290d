"""Have in a clone what others have pushed, and the data and models of its commit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from prefect import get_run_logger, task

from pipeline.errors import InputError
from pipeline.flows import clone, journal, remote
from pipeline.flows.in_place import PUT_BACK, added_here, not_brought, record
from pipeline.flows.journal import Entry
from pipeline.flows.locks import unlocked
from pipeline.flows.remote import PartedError, Remote
from pipeline.flows.tasks import over_a_network
from pipeline.flows.tracked import (
    derived_stages,
    differences,
    imports,
    modified,
    outs_exist,
    raw_stages,
)
from pipeline.programs import dvc

LACKS = re.compile(r"\bmissing\b(?! dependencies)")  # what DVC says of files, and of plugins


class Backing(NamedTuple):
    """The DVC remote that takes what is pushed; its URL may be an absolute path."""

    name: str
    url: str


def backing() -> Backing | None:
    """The default DVC remote; None where there is none."""
    lines = dvc.run("config", "--list").splitlines()
    config = dict(line.partition("=")[::2] for line in lines)
    name = config.get("core.remote")
    return Backing(name, config.get(f"remote.{name}.url", "")) if name else None


def check_backing(name: str, url: str) -> None:
    """Refuse a directory that is not there, as where none is mounted: DVC would make another.

    Raises:
        InputError: It does not exist, though HEAD has results that it should hold;
            or it is a URL of a file, which DVC takes for a path in the clone.
    """
    if url.startswith("file:"):
        reason = f"DVC would take {url} for a folder within the clone"
        fix = "give it a plain absolute path instead: `dvc remote modify NAME url PATH`"
        raise InputError(f"DVC's remote {name!r}", reason, fix)
    if url and "://" not in url and not Path(url).exists() and clone.tracked("dvc.lock"):
        reason = f"does not exist, and should hold what DVC's remote {name!r} was given"
        raise InputError(url, reason, "mount it; or, if it is a new one, make it")


@task(name="push again", **over_a_network)
def push_again() -> None:
    """Give the DVC remote what it lacks of HEAD, as where another was in its place."""
    if lost := dvc.transfer("push", "--run-cache"):
        get_run_logger().warning("HEAD names data that is nowhere: %s", lost)


@unlocked()
def sync(where: Remote | None, pending: list[str]) -> None:
    """Take over what others have pushed, and have HEAD's data and models in place.

    Args:
        pending: .dvc files whose data a killed run had yet to bring.

    Raises:
        InputError: The data of an import has changes of its own.
        PartedError: Others have changed data that has new files here, or this
            clone has commits that the remote lacks, and the other way round.
    """
    before = clone.head()
    journal.write(Entry("sync", before, data=pending))  # a git that is killed leaves its locks
    try:
        after = incoming(where) if where else before
        theirs = clone.files_between(before, after)
        check_mine(theirs, pending)
    except Exception:
        if not pending:
            journal.clear()
        raise
    data = sorted({*pending, *(file for file in theirs if file.endswith(".dvc"))})
    journal.write(Entry("sync", before, data=data))
    clone.move_to(after, theirs)
    here = clone.tracked("*.dvc")
    data = [file for file in here if file in data or not outs_exist(file)]
    journal.write(Entry("sync", after, data=data))
    try:
        own = added_here()
        if backing():
            fetch()
        bring(sorted({*data, *not_brought(own)}))
        check_out(raw_stages(), force=False)
        check_out(derived_stages())
    except BaseException:
        if not data:  # or else the next run brings it
            journal.clear()
        raise
    record()
    journal.clear()


def check_mine(theirs: list[str], pending: list[str]) -> None:
    """Refuse to overwrite data that has new files here.

    Args:
        theirs: Files that others have changed.
        pending: See `sync`.

    Raises:
        InputError: See `sync`.
        PartedError: See `sync`.
    """
    own = [file for file in imports() if file not in pending]
    known = [file for file in clone.tracked("*.dvc") if file in theirs and file not in pending]
    touched = modified(sorted({*own, *known}))
    if mine := [file for file in own if file in touched]:
        reason = "its data has changes of its own, which the next update would overwrite"
        fix = f"move them to the import's source, then `dvc checkout --force {mine[0]}`"
        raise InputError(mine[0], reason, fix)
    if parted := [file for file in known if file in touched]:
        changed = clone.first_of(differences(parted[0]))
        reason = f"was changed by others, and so was its data here: {changed}"
        fix = f"copy these away, run `dvc checkout --force {parted[0]}` and retrain, {PUT_BACK}"
        raise PartedError(parted[0], reason, fix)


@task(name="catch up", **over_a_network)
@unlocked()
def incoming(where: Remote) -> str:
    """The commit that others have pushed on top of HEAD; HEAD where there is none."""
    return remote.incoming(where)


@task(name="fetch", **over_a_network)
def fetch() -> None:
    """Fetch the data and models of HEAD, and records of runs.

    What stages made and the remote lacks is made anew.
    """
    try:
        lost = dvc.transfer("fetch", "--run-cache")
    except InputError as error:
        if not LACKS.search(error.reason):
            raise
        lost = str(error)
    if lost:
        get_run_logger().warning("the DVC remote lacks some of HEAD's files: %s", lost)


def bring(data: list[str]) -> None:
    """Put data into place that .dvc files name; but for imports over no file that DVC lacks.

    Raises:
        InputError: There are such files, or no cache and no remote has what is no import's.
    """
    known = imports()
    check_out([file for file in data if file in known])
    if others := [file for file in data if file not in known]:
        dvc.run("checkout", *others)


@task(name="update", task_run_name="update {file}", **over_a_network)
def update(file: str) -> None:
    """Look for new data at the source of an import."""
    dvc.run("update", file)


def check_out(targets: list[str], *, force: bool = True) -> None:
    """Bring outs of stages and imports as the tree has them; what no cache holds is left.

    Args:
        force: Over files that DVC does not keep; without, DVC refuses where it finds some.
    """
    if targets:
        options = ["--allow-missing", *(["--force"] if force else [])]
        dvc.run("checkout", *options, *targets)

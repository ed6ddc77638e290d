"""Retrain: take in new data, train, and keep the model only if it earns the champion's place.

It needs a clean clone of its own.  Whatever happens the clone ends clean, on a
commit whose data the DVC remote has.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from pipeline.comparing.markdown import plain
from pipeline.errors import InputError
from pipeline.flows import artifacts, dvc, git, journal
from pipeline.flows.champion import Judgement, figures, gate, judge
from pipeline.flows.dvc import StageError
from pipeline.flows.git import PartedError, Remote
from pipeline.flows.journal import Entry
from pipeline.flows.tracked import (
    check_settled,
    check_versioned,
    derived_stages,
    imports,
    modified,
    outs_exist,
    raw_stages,
    written,
)
from pipeline.flows.train import bring_up_to_date

METRICS = Path("reports/metrics.json")
LACKS = "missing"  # what DVC says of files that a remote lacks
TRIES, PAUSES_S = 3, [10.0, 30.0, 90.0]  # where another try can help: over a network

ordinary: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


def _helps(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether another try can help."""
    return not isinstance(state.result(raise_on_failure=False), PartedError)


over_a_network: dict[str, Any] = {
    **ordinary,
    "retries": TRIES,
    "retry_delay_seconds": PAUSES_S,
    "retry_condition_fn": _helps,
}


@flow(name="retrain", flow_run_name="retrain", persist_result=False)
def retrain() -> State[str]:
    """Retrain in the working directory; end as Unchanged, Promoted, NotPromoted or Failed."""
    os.environ.update(dvc.environment())
    try:
        with journal.alone():
            state = attempt()
    except (InputError, StageError, OSError) as error:
        state = Failed(name="Failed", message=str(error))
    told = plain(" ".join(str(state.message).split()))
    create_markdown_artifact(f"**{state.name}** {told}", key="retrain", description=state.name)
    return state


def attempt() -> State[str]:
    """Mend what a killed run left, then run."""
    git.check_top()
    pending = mend()
    git.check_clean()
    where, backed = git.remote(), bool(dvc.ask(Path(), "remote", "list").strip())
    if where and not backed:
        reason = "has a git remote but no DVC remote: what is pushed would lack its data"
        raise InputError(Path.cwd(), reason, "run `dvc remote add --default NAME URL`")
    check_versioned()
    gate()
    sync(where, pending, backed=backed)
    journal.write(Entry("train", git.head()))
    try:
        judgement = challenge()
        if judgement is None or not judgement.verdict.promote:
            undo()
            return kept_as_it_was(judgement)
        entry = commit(judgement, where, backed=backed)
    except BaseException as error:
        get_run_logger().error("rolling back: %s", error)
        undo()
        raise
    publish(entry, where)
    return Completed(name="Promoted", message=f"{entry.tag}: {judgement.verdict.reason}")


def kept_as_it_was(judgement: Judgement | None) -> State[str]:
    """The champion stays."""
    if judgement is None:
        return Completed(name="Unchanged", message="neither data, params nor code have changed")
    return Completed(name="NotPromoted", message=judgement.verdict.reason)


def mend() -> list[str]:
    """Finish or undo what a killed run left; return .dvc files whose data it had yet to bring."""
    entry = journal.read()
    if entry is None:
        return []
    log = get_run_logger()
    log.info("a killed run was at step %s", entry.step)
    git.remove_stale_locks()
    Path(".dvc/tmp/rwlock").unlink(missing_ok=True)  # DVC's, by process ids
    if entry.step == "sync":
        half = {*git.between(entry.head, git.head())} & {*git.changed()}
        git.restore(sorted(half))
        return entry.data
    if promotion(entry):
        try:
            publish(entry, git.remote())
        except PartedError as error:
            log.info("%s", error)
        return []
    undo()
    return []


def sync(where: Remote | None, pending: list[str], *, backed: bool) -> None:
    """Take over what others have pushed, and have HEAD's data and models in place.

    Args:
        pending: .dvc files whose data a killed run had yet to bring.

    Raises:
        InputError: The data of an import has changes of its own.
        PartedError: Others have changed data that has new files here, or this
            clone has commits that the remote lacks, and the other way round.
    """
    before = git.head()
    after = incoming(where) if where else before
    theirs = git.between(before, after)
    own = [file for file in imports() if file not in pending]
    known = [file for file in git.tracked("*.dvc") if file in theirs and file not in pending]
    touched = modified(sorted({*own, *known}))
    if mine := [file for file in own if file in touched]:
        reason = "its data has changes of its own, which the next update would overwrite"
        fix = f"move them to the import's source, then `dvc checkout --force {mine[0]}`"
        raise InputError(mine[0], reason, fix)
    if parted := [file for file in known if file in touched]:
        reason = f"was changed by others, and its data has new files here: {', '.join(parted)}"
        fix = "move them away, run `git pull` and `dvc pull`, and put them back"
        raise PartedError(parted[0], reason, fix)
    data = sorted({*pending, *(file for file in theirs if file.endswith(".dvc"))})
    journal.write(Entry("sync", before, data=data))
    git.move_to(after, theirs)
    here = git.tracked("*.dvc")
    data = [file for file in here if file in data or not outs_exist(file)]
    journal.write(Entry("sync", after, data=data))
    try:
        if backed:
            fetch()
        bring(data)
        check_out(raw_stages(), force=False)
        check_out(derived_stages())
    except BaseException:
        if not data:  # or else the next run brings it
            journal.clear()
        raise


@task(name="catch up", **over_a_network)
def incoming(where: Remote) -> str:
    """The commit that others have pushed on top of HEAD; HEAD where there is none."""
    return git.incoming(where)


@task(name="fetch", **over_a_network)
def fetch() -> None:
    """Fetch the data and models of HEAD, and records of runs.

    What stages made and the remote lacks is made anew.
    """
    try:
        dvc.fetch(Path(), "--run-cache")
    except InputError as error:
        if LACKS not in str(error):
            raise
        get_run_logger().warning("the DVC remote lacks some of HEAD's files: %s", error)


def bring(data: list[str]) -> None:
    """Put data into place that .dvc files name, over no file that DVC does not keep.

    Raises:
        InputError: There are such files, or no cache and no remote has the data.
    """
    known = imports()
    check_out([file for file in data if file in known])
    if others := [file for file in data if file not in known]:
        dvc.ask(Path(), "checkout", *others)


def challenge() -> Judgement | None:
    """Take in data and train; no judgement where nothing has changed."""
    journal.write(Entry("update", git.head()))
    for file in imports():
        update(file)
    journal.write(Entry("train", git.head()))
    outcomes = bring_up_to_date([], None)
    if not written():
        return None
    check_settled()
    judgement = judgement_of_workspace()
    artifacts.of_run(Path(), done=list(outcomes))
    if judgement.account:
        create_markdown_artifact(judgement.account, key="comparison", description="With HEAD")
    return judgement


@task(name="update", task_run_name="update {file}", **over_a_network)
def update(file: str) -> None:
    """Look for new data at the source of an import."""
    dvc.ask(Path(), "update", file)


@task(name="compare", **ordinary)
def judgement_of_workspace() -> Judgement:
    """Compare with the champion, and decide."""
    judgement = judge()
    get_run_logger().info("%s", judgement.verdict.reason)
    return judgement


def commit(judgement: Judgement, where: Remote | None, *, backed: bool) -> Entry:
    """Push data, then commit: in this order, so that no commit lacks its data."""
    if backed:
        push(everything=where is not None and brings_own_data(where))
    scores = json.loads(METRICS.read_text(encoding="utf-8"))["fine_tuned"]
    entry = Entry("commit", git.head(), git.next_tag())
    journal.write(entry)
    message = f"{subject(entry)}{figures(scores)}\n\n{judgement.verdict.reason}"
    git.commit(message, written())
    return entry


@task(name="push", **over_a_network)
def push(*, everything: bool) -> None:
    """Give data, models and the runs' records to the DVC remote.

    Args:
        everything: Those of earlier commits too, which go to the git remote along.

    Raises:
        InputError: The remote does not answer, or what is to be committed is nowhere.
    """
    if everything and (lost := dvc.push(Path(), "--all-commits")):
        get_run_logger().warning("earlier commits name data that is nowhere: %s", lost)
    if lost := dvc.push(Path(), "--run-cache"):
        fix = "find it and `dvc add` it anew, or remove what names it from the project"
        raise InputError("dvc push", f"neither cache nor remote has {lost}", fix)


def brings_own_data(where: Remote) -> bool:
    """Whether commits that name data wait for their push to the git remote."""
    known = git.git("rev-parse", "--verify", "--quiet", where.reference, may_fail=True)
    since = [f"^{known}"] if known else []
    return bool(git.git("rev-list", "HEAD", *since, "--", "*.dvc", "dvc.lock"))


@task(name="publish", **over_a_network)
def publish(entry: Entry, where: Remote | None) -> None:
    """Tag the promotion and push it; its data is with the DVC remote already.

    Raises:
        PartedError: Others were first; the commit is taken back.
    """
    made = promotion(entry)
    try:
        git.publish(where, entry.tag, made)
    except PartedError:
        if git.head() == made:
            git.move_to(entry.head, git.between(made, entry.head))
            roll_back()
        journal.clear()  # what somebody committed on top of it is theirs to join
        raise
    journal.clear()


def promotion(entry: Entry) -> str:
    """The commit of the model that is being promoted; empty if it is not there yet."""
    return git.find(subject(entry), entry.head) if entry.step == "commit" else ""


def subject(entry: Entry) -> str:
    """How the commit's message begins."""
    return f"Promote {entry.tag}: "


def undo() -> None:
    """Roll back and forget; but what is committed stays, for the next run to publish."""
    entry = journal.read()
    if entry and promotion(entry):
        return
    roll_back()
    journal.clear()


def roll_back() -> None:
    """Bring back HEAD's files, and the outs of its stages.

    Data that nobody imported stays: the next run shall see it again.
    """
    git.restore(written())
    entry = journal.read()
    if entry and entry.step == "update":
        check_out(imports())  # half brought, so in no cache
    else:
        with suppress(InputError):  # files that DVC does not keep; the next run names them
            check_out(imports(), force=False)
    with suppress(InputError):
        check_out(raw_stages(), force=False)
    check_out(derived_stages())


def check_out(targets: list[str], *, force: bool = True) -> None:
    """Bring outs of stages and imports as the tree has them; what no cache holds is left.

    Args:
        force: Over files that DVC does not keep; without, DVC refuses where it finds some.
    """
    if targets:
        options = ["--allow-missing", *(["--force"] if force else [])]
        dvc.ask(Path(), "checkout", *options, *targets)

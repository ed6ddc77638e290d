"""Retrain: take in new data, train, and keep the model only if it earns the champion's place.

It needs a clean clone of its own.  Whatever happens the clone ends clean, on a
commit whose data the DVC remote has.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from pipeline.errors import InputError
from pipeline.flows import artifacts, clone, journal, locks, remote
from pipeline.flows.alone import alone
from pipeline.flows.catch_up import backing, check_backing, check_out, push_again, sync, update
from pipeline.flows.champion import Judgement, gate, headline_in_words, judge
from pipeline.flows.in_place import record
from pipeline.flows.journal import Entry
from pipeline.flows.remote import LastingError, PartedError, Remote
from pipeline.flows.tasks import ordinary, over_a_network
from pipeline.flows.tracked import (
    check_settled,
    check_versioned,
    derived_stages,
    imports,
    raw_stages,
    written,
)
from pipeline.flows.train import bring_up_to_date
from pipeline.markdown import plain
from pipeline.programs import dvc
from pipeline.programs.dvc import StageError
from pipeline.programs.git import answer, git, readable

METRICS = Path("reports/metrics.json")


@flow(name="retrain", flow_run_name="retrain", persist_result=False)
def retrain() -> State[str]:
    """Retrain in the working directory; end as Unchanged, Promoted, NotPromoted or Failed."""
    try:
        clone.check_top()
        with alone("flow"):
            state = attempt()
    except (InputError, StageError, OSError) as error:
        state = Failed(name="Failed", message=readable(str(error)))
    except Exception as error:  # noqa: BLE001  # whatever it is, who looks must see it
        get_run_logger().exception("a fault of the pipeline itself")
        state = Failed(name="Failed", message=f"{type(error).__name__}: {error}")
    told = plain(" ".join(str(state.message).split()))
    with artifacts.shown():
        create_markdown_artifact(f"**{state.name}** {told}", key="retrain", description=state.name)
    return state


def attempt() -> State[str]:
    """Mend what a killed run left, then run."""
    pending, kept = mend()
    clone.check_clean()
    where = remote.of_branch()
    sync(where, pending)  # before what it brings is judged: others may have mended, or spoilt it
    backed_by = backing()
    if where and not backed_by:
        reason = (
            "has a git remote but no DVC remote by default: what is pushed would lack its data"
        )
        raise InputError(Path.cwd(), reason, "run `dvc remote add --default NAME URL`")
    if backed_by:
        check_backing(*backed_by)
        push_again()
    check_versioned()
    gate()
    journal.write(Entry("train", clone.head()))
    try:
        with locks.unlocked():
            judgement = challenge()
        if judgement is None or not judgement.verdict.promote:
            undo()
            return kept_as_it_was(judgement, kept)
        with locks.unlocked():
            entry = commit(judgement, where, backed=backed_by is not None)
    except BaseException as error:
        get_run_logger().error("rolling back: %s", error)
        undo()
        raise
    publish(entry, where)
    return Completed(name="Promoted", message=f"{entry.tag}: {judgement.verdict.reason}")


def kept_as_it_was(judgement: Judgement | None, kept: str) -> State[str]:
    """The champion stays."""
    if judgement is None:
        pushed = f"; {kept}, promoted by a run before, is published now" if kept else ""
        reason = f"neither data, params nor code have changed{pushed}"
        return Completed(name="Unchanged", message=reason)
    return Completed(name="NotPromoted", message=judgement.verdict.reason)


def mend() -> tuple[list[str], str]:
    """Finish or undo what a killed run left.

    Returns:
        The .dvc files whose data it had yet to bring, and the model that it had
        yet to publish, which is done now.
    """
    entry = journal.read()
    if entry is None:
        return [], ""
    log = get_run_logger()
    log.info("a killed run was at step %s", entry.step)
    locks.remove_stale()
    Path(".dvc/tmp/rwlock").unlink(missing_ok=True)  # DVC's, by process ids
    if entry.step == "sync":
        half = {*clone.files_between(entry.head, clone.head())} & {*clone.changed()}
        clone.restore(sorted(half))
        return entry.data, ""
    if promotion(entry):
        try:
            publish(entry, remote.of_branch())
        except PartedError as error:
            log.info("%s", error)
            return [], ""
        return [], entry.tag
    undo()
    return [], ""


def challenge() -> Judgement | None:
    """Take in data and train; no judgement where nothing has changed."""
    journal.write(Entry("update", clone.head()))
    for file in imports():
        update(file)
    journal.write(Entry("train", clone.head()))
    outcomes = bring_up_to_date([], None)
    if not written():
        return None
    check_settled()
    judgement = judgement_of_workspace()
    artifacts.of_run(done=list(outcomes))
    if judgement.account:
        artifacts.of_comparison(judgement.account)
    return judgement


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
    scores = json.loads(METRICS.read_text(encoding="utf-8"))
    entry = Entry("commit", clone.head(), remote.next_tag())
    journal.write(entry)
    message = f"{subject(entry)}{headline_in_words(scores)}\n\n{judgement.verdict.reason}"
    clone.commit(message, written())
    return entry


@task(name="push", **over_a_network)
def push(*, everything: bool) -> None:
    """Give data, models and the runs' records to the DVC remote.

    Args:
        everything: Those of earlier commits too, which go to the git remote along.

    Raises:
        InputError: The remote does not answer.
        LastingError: What is to be committed is nowhere.
    """
    if everything and (lost := dvc.transfer("push", "--all-commits")):
        get_run_logger().warning("earlier commits name data that is nowhere: %s", lost)
    if lost := dvc.transfer("push", "--run-cache"):
        fix = "find it and `dvc add` it anew, or remove what names it from the project"
        raise LastingError("dvc push", f"neither cache nor remote has {lost}", fix)


def brings_own_data(where: Remote) -> bool:
    """Whether commits that name data wait for their push to the git remote."""
    known = answer("rev-parse", "--verify", "--quiet", where.reference)
    since = [f"^{known}"] if known else []
    return bool(git("rev-list", "HEAD", *since, "--", "*.dvc", "dvc.lock"))


@task(name="publish", **over_a_network)
@locks.unlocked()
def publish(entry: Entry, where: Remote | None) -> None:
    """Tag the promotion and push it; its data is with the DVC remote already.

    Raises:
        PartedError: Others were first; the commit is taken back.
    """
    made = promotion(entry)
    try:
        remote.publish(where, entry.tag, made)
    except PartedError:
        if clone.head() == made:
            clone.move_to(entry.head, clone.files_between(made, entry.head))
            roll_back()
        journal.clear()  # what somebody committed on top of it is theirs to join
        raise
    record()
    journal.clear()


def promotion(entry: Entry) -> str:
    """The commit of the model that is being promoted; empty if it is not there yet."""
    return clone.find(subject(entry), entry.head) if entry.step == "commit" else ""


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
    clone.restore(written())
    entry = journal.read()
    if entry and entry.step == "update":
        check_out(imports())  # half brought, so in no cache
    else:
        with suppress(InputError):  # files that DVC does not keep; the next run names them
            check_out(imports(), force=False)
    with suppress(InputError):
        check_out(raw_stages(), force=False)
    check_out(derived_stages())

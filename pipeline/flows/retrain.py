"""Retrain: take in new data, train, and keep the model only if it earns the champion's place.

It needs a clean clone of its own.  Whatever happens the clone ends clean, on a
commit whose data the DVC remote has.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from ruamel.yaml import YAML

from pipeline.errors import InputError
from pipeline.flows import artifacts, dvc, git, journal
from pipeline.flows.champion import Judgement, figures, judge
from pipeline.flows.dvc import Outcome, StageError
from pipeline.flows.git import PartedError, Remote
from pipeline.flows.journal import Entry
from pipeline.flows.train import bring_up_to_date

METRICS = Path("reports/metrics.json")
LACKS = "missing"  # what DVC says of files that a remote lacks
TRIES, PAUSES_S = 3, [10.0, 30.0, 90.0]  # where another try can help: over a network

ordinary: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


def _helps(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether another try can help."""
    try:
        state.result()
    except PartedError:
        return False
    except Exception:  # noqa: BLE001  # a network has errors of many kinds
        return True
    return False


over_a_network: dict[str, Any] = {
    **ordinary,
    "retries": TRIES,
    "retry_delay_seconds": PAUSES_S,
    "retry_condition_fn": _helps,
}


@flow(name="retrain", flow_run_name="retrain", persist_result=False)
def retrain() -> State[str]:
    """Retrain in the working directory; end as Unchanged, Promoted, NotPromoted or Failed."""
    try:
        with journal.alone():
            state = attempt()
    except (InputError, StageError) as error:
        state = Failed(name="Failed", message=str(error))
    create_markdown_artifact(
        f"**{state.name}** {artifacts.cell(state.message)}", key="retrain", description=state.name
    )
    return state


def attempt() -> State[str]:
    """Mend what a killed run left, then run."""
    mend()
    git.check_clean()
    where, backed = git.remote(), bool(dvc.ask(Path(), "remote", "list").strip())
    if where and not backed:
        reason = "has a git remote but no DVC remote: what is pushed would lack its data"
        raise InputError(Path.cwd(), reason, "run `dvc remote add --default NAME URL`")
    check_versioned()
    journal.write(Entry("sync", git.head()))
    try:
        if where:
            catch_up(where)
        entry = Entry("train", git.head())
        journal.write(entry)
        outcomes, judgement = challenge(backed=backed)
    except BaseException:
        roll_back()
        journal.clear()
        raise
    if judgement is None:
        roll_back()
        journal.clear()
        return Completed(name="Unchanged", message="neither data, params nor code have changed")
    artifacts.of_run(Path(), done=list(outcomes))
    if judgement.account:
        create_markdown_artifact(judgement.account, key="comparison", description="With HEAD")
    if not judgement.verdict.promote:
        roll_back()
        journal.clear()
        return Completed(name="NotPromoted", message=judgement.verdict.reason)
    tag = promote(entry, judgement, where, backed=backed)
    return Completed(name="Promoted", message=f"{tag}: {judgement.verdict.reason}")


def challenge(*, backed: bool) -> tuple[dict[str, Outcome], Judgement | None]:
    """Take in data and train; no judgement where nothing has changed."""
    if backed:
        fetch()
    for file in imports():
        update(file)
    outcomes = bring_up_to_date([], None)
    if not written():
        return outcomes, None
    return outcomes, judgement_of_workspace()


@task(name="mend", **ordinary)
def mend() -> None:
    """Finish or undo what a killed run left."""
    entry = journal.read()
    if entry is None:
        return
    log = get_run_logger()
    git.remove_stale_locks()
    if entry.step == "commit" and git.head() != entry.head:
        entry = replace(entry, step="publish")
    if entry.step == "publish":
        log.info("a killed run had committed %s: publishing it", entry.tag)
        publish(entry, git.remote())
        return
    log.info("a killed run was at step %s: rolling back", entry.step)
    if entry.step == "sync":  # the tree was clean before
        git.git("reset", "--hard", "--quiet", entry.head)
    roll_back()
    journal.clear()


@task(name="catch up", **over_a_network)
def catch_up(where: Remote) -> None:
    """Take over what others have pushed to the git remote."""
    git.catch_up(where)


@task(name="fetch", **over_a_network)
def fetch() -> None:
    """Fetch the data and models of HEAD, and records of runs.

    What the remote lacks is made anew, and data/raw is not touched where it is:
    it may hold new images.
    """
    try:
        dvc.ask(Path(), "fetch", "--run-cache")
    except InputError as error:
        if LACKS not in str(error):
            raise
        get_run_logger().warning("the DVC remote lacks some of HEAD's files: %s", error)
    targets = [file for file in git.tracked("*.dvc") if not outs_exist(file)]
    check_out([*targets, *stages_of_lock()])


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


@task(name="push", **over_a_network)
def push() -> None:
    """Give data, models and the runs' records to the DVC remote."""
    dvc.ask(Path(), "push", "--run-cache")


@task(name="publish", **over_a_network)
def publish(entry: Entry, where: Remote | None) -> None:
    """Tag the commit and push both; data is with the DVC remote already."""
    if not git.git("tag", "--list", entry.tag):
        git.git("tag", "--annotate", "--message", f"Promoted by retrain: {entry.tag}", entry.tag)
    try:
        if where:
            git.publish(where, entry.tag, entry.head)
    except PartedError:
        roll_back()
        journal.clear()
        raise
    journal.clear()


def promote(entry: Entry, judgement: Judgement, where: Remote | None, *, backed: bool) -> str:
    """Push data, commit, tag, push the commit: in this order, so that no commit lacks its data."""
    if backed:
        push()
    scores = json.loads(METRICS.read_text(encoding="utf-8"))["fine_tuned"]
    entry = Entry("commit", entry.head, git.next_tag())
    journal.write(entry)
    git.commit(f"Promote {entry.tag}: {figures(scores)}\n\n{judgement.verdict.reason}", written())
    journal.write(replace(entry, step="publish"))
    publish(entry, where)
    return entry.tag


def roll_back() -> None:
    """Bring back HEAD's files, and the outs of its stages.

    Data that nobody imported stays: the next run shall see it again.
    """
    for path in written():
        if git.git("ls-tree", "--name-only", "HEAD", "--", path):
            git.git("checkout", "HEAD", "--", path)
        else:
            git.git("rm", "--quiet", "--cached", "--force", "--", path, may_fail=True)
            Path(path).unlink(missing_ok=True)
    check_out([*imports(), *stages_of_lock()])


def check_out(targets: list[str]) -> None:
    """Bring outs of stages and .dvc files as the tree has them; what no cache holds is left."""
    if targets:
        dvc.ask(Path(), "checkout", "--force", "--allow-missing", *targets)


def stages_of_lock() -> list[str]:
    """The stages that have run at HEAD."""
    lock = Path("dvc.lock")
    return list(_loaded(lock).get("stages", {})) if lock.exists() else []


def outs_exist(file: str) -> bool:
    """Whether what a .dvc file tracks lies in the workspace."""
    beside = Path(file).parent
    return all((beside / out["path"]).exists() for out in _loaded(Path(file)).get("outs", []))


def written() -> list[str]:
    """Files of git's that training has changed: dvc.lock, reports, .dvc files, what to ignore."""
    lines = git.git("status", "--porcelain", "-z", "--untracked-files=all").split("\0")
    paths = [line[3:] for line in lines if line]
    return [path for path in paths if path == "dvc.lock" or _is_result(path)]


def _is_result(path: str) -> bool:
    return path.startswith("reports/") or path.endswith((".dvc", "/.gitignore"))


def imports() -> list[str]:
    """The .dvc files that say where their data comes from."""
    return [file for file in git.tracked("*.dvc") if _loaded(Path(file)).get("deps")]


def check_versioned() -> None:
    """Refuse raw data that DVC does not keep: a pushed commit could not be reproduced.

    Raises:
        InputError: data/raw is neither the out of a stage nor under `dvc add` or an import.
    """
    document = _loaded(Path("dvc.yaml"))
    outs = [out for stage in document.get("stages", {}).values() for out in stage.get("outs", [])]
    made = {next(iter(out)) if isinstance(out, dict) else out for out in outs}
    if "data/raw" not in made and not Path("data/raw.dvc").exists():
        fix = "run `dvc add data/raw`, or import it with `dvc import-url`, and commit data/raw.dvc"
        raise InputError("data/raw", "is not under DVC", fix)


def _loaded(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe").load(file.read_text(encoding="utf-8")) or {}
    return document

"""`retrain` keeps a model only if it earns its place, and its clone is clean whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from pipeline.errors import InputError
from pipeline.flows import catch_up, clone, journal, remote, retrain
from pipeline.flows.alone import alone
from pipeline.flows.champion import judge
from pipeline.flows.journal import Entry
from pipeline.programs import dvc
from pipeline.programs.git import KilledError
from tests.flows.retraining import UP_TO_DATE, check_published, once
from tests.toy import GIT, Toy

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """One other try, at once."""
    over_a_network = catch_up.incoming, catch_up.fetch, catch_up.update
    for task in (*over_a_network, retrain.push, retrain.publish):
        monkeypatch.setattr(task, "retry_delay_seconds", [0.1])
        monkeypatch.setattr(task, "retries", 1)


def test_first_better_unchanged_and_worse(toy, tmp_path):
    """The four outcomes of a run that goes well, one after another."""
    first = once(toy)
    begun = toy.git("rev-parse", "HEAD")
    unchanged = once(toy)

    assert first.name == "Promoted", first.message
    assert first.message == "model@v1.0.0: the first model: HEAD has none"
    assert unchanged.name == "Unchanged"
    assert toy.git("rev-parse", "HEAD") == begun
    check_published(toy, tmp_path / "second")

    toy.answers(95)
    better = once(toy)

    assert better.name == "Promoted", better.message
    assert "better with confidence: accuracy 0.8000 -> 0.9500" in better.message
    assert toy.git("log", "-1", "--format=%s") == (
        "Promote model@v2.0.0: accuracy 0.9500 [0.9400, 0.9600]"
    )
    third = check_published(toy, tmp_path / "third")
    assert third.scores()["accuracy"] == 0.95
    assert third.git("tag").split() == ["model@v1.0.0", "model@v2.0.0"]

    toy.answers(85)
    worse = once(toy)

    assert worse.name == "NotPromoted"
    assert "worse with confidence: accuracy 0.9500 -> 0.8500" in worse.message
    assert toy.scores()["accuracy"] == 0.95
    assert "0084.png,cat,cat" in (toy.folder / "data/raw/answers.csv").read_text()
    assert "0090.png,cat,dog" in (toy.folder / "data/raw/answers.csv").read_text()
    assert toy.git("tag").split() == ["model@v1.0.0", "model@v2.0.0"]


def test_more_data_need_not_be_better_and_may_hold_a_bad_file(promoted):
    promoted.answers(80, train=150)
    promoted.write("data/raw/bad.csv", "image,label,answer\nbroken.png,,cat\n")

    state = once(promoted)

    assert state.name == "Promoted"
    assert "more data, and not worse: accuracy 0.8000 -> 0.8000" in state.message
    assert "broken.png,no_label" in (promoted.folder / "data/rejected.csv").read_text()


def test_a_failing_stage_is_failed_and_rolled_back(promoted):
    head = promoted.git("rev-parse", "HEAD")
    promoted.write("data/raw/stop.csv", "image,label,answer\n1.png,cat,stop\n")

    state = once(promoted)

    assert state.name == "Failed"
    assert "ingest failed: error: data/raw/answers.csv: an answer is 'stop'" in state.message
    assert promoted.git("rev-parse", "HEAD") == head
    assert (promoted.folder / "data/raw/stop.csv").exists()
    (promoted.folder / "data/raw/stop.csv").unlink()
    assert once(promoted).name == "Unchanged"
    assert UP_TO_DATE in promoted.dvc("repro")


def promoted_import(toy: Toy, folder) -> Path:
    """Import data/raw from a folder beside, and promote its model; return that folder."""
    source = folder / "incoming"
    (toy.folder / "data/raw").rename(source)
    toy.dvc("remove", "data/raw.dvc")
    toy.dvc("import-url", "--quiet", str(source), "data/raw")
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "Import")
    once(toy)
    return source


@pytest.mark.slow
def test_an_import_is_updated_and_comes_back_where_it_does_not_help(tmp_path, toy):
    source = promoted_import(toy, tmp_path)
    answers = (source / "answers.csv").read_text()
    (source / "answers.csv").write_text(answers.replace("0001.png,dog,dog", "0001.png,dog,cat"))

    worse = once(toy)

    assert worse.name == "NotPromoted"
    assert (toy.folder / "data/raw/answers.csv").read_text() == answers
    assert UP_TO_DATE in toy.dvc("repro")
    (source / "answers.csv").write_text(answers.replace(",cat,dog", ",cat,cat"))
    toy.write("data/raw/mine.csv", "image,label,answer\nmine.png,cat,cat\n")
    refused = once(toy)
    assert "data/raw.dvc: its data has changes of its own" in refused.message
    (toy.folder / "data/raw/mine.csv").unlink()  # which nobody did for the user
    assert once(toy).name == "Promoted"
    assert UP_TO_DATE in toy.dvc("repro")


def test_a_dirty_tree_is_refused_by_name_and_left(toy):
    toy.write("stage.py", "# mine\n")
    toy.write("note.txt", "mine")

    state = retrain.retrain(return_state=True)

    assert state.name == "Failed"
    assert "uncommitted changes" in state.message
    assert "stage.py" in state.message
    assert "note.txt" in state.message
    assert (toy.folder / "stage.py").read_text() == "# mine\n"


@pytest.mark.slow
def test_what_could_not_be_reproduced_is_refused(toy):
    toy.dvc("remote", "remove", "store")
    toy.git("commit", "--quiet", "--all", "--message", "No DVC remote")
    assert "git remote but no DVC remote" in once(toy).message

    toy.git("remote", "remove", "origin")
    assert once(toy).name == "Promoted"  # neither: the clone is all there is

    (toy.folder / "data/raw.dvc").unlink()
    toy.git("commit", "--quiet", "--all", "--message", "No data")
    assert "data/raw: is not under DVC" in once(toy).message
    toy.git("checkout", "--quiet", "--detach")
    assert "no branch checked out" in once(toy).message


@pytest.mark.parametrize("file", ["dvc.yaml", "data/raw.dvc"])
def test_a_conflict_that_was_committed_is_named(toy, file):
    toy.write(file, "<<<<<<< ours\n: [\n")
    toy.git("commit", "--quiet", "--all", "--message", "Conflict")

    state = once(toy)

    assert state.name == "Failed"
    assert file in state.message
    assert "not YAML" in state.message or "is invalid" in state.message


def test_a_fault_of_ours_ends_as_failed_too(toy, monkeypatch):
    def fault():
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(clone, "check_top", fault)

    state = once(toy)

    assert (state.name, state.message) == ("Failed", "ZeroDivisionError: ours")


def test_a_branch_that_follows_another_is_refused(toy):
    """Models of an experiment would be pushed to main."""
    toy.git("push", "--quiet", "origin", "main")
    toy.git("switch", "--quiet", "--create", "nightly/x", "--track", "origin/main")

    state = once(toy)

    assert state.name == "Failed"
    assert "branch nightly/x follows origin/main\n  fix: switch to main, or" in state.message


def test_two_at_once_do_not_meet(toy, monkeypatch):
    monkeypatch.setattr("pipeline.flows.alone.WAIT_S", 0)

    with alone("flow"):
        state = retrain.retrain(return_state=True)

    assert state.name == "Failed"
    assert "another flow runs here" in state.message


@pytest.mark.slow
def test_others_commits_are_taken_over(promoted, tmp_path):
    other = check_published(promoted, tmp_path / "other")
    other.write("README.md", "More")
    other.git("add", "--all")
    other.git("commit", "--quiet", "--message", "A word")
    other.git("push", "--quiet")

    assert once(promoted).name == "Unchanged"
    assert (promoted.folder / "README.md").exists()

    promoted.write("own.txt", "own")
    promoted.git("add", "--all")
    promoted.git("commit", "--quiet", "--message", "Own")
    other.write("README.md", "Even more")
    other.git("commit", "--quiet", "--all", "--message", "Another word")
    other.git("push", "--quiet")
    assert "have parted" in once(promoted).message


@pytest.mark.slow
def test_who_is_second_to_push_starts_again(promoted, tmp_path, monkeypatch):
    """Somebody pushes between the commit and its push."""
    other = check_published(promoted, tmp_path / "other")
    promoted.answers(95)
    commit = clone.commit

    def commit_while_others_push(*words):
        commit(*words)
        other.write("README.md", "First")
        other.git("add", "--all")
        other.git("commit", "--quiet", "--message", "First")
        other.git("push", "--quiet")

    with monkeypatch.context() as patch:
        patch.setattr(clone, "commit", commit_while_others_push)
        state = once(promoted)

    assert "others have pushed" in state.message
    assert promoted.git("tag").split() == ["model@v1.0.0"]
    assert once(promoted).name == "Promoted"
    check_published(promoted, tmp_path / "third")


@pytest.mark.slow
def test_an_unreachable_remote_is_tried_again_then_failed_and_published_later(
    promoted, tmp_path, monkeypatch
):
    promoted.answers(95)
    away = promoted.bare.with_name("away.git")
    promoted.bare.rename(away)
    tried, incoming = [], remote.incoming
    with monkeypatch.context() as patch:
        patch.setattr(remote, "incoming", lambda where: (tried.append(where), incoming(where))[1])
        state = once(promoted)
    assert len(tried) == 2
    assert state.name == "Failed"
    assert "git ls-remote" in state.message
    away.rename(promoted.bare)

    hook = promoted.bare / "hooks/pre-receive"
    tries = promoted.folder.parent / "tries"
    hook.write_text(f"#!/bin/sh\necho 1 >> '{tries}'\necho not tonight >&2\nexit 1\n")
    hook.chmod(0o755)
    refused = retrain.retrain(return_state=True)
    assert "not tonight" in refused.message
    assert tries.read_text() == "1\n"  # another try would meet it again
    assert promoted.status() == ""
    hook.unlink()
    promotion = promoted.git("rev-parse", "HEAD").strip()
    promoted.write("note.txt", "by hand, and its data may be nowhere yet\n")
    promoted.git("add", "note.txt")
    promoted.git("commit", "--quiet", "--message", "By hand")

    state = once(promoted)
    assert state.name == "Unchanged"
    assert state.message.endswith("; model@v2.0.0, promoted by a run before, is published now")
    assert promoted.git("ls-remote", "origin", "refs/heads/main").split()[0] == promotion
    promoted.git("push", "--quiet", "origin", "main")
    check_published(promoted, tmp_path / "second")


@pytest.mark.slow
def test_a_dvc_remote_that_cannot_be_written_is_told_in_a_few_words(promoted):
    """DVC has a line for each of all its objects."""
    promoted.answers(95)
    store = promoted.folder.parent / "remote"
    store.rename(away := store.with_name("away"))
    store.touch()

    state = once(promoted)

    assert state.name == "Failed"
    assert "Not a directory" in state.message
    assert " lines more)" in state.message
    assert "troubles" not in state.message
    assert len(state.message) < 1500
    store.unlink()
    away.rename(store)
    assert once(promoted).name == "Promoted"


def test_a_dvc_remote_that_is_not_mounted_is_told_before_anything_runs(promoted, tmp_path):
    """DVC would make a folder of its name, and the commit's data would be nowhere else."""
    promoted.answers(95)
    promoted.dvc("remote", "rename", "store", "a.b")  # which `dvc config` cannot name
    promoted.git("commit", "--quiet", "--all", "--message", "Rename the remote")
    promoted.git("push", "--quiet", "origin", "main")
    store = promoted.folder.parent / "remote"
    store.rename(away := store.with_name("away"))

    state = once(promoted)

    assert state.name == "Failed"
    assert f"{store}: does not exist, and should hold" in state.message
    assert not store.exists()
    away.rename(store)
    assert once(promoted).name == "Promoted"
    check_published(promoted, tmp_path / "second")


def test_a_dvc_remote_by_a_files_url_is_refused(promoted):
    """DVC would make a folder `file:` within the clone, and push there."""
    url = (promoted.folder.parent / "remote").as_uri()
    promoted.dvc("remote", "modify", "store", "url", url)
    promoted.git("commit", "--quiet", "--all", "--message", "By URL")
    promoted.git("push", "--quiet", "origin", "main")

    assert f"DVC would take {url} for a folder within the clone" in once(promoted).message
    assert promoted.status() == ""


def test_what_a_dvc_remote_has_lost_is_pushed_again(promoted, tmp_path):
    """Also where nothing has changed."""
    store = promoted.folder.parent / "remote"
    runs = sorted(file.name for file in (store / "runs").rglob("*"))
    shutil.rmtree(store)
    store.mkdir()

    assert once(promoted).name == "Unchanged"

    assert runs
    assert sorted(file.name for file in (store / "runs").rglob("*")) == runs
    check_published(promoted, tmp_path / "second")


@pytest.mark.slow
def test_a_commit_that_a_hook_refuses_is_rolled_back(promoted):
    promoted.answers(95)
    hook = promoted.folder / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho no commits here >&2\nexit 1\n")
    hook.chmod(0o755)

    state = once(promoted)

    assert state.name == "Failed"
    assert "git commit: no commits here" in state.message
    assert promoted.scores()["accuracy"] == 0.8
    hook.unlink()
    assert once(promoted).name == "Promoted"


def test_a_fetch_that_is_killed_by_itself_leaves_no_lock_in_the_way(promoted, monkeypatch):
    locks = promoted.folder / ".git/refs/remotes/origin/main.lock"

    def killed(_):
        locks.parent.mkdir(parents=True, exist_ok=True)
        locks.touch()
        raise KilledError("git fetch", "was killed by signal 9", "rerun")

    monkeypatch.setattr(remote, "incoming", killed)
    with pytest.raises(KilledError, match="git fetch"):
        catch_up.incoming.fn(None)

    assert not locks.exists()


@pytest.mark.parametrize(
    "name",
    [
        "pre-commit",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("reference-transaction", "pre-push")
        ),
    ],
)
def test_a_git_that_is_killed_by_itself_leaves_no_lock_in_the_way(promoted, name):
    """As a machine does that has run out of memory."""
    promoted.answers(95)
    hook = promoted.folder / ".git/hooks" / name
    hook.write_text('#!/bin/sh\nrm "$0"\nkill -9 $PPID\n')
    hook.chmod(0o755)

    state = retrain.retrain(return_state=True)

    assert not hook.exists()
    assert promoted.status() == ""
    if name == "pre-push":  # by the second try
        assert state.name == "Promoted", state.message
    else:
        assert state.name == "Failed"
        assert "was killed by signal 9" in state.message
        assert promoted.scores()["accuracy"] == 0.8
    assert not [*(promoted.folder / ".git").rglob("*.lock")]
    assert once(promoted).name == ("Unchanged" if name == "pre-push" else "Promoted")


@pytest.mark.slow
def test_others_new_data_is_brought_and_meets_no_new_files_here(promoted, tmp_path):
    """Either side's images would be lost: taken for removed, or overwritten."""
    other = check_published(promoted, tmp_path / "other")

    def push(right: int) -> None:
        other.answers(right, images=120)
        other.dvc("repro", "--quiet")
        other.dvc("push", "--quiet", "--run-cache")
        other.git("commit", "--quiet", "--all", "--message", "More")
        other.git("push", "--quiet")

    push(100)
    assert once(promoted).name == "Unchanged"
    assert "0119.png" in (promoted.folder / "data/raw/answers.csv").read_text()
    assert promoted.git("rev-parse", "HEAD") == other.git("rev-parse", "HEAD")

    push(110)
    promoted.write("data/raw/new.csv", "image,label,answer\nnew.png,cat,cat\n")
    head = promoted.git("rev-parse", "HEAD")
    for _ in range(2):
        state = once(promoted)
        assert state.name == "Failed"
        assert "changed by others, and so was its data here: data/raw/new.csv\n" in state.message
        assert promoted.git("rev-parse", "HEAD") == head
    new = (promoted.folder / "data/raw/new.csv").rename(tmp_path / "new.csv")
    assert once(promoted).name == "Unchanged"
    new.rename(promoted.folder / "data/raw/new.csv")
    assert once(promoted).name == "Promoted"
    check_published(promoted, tmp_path / "second")


@pytest.mark.slow
def test_data_that_git_brought_and_dvc_did_not_is_not_taken_for_removed(promoted, tmp_path):
    """Who has run `git pull` alone has other images in data/raw.dvc than in data/raw."""
    other = check_published(promoted, tmp_path / "other")

    def push(name: str, right: int) -> None:
        other.write(f"data/raw/{name}.csv", f"image,label,answer\n{name}.png,cat,cat\n")
        other.answers(right)
        other.dvc("repro", "--quiet")
        other.dvc("push", "--quiet", "--run-cache")
        other.git("add", "--all")
        other.git("commit", "--quiet", "--message", "More")
        other.git("push", "--quiet")

    assert once(promoted).name == "Unchanged"
    push("one", 95)
    promoted.git("pull", "--quiet", "origin", "main")
    assert once(promoted).name == "Unchanged"  # nothing of its own is in the way
    assert (promoted.folder / "data/raw/one.csv").exists()

    push("two", 96)
    promoted.git("pull", "--quiet", "origin", "main")
    table = promoted.folder / "data/raw/answers.csv"
    mine = "mine.png,cat,cat\n"
    table.write_text(table.read_text() + mine)
    promoted.write("data/raw/mine.csv", "image,label,answer\nx.png,cat,cat\n")
    for _ in range(2):
        state = once(promoted)
        assert state.name == "Failed"
        assert (
            "1 files that others changed, such as data/raw/two.csv, were never put"
            in state.message
        )
        assert "data/raw/answers.csv, data/raw/mine.csv" in state.message
    promoted.dvc("checkout", "--quiet", "--force", "data/raw.dvc")  # as the message has it
    table.write_text(table.read_text() + mine)
    promoted.write("data/raw/mine.csv", "image,label,answer\nx.png,cat,cat\n")

    assert once(promoted).name == "Promoted"
    assert (promoted.folder / "data/raw/two.csv").exists()
    assert "0095.png,cat,dog" not in table.read_text()
    (promoted.folder / "data/raw/two.csv").unlink()  # which is one's own affair
    assert once(promoted).name in {"Promoted", "NotPromoted"}
    check_published(promoted, tmp_path / "second")


@pytest.mark.slow
def test_a_tag_that_nobody_can_sign_is_not_tried_again(promoted, tmp_path, monkeypatch):
    promoted.git("config", "tag.gpgsign", "true")
    promoted.git("config", "gpg.program", "false")
    publish, times = remote.publish, []
    monkeypatch.setattr(remote, "publish", lambda *given: (times.append(1), publish(*given)))
    promoted.answers(95)

    state = retrain.retrain(return_state=True)

    assert state.name == "Failed"
    assert "unable to sign the tag" in state.message
    assert len(times) == 1
    promoted.git("config", "tag.gpgsign", "false")
    assert once(promoted).name == "Unchanged"
    check_published(promoted, tmp_path / "second")


@pytest.mark.parametrize("name", ["more", "answers"])
def test_what_is_taken_back_after_a_commit_by_hand_stays_taken_back(promoted, tmp_path, name):
    """As the gate advises to commit: what is undone later is not to be brought again.

    Also where commits are signed and git shows signatures.
    """
    if name == "more":
        key = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        for setting in ("gpg.format=ssh", f"user.signingkey={key}.pub", "commit.gpgsign=true",
                        "log.showSignature=true"):  # fmt: skip
            promoted.git("config", *setting.split("="))
    assert once(promoted).name == "Unchanged"  # so that it is noted what lies here
    file = promoted.folder / f"data/raw/{name}.csv"
    before = file.read_text() if file.exists() else ""
    header = "" if before else "image,label,answer\n"
    promoted.write(f"data/raw/{name}.csv", f"{before}{header}train9999.png,cat,cat\n")
    promoted.dvc("add", "--quiet", "data/raw")
    promoted.git("commit", "--quiet", "--all", "--message", "More, by hand")
    if before:
        file.write_text(before)
    else:
        file.unlink()

    assert once(promoted).name in {"Unchanged", "Promoted", "NotPromoted"}

    assert (file.read_text() if file.exists() else "") == before


def test_an_artifact_that_cannot_be_kept_costs_no_run_its_state(promoted, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise httpx.ConnectError("the server has gone")

    monkeypatch.setattr(retrain, "create_markdown_artifact", fail)

    assert once(promoted).name == "Unchanged"


ONE = "image,label,answer\ntrain9999.png,cat,cat\n"


def test_a_commit_by_hand_that_is_rebased_is_still_ones_own(promoted, tmp_path):
    other = pushed(promoted, tmp_path / "other")
    other.write("notes.txt", "more")
    other.git("add", "notes.txt")
    other.git("commit", "--quiet", "--message", "Notes")
    other.git("push", "--quiet")
    assert once(promoted).name == "Unchanged"
    other.write("notes.txt", "still more")
    other.git("commit", "--quiet", "--all", "--message", "Notes")
    other.git("push", "--quiet")
    promoted.write("data/raw/more.csv", ONE)
    promoted.dvc("add", "--quiet", "data/raw")
    promoted.git("commit", "--quiet", "--all", "--message", "More, by hand")
    promoted.git("pull", "--quiet", "--rebase", "origin", "main")
    (promoted.folder / "data/raw/more.csv").unlink()

    assert once(promoted).name in {"Unchanged", "Promoted", "NotPromoted"}

    assert not (promoted.folder / "data/raw/more.csv").exists()


@pytest.mark.slow
def test_what_others_did_and_one_squashed_is_brought(promoted, tmp_path):
    """The commit is made here, and its data never were."""
    assert once(promoted).name == "Unchanged"
    other = pushed(promoted, tmp_path / "other")
    other.dvc("pull", "--quiet")
    other.git("checkout", "--quiet", "-b", "more")
    other.write("data/raw/more.csv", ONE)
    other.dvc("add", "--quiet", "data/raw")
    other.dvc("push", "--quiet")
    other.git("commit", "--quiet", "--all", "--message", "More")
    other.git("push", "--quiet", "origin", "more")
    promoted.git("fetch", "--quiet", "origin", "more")
    promoted.git("merge", "--quiet", "--squash", "FETCH_HEAD")
    promoted.git("commit", "--quiet", "--message", "More, squashed")

    assert once(promoted).name in {"Unchanged", "Promoted", "NotPromoted"}

    assert (promoted.folder / "data/raw/more.csv").exists()


@pytest.mark.slow
def test_data_that_changes_while_stages_read_it_is_for_the_next_run(promoted, monkeypatch):
    """The lock would name data that no .dvc file does: nobody could pull it."""
    promoted.answers(95)
    repro = dvc.repro

    def repro_while_a_file_arrives(*words, target, **options):
        outcome = repro(*words, target=target, **options)
        if target == "data/raw.dvc":
            promoted.write("data/raw/late.csv", "image,label,answer\nlate.png,cat,cat\n")
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(dvc, "repro", repro_while_a_file_arrives)
        state = once(promoted)

    assert state.name == "Failed"
    assert "data/raw: changed while ingest read it" in state.message
    assert (promoted.folder / "data/raw/late.csv").exists()
    assert once(promoted).name == "Promoted"


@pytest.mark.slow
def test_a_commit_of_ones_own_is_pushed_along_with_its_data(promoted, tmp_path):
    promoted.answers(70)
    promoted.dvc("add", "--quiet", "data/raw")
    promoted.git("commit", "--quiet", "--all", "--message", "Own")
    promoted.answers(95)

    assert once(promoted).name == "Promoted"

    second = check_published(promoted, tmp_path / "second")
    second.git("checkout", "--quiet", "HEAD~1")
    second.dvc("pull", "--quiet", "--force", "data/raw.dvc")
    assert "0080.png,cat,dog" in (second.folder / "data/raw/answers.csv").read_text()


@pytest.mark.slow
def test_only_what_the_run_wrote_is_rolled_back(promoted):
    """After a kill somebody has worked in the clone, against advice."""
    promoted.answers(60)
    journal.write(Entry("commit", promoted.git("rev-parse", "HEAD"), "model@v2.0.0"))
    promoted.dvc("repro")
    promoted.git("add", "dvc.lock")
    promoted.write("own.txt", "own")
    promoted.git("add", "own.txt")
    promoted.git("commit", "--quiet", "--message", "Own", "--", "own.txt")
    mine = ["reports/mine.md", "new.dvc", ":(glob)*", "-f", "a\nb -> c", os.fsdecode(b"\xff")]
    for name in mine:
        promoted.write(name, "mine")

    state = retrain.retrain(return_state=True)

    assert "has uncommitted changes" in state.message
    assert sorted(clone.changed()) == sorted(mine)
    assert all((promoted.folder / name).read_text() == "mine" for name in mine)
    assert promoted.git("log", "-1", "--format=%s") == "Own"
    assert promoted.git("tag").split() == ["model@v1.0.0"]

    promoted.git("add", "--all")
    for name in mine:
        promoted.write(name, "other")
    clone.restore(mine)
    assert promoted.git("diff", "HEAD") == ""
    assert not any((promoted.folder / name).exists() for name in mine)
    assert once(promoted).name == "NotPromoted"


@pytest.mark.slow
def test_no_test_image_in_common_is_for_people_to_judge(promoted):
    answers = (promoted.folder / "data/raw/answers.csv").read_text()
    promoted.write(
        "data/raw/answers.csv", answers.replace("\n0", "\n9").replace(",cat,dog", ",cat,cat")
    )

    state = once(promoted)

    assert state.name == "NotPromoted"
    assert state.message.startswith("no test image in common with the champion")


def test_a_folder_in_the_clone_is_refused(toy, monkeypatch):
    monkeypatch.chdir(toy.folder / "data")

    assert "not the clone's top folder" in retrain.retrain(return_state=True).message


@pytest.mark.slow
def test_the_champions_predictions_must_be_somewhere(promoted):
    promoted.answers(95)
    for folder in (promoted.store, promoted.folder / ".dvc/cache"):
        promoted.run("rm", "-r", str(folder))
    promoted.store.mkdir()

    state = once(promoted)

    assert state.name == "Failed"
    assert "neither in DVC's cache nor in a remote" in state.message


@pytest.mark.slow
@pytest.mark.parametrize("step", ["train", "commit"])
def test_a_journal_of_a_killed_run_is_mended(promoted, step):
    """As a kill leaves it: files of the run lie about, git's locks too."""
    head = promoted.git("rev-parse", "HEAD")
    promoted.answers(60)
    journal.write(Entry(step, head, "model@v2.0.0"))
    promoted.dvc("repro")
    (promoted.folder / ".git/index.lock").touch()
    (promoted.folder / "reports/predictions.csv").unlink()

    state = once(promoted)

    assert state.name == "NotPromoted"
    assert promoted.git("rev-parse", "HEAD") == head
    assert promoted.scores()["accuracy"] == 0.8


@pytest.mark.slow
def test_a_push_that_was_killed_as_it_made_a_file_is_mended(promoted, tmp_path):
    """DVC does not take an empty file under an object's name for the object."""
    promoted.answers(95)
    content = (promoted.folder / "data/raw/answers.csv").read_bytes()
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    hollow = promoted.store / "files/md5" / name[:2] / name[2:]
    hollow.parent.mkdir(parents=True, exist_ok=True)
    hollow.touch()
    journal.write(Entry("train", promoted.git("rev-parse", "HEAD")))

    assert once(promoted).name == "Promoted"

    check_published(promoted, tmp_path / "second")
    assert hollow.read_bytes() == content


def test_a_journal_that_cannot_be_read_is_named(toy):
    journal.file().write_text("{")

    state = retrain.retrain(return_state=True)

    assert state.name == "Failed"
    assert "retrain.json" in state.message
    journal.file().write_text(json.dumps({"step": "sync", "head": "x", "more": 1}))
    assert "no journal" in retrain.retrain(return_state=True).message


@pytest.mark.slow
def test_a_file_among_imported_data_is_kept_when_a_killed_run_is_mended(tmp_path, toy):
    promoted_import(toy, tmp_path)
    journal.write(Entry("train", toy.git("rev-parse", "HEAD")))
    toy.write("data/raw/mine.csv", "image,label,answer\n")

    state = once(toy)

    assert "data/raw.dvc: its data has changes of its own" in state.message
    assert (toy.folder / "data/raw/mine.csv").exists()


@pytest.mark.slow
def test_a_file_among_data_that_a_stage_made_is_kept(toy):
    """As where somebody puts images beside those of the demonstration."""
    toy.git("rm", "--quiet", "data/raw.dvc")
    shutil.copytree(toy.folder / "data/raw", toy.folder / "origin")
    stage = (
        "\n  sample:\n    cmd: cp -r origin data/raw\n    deps: [origin]\n    outs: [data/raw]\n"
    )
    graph = (toy.folder / "dvc.yaml").read_text()
    toy.write("dvc.yaml", graph.replace("stages:\n", f"stages:{stage}", 1))
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "A stage makes the data")
    once(toy)
    toy.write("data/raw/mine.csv", "image,label,answer\n")

    state = once(toy)

    assert state.name == "Failed"
    assert "data/raw" in state.message
    assert (toy.folder / "data/raw/mine.csv").exists()


def test_a_tag_or_branch_of_the_same_name_misleads_nothing(promoted, tmp_path):
    promoted.git("checkout", "--quiet", "-b", "nightly")
    promoted.git("push", "--quiet", "--set-upstream", "origin", "nightly")
    promoted.git("tag", "nightly")
    promoted.answers(95)

    assert once(promoted).name == "Promoted"

    heads = promoted.git("ls-remote", "--heads", "origin", "nightly").split()
    assert heads == [promoted.git("rev-parse", "HEAD").strip(), "refs/heads/nightly"]


@pytest.mark.slow
def test_on_a_branch_that_is_new_to_the_remote_tags_go_on_from_its_own(promoted):
    promoted.git("checkout", "--quiet", "-b", "another")
    promoted.git("tag", "--delete", "model@v1.0.0")
    promoted.answers(95)

    state = once(promoted)

    assert state.name == "Promoted"
    assert state.message.startswith("model@v2.0.0")


@pytest.mark.slow
def test_hooks_that_change_message_or_files_cost_no_promotion(promoted):
    hooks = {
        "commit-msg": 'sed -i "1s/^/[J-1] /" "$1"',
        "pre-commit": "echo more >>notes.md; git add notes.md; echo >other.md; git add other.md",
    }
    promoted.write("notes.md", "Ours\n")
    promoted.git("add", "notes.md")
    promoted.git("commit", "--quiet", "--message", "Notes")
    for name, does in hooks.items():
        hook = promoted.folder / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\n{does}\n")
        hook.chmod(0o755)
    promoted.answers(95)

    assert once(promoted).name == "Promoted"
    assert promoted.git("log", "-1", "--format=%s").startswith("[J-1] Promote model@v2.0.0: ")
    assert promoted.status() == ""
    assert once(promoted).name == "Unchanged"


@pytest.mark.slow
def test_what_git_ignores_in_the_top_folder_is_committed_along(promoted):
    more = "  more:\n    cmd: cp data/manifest.csv more.txt\n    deps: [data/manifest.csv]\n"
    file = promoted.folder / "dvc.yaml"
    file.write_text(file.read_text() + more + "    outs: [more.txt]\n")
    promoted.git("commit", "--quiet", "--all", "--message", "More")
    promoted.answers(95)

    assert once(promoted).name == "Promoted"
    assert promoted.status() == ""


def test_a_frozen_stage_is_refused(promoted):
    promoted.dvc("freeze", "evaluate")
    promoted.git("commit", "--quiet", "--all", "--message", "Frozen")

    state = once(promoted)

    assert state.name == "Failed"
    assert "stage evaluate is frozen" in state.message


def test_a_lock_that_a_killed_fetch_left_is_removed(promoted, monkeypatch):
    lock = promoted.folder / ".git/refs/remotes/origin/main.lock"

    def die(_: object) -> None:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        raise SystemExit  # which no run that is killed hears of, either

    with monkeypatch.context() as patch:
        patch.setattr(catch_up, "incoming", die)
        with pytest.raises(SystemExit):
            catch_up.sync(remote.of_branch(), [])

    assert once(promoted).name == "Unchanged"
    assert not lock.exists()


def test_data_that_is_nowhere_is_not_looked_for_again(toy, monkeypatch):
    monkeypatch.setattr(dvc, "transfer", lambda *_: "data/raw/1.png")

    with pytest.raises(remote.LastingError, match=r"neither cache nor remote has data/raw/1\.png"):
        retrain.push.fn(everything=False)


def test_a_champion_that_git_cannot_read_is_not_taken_for_none(promoted):
    """Any model would be promoted in its place."""
    blob = promoted.git("rev-parse", "HEAD:dvc.lock")
    file = promoted.folder / ".git/objects" / blob[:2] / blob[2:]
    kept = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(b"junk")

    with pytest.raises(InputError, match=r"git cat-file"):
        judge()

    file.write_bytes(kept)
    assert judge().verdict.reason


def test_a_file_that_others_made_a_folder_and_a_folder_made_a_file_are_taken_over(toy):
    toy.write("one", "a file")
    toy.write("two/inner", "in a folder")
    toy.git("add", "one", "two")
    toy.git("commit", "--quiet", "--message", "before")
    before = toy.git("rev-parse", "HEAD")
    toy.git("rm", "--quiet", "-r", "one", "two")
    toy.write("one/inner", "now in a folder")
    toy.write("two", "now a file")
    toy.git("add", "one", "two")
    toy.git("commit", "--quiet", "--message", "after")
    after = toy.git("rev-parse", "HEAD")

    for here, there in ((before, after), (after, before)):
        toy.git("reset", "--quiet", "--hard", here)
        clone.move_to(there, clone.files_between(here, there))

        assert toy.git("rev-parse", "HEAD") == there
        assert toy.git("status", "--porcelain") == ""


def pushed(toy: Toy, folder: Path) -> Toy:
    """Another clone, whose commits reach the remote by `push`."""
    other = Toy(folder)
    toy.run("git", "clone", "--quiet", str(toy.bare), str(other.folder), folder=toy.folder.parent)
    return other


def test_what_others_push_is_checked_and_their_repair_is_seen(promoted, tmp_path):
    """A frozen stage would have a model judged by old answers."""
    other = pushed(promoted, tmp_path / "other")
    graph = (other.folder / "dvc.yaml").read_text()
    other.write("dvc.yaml", graph.replace("  evaluate:\n", "  evaluate:\n    frozen: true\n"))
    other.git("commit", "--quiet", "--all", "--message", "Freeze")
    other.git("push", "--quiet")
    promoted.answers(95)

    refused = once(promoted)
    other.write("dvc.yaml", graph)
    other.git("commit", "--quiet", "--all", "--message", "Thaw")
    other.git("push", "--quiet")
    mended = once(promoted)

    assert "stage evaluate is frozen" in refused.message
    assert mended.name == "Promoted", mended.message


def test_nothing_is_deleted_through_a_link_that_took_a_folders_place(promoted, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "base.yaml").write_text("precious")
    other = pushed(promoted, tmp_path / "other")
    other.write("configs/base.yaml", "a file")
    other.git("add", "configs")
    other.git("commit", "--quiet", "--message", "A folder")
    other.git("push", "--quiet")
    assert once(promoted).name == "Unchanged"
    other.git("rm", "--quiet", "-r", "configs")
    (other.folder / "configs").symlink_to(outside)
    other.git("add", "configs")
    other.git("commit", "--quiet", "--message", "A link")
    other.git("push", "--quiet")

    assert once(promoted).name == "Unchanged"

    assert (outside / "base.yaml").read_text() == "precious"
    assert (promoted.folder / "configs").is_symlink()


def test_a_commit_of_very_many_files_is_taken_over(promoted, tmp_path):
    """More than a command line holds."""
    other = pushed(promoted, tmp_path / "other")
    for number in range(30_000):
        other.write(f"many/{'x' * 90}{number}", "")
    other.git("add", "many")
    other.git("commit", "--quiet", "--message", "Many")
    other.git("push", "--quiet")

    assert once(promoted).name == "Unchanged"
    assert len(list((promoted.folder / "many").iterdir())) == 30_000


def test_a_promotion_is_found_though_somebody_reverted_it(promoted):
    entry = Entry("commit", clone.head(), "model@v2.0.0")
    promoted.write("figures", "better")
    promoted.git("add", "figures")
    promoted.git("commit", "--quiet", "--message", f"{retrain.subject(entry)}better")
    made = clone.head()
    promoted.git("revert", "--no-edit", "HEAD")

    assert retrain.promotion(entry) == made


def test_tags_that_only_this_clone_has_outlive_a_fetch_that_prunes(promoted):
    promoted.git("tag", "model@v7.0.0", "HEAD")
    promoted.git("config", "fetch.prune", "true")
    promoted.git("config", "fetch.pruneTags", "true")

    assert once(promoted).name == "Unchanged"

    assert "model@v7.0.0" in promoted.git("tag").split()


def test_a_git_host_that_cannot_take_both_or_none_is_named_at_once(promoted, tmp_path):
    promoted.run("git", "config", "receive.advertiseAtomic", "false", folder=promoted.bare)
    promoted.answers(95)

    state = retrain.retrain(return_state=True)  # which leaves a commit for the next run to push

    assert state.name == "Failed"
    assert "does not support --atomic" in state.message
    assert promoted.status() == ""
    promoted.run("git", "config", "receive.advertiseAtomic", "true", folder=promoted.bare)
    once(promoted)
    check_published(promoted, tmp_path / "second")


def test_a_dvc_remote_that_is_not_the_default_is_told_before_anything_runs(promoted):
    promoted.dvc("config", "--unset", "core.remote")
    promoted.git("commit", "--quiet", "--all", "--message", "No default")
    promoted.git("push", "--quiet", "origin", "main")

    assert "has a git remote but no DVC remote by default" in once(promoted).message


def test_a_module_that_others_move_on_is_moved_on(promoted, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    library = tmp_path / "library"
    library.mkdir()
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "one"]):
        promoted.run(*GIT, *words, folder=library)
    promoted.git("submodule", "--quiet", "add", str(library), "lib")
    promoted.git("commit", "--quiet", "--message", "A module")
    promoted.git("push", "--quiet", "origin", "main")
    other = pushed(promoted, tmp_path / "other")
    other.git("submodule", "--quiet", "update", "--init")
    promoted.run(*GIT, "commit", "--quiet", "--allow-empty", "-m", "two", folder=library)
    other.run("git", "pull", "--quiet", "origin", "HEAD", folder=other.folder / "lib")
    other.git("commit", "--quiet", "--all", "--message", "Move it on")
    other.git("push", "--quiet")

    assert once(promoted).name == "Unchanged"
    moved = promoted.run("git", "rev-parse", "HEAD", folder=promoted.folder / "lib").strip()
    assert moved == promoted.run("git", "rev-parse", "HEAD", folder=library).strip()


def test_a_part_of_the_data_that_changes_while_a_stage_reads_it_is_for_the_next_run(
    promoted, monkeypatch
):
    graph = (promoted.folder / "dvc.yaml").read_text()
    promoted.write("dvc.yaml", graph.replace("[data/raw,", "[data/raw/answers.csv,"))
    promoted.dvc("repro", "--quiet")
    promoted.git("commit", "--quiet", "--all", "--message", "Read a part")
    promoted.dvc("push", "--quiet")
    promoted.git("push", "--quiet", "origin", "main")
    assert once(promoted).name == "Unchanged"
    promoted.answers(95)
    repro = dvc.repro

    def repro_while_it_changes(*words, target, **options):
        outcome = repro(*words, target=target, **options)
        if target == "data/raw.dvc":
            promoted.answers(90)
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(dvc, "repro", repro_while_it_changes)
        assert "changed while ingest read it" in once(promoted).message

    assert once(promoted).name == "Promoted"

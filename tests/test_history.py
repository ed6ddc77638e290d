"""`history` shows what each commit recorded, and stops at none that is damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.comparing.history_plot import drawn, history_plot
from pipeline.comparing.own_run import not_run
from pipeline.comparing.past import Recorded
from pipeline.comparing.revisions import find_revision
from pipeline.errors import InputError
from tests.conftest import ROOT
from tests.test_compare import commit, refused, run
from tests.test_inspect import SCRIPT


def record(folder, accuracy: float, images: int = 100) -> None:
    figures = {"images": images, "accuracy": accuracy, "macro_f1": accuracy}
    figures |= {"accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}
    (folder / "reports").mkdir(exist_ok=True)
    text = json.dumps({"fine_tuned": figures, "head": figures})
    (folder / "reports/metrics.json").write_text(text)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Four commits with figures, of which one is damaged, and two of other things."""
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "git", "init", "-q", "-b", "main")
    record(tmp_path, 0.5)
    commit(tmp_path, "First")
    (tmp_path / "README").write_text("of no matter")
    commit(tmp_path, "Write")
    record(tmp_path, 0.6)
    commit(tmp_path, f"Second {SCRIPT} [red]\x1b[31m {'and so on ' * 9}")
    (tmp_path / "reports/metrics.json").write_text("{")
    commit(tmp_path, "Damage")
    run(tmp_path, "git", "checkout", "-q", "-b", "side")
    record(tmp_path, 0.9)
    commit(tmp_path, "Aside")
    run(tmp_path, "git", "checkout", "-q", "main")
    record(tmp_path, 0.7, images=120)
    commit(tmp_path, "Third")
    return tmp_path


def as_json(capsys, *words: str) -> tuple[list[str], list[str]]:
    """Subjects of the commits with figures, and of those without."""
    assert main(["history", "--json", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    return tuple([item["subject"][:6] for item in found[key]] for key in ("commits", "unread"))


def test_figures_that_a_commit_took_over_from_another_run_are_told(repository, capsys):
    """Others' dvc.lock, written by hand: params were edited and committed without a run."""
    stages = {"train_head": {"params": {"params.yaml": {"train_head": {"seed": 1}}}}}
    (repository / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    (repository / "params.yaml").write_text("train_head: {seed: 1}")
    commit(repository, "Run")
    (repository / "params.yaml").write_text("train_head: {seed: 2}")
    record(repository, 0.71)
    commit(repository, "Edit")
    out = {"path": "data/views.csv", "hash": "md5", "md5": "1"}
    stages["augment"] = {"outs": [out]}
    stages["extract"] = {"deps": [out | {"md5": "2"}]}
    (repository / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    commit(repository, "Merge two runs")
    (repository / "dvc.lock").write_text("{")
    commit(repository, "Spoil the lock, not the figures")

    assert main(["history", "--json"]) == 0
    printed = capsys.readouterr()

    found = [entry["not_run"] for entry in json.loads(printed.out)["commits"]]
    assert found[:5] == [None, ["train_head", "extract"], ["train_head"], [], None]
    assert "Edit: committed before these ran: train_head" in printed.err


def test_figures_that_the_lock_does_not_record_are_told(repository, capsys):
    """Of a merge that took the lock of one side and the figures of the other."""
    figures = repository / "reports/metrics.json"
    md5 = hashlib.md5(figures.read_bytes(), usedforsecurity=False).hexdigest()
    out = {"path": "reports/metrics.json", "hash": "md5", "md5": md5}
    lock = {"schema": "2.0", "stages": {"evaluate": {"outs": [out]}}}
    (repository / "dvc.lock").write_text(json.dumps(lock))
    commit(repository, "Run")
    record(repository, 0.72)
    commit(repository, "Merge")

    assert main(["history", "--json"]) == 0
    printed = capsys.readouterr()

    found = [entry["not_run"] for entry in json.loads(printed.out)["commits"]]
    assert found[:2] == [["evaluate"], []]
    assert "Merge: committed before these ran: evaluate" in printed.err


def test_a_command_that_was_changed_and_not_run_is_told(repository, capsys):
    def write(command: str) -> None:
        stages = {"evaluate": {"cmd": command}}
        (repository / "dvc.yaml").write_text(json.dumps({"stages": stages}))

    lock = {"schema": "2.0", "stages": {"evaluate": {"cmd": "evaluate"}}}
    (repository / "dvc.lock").write_text(json.dumps(lock))
    commands = ("evaluate", "evaluate --other", "${what}")  # the last is for DVC to fill in
    for number, command in enumerate(commands):
        write(command)
        record(repository, 0.8 + number / 100)
        commit(repository, command)

    assert main(["history", "--json"]) == 0
    found = [entry["not_run"] for entry in json.loads(capsys.readouterr().out)["commits"]]

    assert found[:3] == [[], ["evaluate"], []]


@pytest.mark.parametrize("document", ["[]", "stages: [a]", "stages: {evaluate: 3}"])
def test_a_dvc_yaml_that_is_none_is_named(repository, monkeypatch, document):
    """And not the lock beside it."""
    monkeypatch.chdir(repository)
    (repository / "dvc.yaml").write_text(document)
    (repository / "dvc.lock").write_text('{"schema": "2.0", "stages": {}}')
    commit(repository, "Odd")

    with pytest.raises(InputError, match=r"dvc\.yaml of .* is none of DVC's"):
        not_run(find_revision("HEAD"))


def test_git_joins_no_two_locks(repository):
    """Line by line one would record the one side's params with the other's results."""
    shutil.copy(ROOT / ".gitattributes", repository)
    lock = repository / "dvc.lock"
    for branch, at in (("start", None), ("one", 3), ("other", 36)):
        run(repository, "git", "checkout", "-q", "-B", branch, "start" if at else "main")
        lines = ["new" if number == at else str(number) for number in range(40)]
        lock.write_text("\n".join(lines))
        commit(repository, branch)
    other = lock.read_text()
    run(repository, "git", "checkout", "-q", "one")
    one = lock.read_text()

    merge = ["git", "merge", "-q", "-m", "Merge", "other"]
    with pytest.raises(AssertionError):  # git stops
        run(repository, *merge)
    assert lock.read_text() == one
    run(repository, "git", "merge", "--abort")
    run(repository, *merge, "-X", "theirs")
    assert lock.read_text() == other


def test_commits_come_newest_first_and_a_damaged_one_is_named(repository, capsys):
    assert as_json(capsys) == (["Third", "Second", "First"], ["Damage"])
    assert not (repository / "reports/history.png").exists()


def test_a_branch_and_a_limit_are_kept_to(repository, capsys):
    assert as_json(capsys, "--branch", "side")[0] == ["Aside", "Second", "First"]
    assert as_json(capsys, "--limit", "1") == (["Third"], [])
    (repository / "reports/metrics.json").write_text("{}")
    commit(repository, "Damage again")
    assert as_json(capsys, "--limit", "2") == (["Third", "Second"], ["Damage", "Damage"])


@pytest.mark.parametrize("figure", [1e308, 10**400])
def test_figures_that_nobody_could_draw_are_named(repository, capsys, figure):
    document = {"fine_tuned": {"images": 9, "accuracy": figure, "accuracy_low": -figure}}
    (repository / "reports/metrics.json").write_text(json.dumps(document))
    commit(repository, "Absurd")

    assert main(["history"]) == 0

    assert "Absurd: its figures cannot be read" in capsys.readouterr().err


def test_signed_commits_are_listed_where_git_shows_signatures(repository, capsys, tmp_path):
    key = tmp_path / ".git/key"
    run(tmp_path, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}.pub")
    record(repository, 0.8)
    run(repository, "git", *signing, "commit", "-q", "-S", "-a", "-m", "Signed")
    run(repository, "git", "config", "log.showSignature", "true")

    assert as_json(capsys)[0] == ["Signed", "Third", "Second", "First"]


def test_a_shallow_clone_says_that_it_is(repository, capsys, monkeypatch, tmp_path):
    run(tmp_path, "git", "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    monkeypatch.chdir(tmp_path / "shallow")

    assert main(["history", "--json"]) == 0

    assert "this clone is shallow: `git fetch --unshallow`" in capsys.readouterr().err
    with pytest.raises(InputError, match="git fetch --unshallow"):
        find_revision("HEAD~1")


def test_of_a_merge_the_first_parent_counts(repository, capsys):
    run(repository, "git", "merge", "-q", "-s", "ours", "-m", "Merge", "side")

    assert as_json(capsys)[0] == ["Third", "Second", "First"]


def test_the_table_has_a_row_a_commit_with_its_interval(repository, capsys):
    assert main(["history"]) == 0

    said = capsys.readouterr()
    rows = [line for line in said.out.splitlines() if "[0." in line]
    head = run(repository, "git", "rev-parse", "HEAD")[:8]
    assert rows[0].startswith(head)
    assert [line[9:19] for line in rows] == [rows[0][9:19]] * 3
    assert "120    0.7000 [0.6000, 0.8000] 0.7000    undefined Third" in rows[0]
    assert len(rows) == 3
    assert "Damage: its figures cannot be read" in said.err
    assert "\x1b" not in said.out + said.err


def test_the_plot_is_a_picture_that_the_figures_move(repository):
    assert main(["history", "--plot", "one.png"]) == 0
    assert main(["history", "--plot", "again.png"]) == 0
    assert main(["history", "--plot", "other.png", "--branch", "side"]) == 0

    one, again, other = (
        np.asarray(Image.open(repository / f"{name}.png")) for name in ("one", "again", "other")
    )
    assert np.array_equal(one, again)
    assert one.shape != other.shape or not np.array_equal(one, other)


@pytest.mark.parametrize(("images", "breaks"), [((9, 9, 9), 0), ((9, 8, 8), 1), ((9, 8, 7), 2)])
def test_the_plot_has_intervals_and_a_line_where_the_test_images_change(images, breaks):
    figures = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.7}
    entries = [Recorded("0" * 40, "2026-01-01", "", {"images": n, **figures}, []) for n in images]

    panel = drawn(entries).axes[0]

    assert sum(line.get_linestyle() == "--" for line in panel.lines) == breaks
    (bars,) = panel.collections
    ends = [[[place, 0.4], [place, 0.7]] for place in range(3)]
    np.testing.assert_allclose(bars.get_segments(), ends)


def test_hundreds_of_commits_are_drawn(tmp_path):
    entries = [
        Recorded(f"{number:040x}", "2026-01-01", "", {"images": 9, "accuracy": number / 300}, [])
        for number in range(300)
    ]

    assert history_plot(entries).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"fine_tuned": 3}', '{"fine_tuned": {"accuracy": "high"}}', "[" * 10**5, "\xff"],
)
def test_figures_that_are_none_are_named_whatever_they_are(repository, capsys, content):
    (repository / "reports/metrics.json").write_bytes(content.encode("latin-1"))
    commit(repository, "Worse")

    assert as_json(capsys) == (["Third", "Second", "First"], ["Worse", "Damage"])


def test_a_history_without_figures_is_an_error(repository, capsys):
    run(repository, "git", "checkout", "-q", "--orphan", "empty")
    run(repository, "git", "rm", "-q", "-rf", ".")
    (repository / "README").write_text("")
    commit(repository, "Nothing")

    assert "has no commit with figures" in refused(capsys, "history")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--limit", "0"), "--limit: 0 commits are none"),
        (("--branch", "workspace"), "the workspace has no history"),
        (("--branch", "mian"), "did you mean 'main'"),
        (("--branch=--all",), "knows no revision '--all'"),
    ],
)
def test_a_wrong_option_is_an_error(repository, capsys, words, said):
    assert said in refused(capsys, "history", *words)


def test_a_repository_without_a_commit_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)

    assert "cannot read HEAD: fatal: your current branch" in refused(capsys, "history")

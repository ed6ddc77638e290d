"""The flow `train` does what `dvc repro` does, and shows it in Prefect."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.logging.handlers import APILogHandler

from pipeline.errors import InputError
from pipeline.flows import artifacts as shown
from pipeline.flows.alone import alone
from pipeline.flows.artifacts import committed, rejected
from pipeline.flows.backfill import backfill
from pipeline.flows.progress import Progress
from pipeline.flows.train import train
from pipeline.programs import dvc
from pipeline.programs.dvc import StageError
from tests.toy import Toy, make_toy

UP_TO_DATE = "Data and pipelines are up to date."


pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(scope="module")
def trained(prefect_api, tmp_path_factory):
    """A toy project that `train` has brought up to date once."""
    toy = make_toy(tmp_path_factory.mktemp("toy"), remotes=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(toy.folder)
        state = train(return_state=True)
    assert state.name == "Completed", state.message
    return toy, state


@pytest.fixture
def toy(trained, monkeypatch) -> Toy:
    monkeypatch.chdir(trained[0].folder)
    return trained[0]


def names(state) -> dict[str, str]:
    """State names of a flow run's tasks, which reach the API a moment after the run ends."""

    async def read():
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        for _ in range(100):
            async with get_client() as client:
                runs = await client.read_task_runs(flow_run_filter=mine)
            if runs and all(run.state and run.state.is_final() for run in runs):
                break
            await asyncio.sleep(0.1)
        return runs

    return {run.name: run.state.name for run in asyncio.run(read())}


def logs(state) -> str:
    async def read():
        await APILogHandler.aflush()
        async with get_client() as client:
            found = LogFilter(
                flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id])
            )
            return await client.read_logs(log_filter=found)

    return "\n".join(log.message for log in asyncio.run(read()))


def artifacts(state) -> dict[str, str]:
    async def read():
        async with get_client() as client:
            return await client.read_artifacts()

    mine = [a for a in asyncio.run(read()) if a.flow_run_id == state.state_details.flow_run_id]
    return {artifact.key: artifact.data for artifact in mine}


def test_every_stage_is_a_task_and_its_words_are_in_its_log(trained):
    toy, state = trained

    assert names(state) == dict.fromkeys(("ingest", "split", "evaluate"), "Completed")
    assert "ingest has 200 rows" in logs(state)
    assert UP_TO_DATE in toy.dvc("repro")


def test_what_dvc_finds_unchanged_is_cached(toy):
    state = train(return_state=True)

    assert state.name == "Cached"
    assert names(state) == dict.fromkeys(("ingest", "split", "evaluate"), "Cached")
    assert UP_TO_DATE in toy.dvc("repro")


def test_the_flow_has_nothing_to_do_after_dvc_repro(toy):
    toy.answers(70)
    toy.dvc("add", "--quiet", "data/raw")
    toy.dvc("repro")

    assert train(return_state=True).name == "Cached"


@pytest.mark.parametrize("torn", ["", '{"read": {"data/r'])
def test_a_list_of_locks_that_a_killed_dvc_left_half_written_holds_nothing_up(toy, torn):
    toy.write(".dvc/tmp/rwlock", torn)

    assert train(return_state=True).name == "Cached"


def test_a_dvc_that_is_ended_while_it_writes_its_list_of_locks_holds_nothing_up(toy, monkeypatch):
    """Who cancels a run types `dvc repro` next."""
    tears = "import time; open('.dvc/tmp/rwlock', 'w'); print('x', flush=True); time.sleep(60)"
    monkeypatch.setattr(dvc, "DVC", [sys.executable, "-c", tears])

    def cancel(_: str) -> None:
        assert Path(".dvc/tmp/rwlock").read_text() == ""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dvc.repro(say=cancel)

    toy.dvc("repro")


def test_a_stage_whose_inputs_come_out_as_before_does_not_run(toy):
    """Another file in data/raw that changes no row: ingest runs, what follows does not."""
    toy.write("data/raw/notes.txt", toy.folder.name)

    state = train(return_state=True)
    (toy.folder / "data/raw/notes.txt").unlink()

    assert names(state)["data/raw.dvc"] == "Completed"
    assert names(state)["ingest"] == "Completed"
    assert names(state)["split"] == names(state)["evaluate"] == "Cached"
    restored = train(return_state=True)
    assert names(restored)["ingest"] == "Cached"
    assert restored.result()["ingest"] == "RESTORED"


def test_figures_are_shown_beside_those_of_head(toy):
    toy.answers(60)
    train(return_state=True)
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "First")
    toy.answers(90)
    toy.write("data/raw/more.csv", "image,label,answer\n<b>|x.png,,cat\n")

    state = train(return_state=True)
    (toy.folder / "data/raw/more.csv").unlink()

    shown = artifacts(state)
    assert "| accuracy | 0.9000 [0.8900, 0.9100] | 0.6000 | +0.3000 |" in shown["metrics"]
    assert "| cat | 45 | 5 |" in shown["confusion-matrix"]
    assert "no\\_label" in shown["rejected-files"]
    assert "<b>" not in shown["rejected-files"]


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"3", b'{"fine_tuned": 3}', b'{"fine_tuned": {"accuracy": null, "f1": "0.9"}}'],
)
def test_figures_of_head_that_are_none_are_no_figures(tmp_path, monkeypatch, content):
    toy = make_toy(tmp_path, remotes=False)
    (toy.folder / "reports").mkdir(exist_ok=True)
    (toy.folder / "reports/metrics.json").write_bytes(content)
    toy.git("add", "--force", "reports/metrics.json")
    toy.git("commit", "--quiet", "--message", "Odd")

    monkeypatch.chdir(toy.folder)

    assert committed() == {}


def test_tables_of_a_run_are_read_or_named(tmp_path):
    file = tmp_path / "rejected.csv"
    with pytest.raises(InputError, match=r"rejected.csv: does not exist\n  fix: run `dvc repro`"):
        rejected(file)
    for content, match in (("", "no column path, reason"), ("path,detail\n", "no column reason")):
        file.write_text(content)
        with pytest.raises(InputError, match=match):
            rejected(file)
    file.write_bytes(b"path,reason\n\xff,damaged\n")
    with pytest.raises(InputError, match="is not a table"):
        rejected(file)
    file.write_text("path,reason,detail\n")
    assert rejected(file) == "No file was rejected."
    file.write_text(f"path,reason,detail\na.png,bad_weight,{'x' * 200_000}\n")
    assert rejected(file).splitlines()[-1] == r"| bad\_weight | 1 | a.png |"


def test_params_are_set_and_kept(toy):
    train()
    text = (toy.folder / "params.yaml").read_text()

    state = train(["split.seed=7"], return_state=True)

    changed = (toy.folder / "params.yaml").read_text()
    assert [line for line in changed.splitlines() if line not in text.splitlines()] == [
        "  seed: 7"
    ]
    assert names(state)["ingest"] == "Cached"
    assert names(state)["split"] == "Completed"
    with pytest.raises(InputError, match=r"unknown key 'split.sed'\n.*did you mean 'seed'"):
        train(["split.seed=9", "split.sed=7"])
    assert (toy.folder / "params.yaml").read_text() == changed
    for words, match in (
        (["split.seed"], "no assignment"),
        (["split.seed.x=5"], r"goes beyond a key, whose value is 7\n.*leave out .x"),
        (["split.seed=[1"], "not YAML"),
        (["split.seed=2024-02-30"], "not YAML"),
        (["split=5"], "would replace a whole section"),
        (["split.val=0.9", "split.seed=8"], r"with split.val=0.9.*val \+ test must be below 1"),
        (["promotion.metric=luck"], "promotion.metric"),
        (["fine_tune.epochs=few"], r"fine_tune\.epochs: should be a valid integer"),
        (["ingest.max_bytes=many"], r"ingest\.max_bytes: should be a valid integer"),
    ):
        with pytest.raises(InputError, match=match):
            train(words)


def test_another_flow_in_the_project_is_refused(toy, monkeypatch):
    """`retrain` would take the outs of a `train` that is under way for those of a killed run."""
    monkeypatch.setattr("pipeline.flows.alone.WAIT_S", 0)

    with alone("flow"), pytest.raises(InputError, match="another flow runs here"):
        train()
    with alone("flow"), pytest.raises(InputError, match="another flow runs here"):
        backfill(["HEAD"])


def test_a_bar_shows_how_far_a_run_has_come(toy):
    toy.answers(50)
    done = train(return_state=True)
    nothing = train(return_state=True)
    toy.write("data/raw/stop.csv", "image,label,answer\n1.png,cat,stop\n")
    failed = train(return_state=True)
    (toy.folder / "data/raw/stop.csv").unlink()

    assert artifacts(done)["progress"] == 100
    assert "progress" not in artifacts(nothing)
    assert artifacts(failed)["progress"] == 25  # the data, of four


def test_the_bar_moves_while_a_stage_says_how_far_it_is(prefect_api):
    @flow
    def show() -> None:
        bar = Progress(4)
        bar.begin()
        bar.reach(1)
        bar.hear("extract: 50 of 100 views, 20.0 a second, 2 s left")
        bar.hear("ingest: 7 of 5 images and 0 of 0 others")

    assert artifacts(show(return_state=True))["progress"] == 37.5


def test_until_leaves_later_stages_alone(toy):
    toy.answers(50)

    state = train(until="split", return_state=True)

    assert set(names(state)) == {"data/raw.dvc", "ingest", "split"}
    assert "metrics" not in artifacts(state)
    with pytest.raises(InputError, match=r"'spilt' is no stage\n.*name one of ingest, split"):
        train(until="spilt")


def test_force_runs_what_is_not_stale(toy):
    train(return_state=True)

    state = train(until="ingest", force=True, return_state=True)

    assert names(state) == {"ingest": "Completed"}


def test_a_failing_stage_says_why_and_stops_the_flow(toy):
    nameless = "".join(f"{number}.png,,cat\n" for number in range(2, 6))
    toy.write("data/raw/stop.csv", "image,label,answer\n1.png,cat,stop\n" + nameless)

    state = train(return_state=True)
    (toy.folder / "data/raw/stop.csv").unlink()

    assert state.name == "Failed"
    assert "| no\\_label | 4 | 2.png; 3.png; 4.png; 5.png |" in artifacts(state)["rejected-files"]
    assert names(state)["ingest"] == "Failed"
    assert "split" not in names(state)
    assert "an answer is 'stop'" in logs(state)
    assert "Traceback" not in logs(state)  # what the user can mend is no bug
    with pytest.raises(StageError, match=r"ingest failed: error: data/raw/answers.csv: an answer"):
        state.result()
    assert train(return_state=True).is_completed()


def test_what_lacks_its_file_keeps_nothing_else_from_being_shown(toy, trained):
    (toy.folder / "reports/metrics.json").unlink()

    @flow
    def show() -> None:
        shown.of_run(done=["evaluate"])

    state = show(return_state=True)

    assert set(artifacts(state)) == {"confusion-matrix"}
    assert "not all is there to look at: [Errno 2]" in logs(state)


@pytest.mark.parametrize("answer", ["cat", "stop"])
def test_what_cannot_be_shown_costs_no_run_its_state(toy, monkeypatch, answer):
    def fail(*_: object, **__: object) -> None:
        raise httpx.ConnectError("the server has gone")

    monkeypatch.setattr(shown, "create_markdown_artifact", fail)
    toy.write("data/raw/stop.csv", f"image,label,answer\n1.png,cat,{answer}\n")

    state = train(return_state=True)
    (toy.folder / "data/raw/stop.csv").unlink()

    assert "not all is there to look at: the server has gone" in logs(state)
    if answer == "stop":
        with pytest.raises(StageError, match="an answer is 'stop'"):
            state.result()
    else:
        assert state.is_completed()


def test_a_file_name_at_which_dvc_stops_is_looked_for_by_ingest(toy):
    odd = toy.folder / "data/raw" / os.fsdecode(b"caf\xe9.png")
    odd.touch()

    state = train(return_state=True)
    odd.unlink()

    with pytest.raises(InputError, match="fix: rename files whose names are not UTF-8"):
        state.result()


def test_a_folder_without_dvc_yaml_is_named(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=r"dvc.yaml.*names no stages"):
        train()


def test_data_that_no_stage_reads_is_not_looked_for(toy):
    toy.write("notes.txt", "mine")
    toy.dvc("add", "--quiet", "notes.txt")
    (toy.folder / "notes.txt").unlink()
    shutil.rmtree(toy.folder / ".dvc/cache/files/md5")

    state = train(return_state=True)
    (toy.folder / "notes.txt.dvc").unlink()

    assert state.is_completed()
    assert "notes.txt.dvc" not in state.result()


def test_a_stage_runs_after_those_it_reads_wherever_dvc_yaml_has_it(toy):
    file = toy.folder / "dvc.yaml"
    text = file.read_text()
    stages = text.index("  ingest:"), text.index("  split:")
    file.write_text(text[: stages[0]] + text[stages[1] :] + text[stages[0] : stages[1]])
    toy.answers(60)

    state = train(return_state=True)
    file.write_text(text)

    assert list(state.result()) == ["data/raw.dvc", "ingest", "split", "evaluate"]
    assert train(return_state=True).name == "Cached"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("  ingest:\n", "  ingest:\n    wdir: data\n", "stage ingest has wdir"),
        ("[data/raw,", '["${folder}/raw",', r"stage ingest names '\$\{folder\}/raw'"),
    ],
)
def test_paths_that_flows_would_not_find_are_refused(toy, old, new, match):
    file = toy.folder / "dvc.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))

    with pytest.raises(InputError, match=match):
        train()

    file.write_text(text)


@pytest.mark.parametrize("many", ["matrix: {n: [a, b]}", "foreach: [a, b]"])
def test_a_stage_that_stands_for_many_is_refused(toy, many):
    file = toy.folder / "dvc.yaml"
    text = file.read_text()
    file.write_text(f"{text}  more:\n    {many}\n    cmd: echo\n")

    state = train(return_state=True)
    file.write_text(text)

    assert "stage more has" in state.message
    assert "which flows cannot run one by one" in state.message

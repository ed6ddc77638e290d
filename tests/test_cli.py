"""The command line: quick, helpful, and free of tracebacks."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pipeline.__main__ import COMMANDS, STAGES, main
from pipeline.console import progress, sized
from pipeline.model_file import Card, save_model
from tests.conftest import ROOT, picture
from tests.test_dvc_yaml import signature


def run(*words: str, folder=ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_stage_and_command_in_a_line_each():
    lines = run("--help").stdout.splitlines()

    for name in (*STAGES, *COMMANDS):
        assert [line for line in lines if line.startswith(f"  {name} ") and line.endswith(".")]


@pytest.mark.parametrize("stage", STAGES)
def test_help_of_a_stage_names_its_files_and_params(stage, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([stage, "--help"])
    said = capsys.readouterr().out

    for name, (_, default) in signature(stage).files.items():
        assert f"--{name.replace('_', '-')}" in said
        assert str(default) in said
    for section in signature(stage).sections.values():
        for key in section.model_fields:
            assert f".{key}\n" in said
    assert "reads:" in said or stage == "sample"
    assert "writes:" in said


def test_light_commands_import_nothing_heavy(filled):
    """`--help`, and a stage that only reads tables, start at once."""
    assert filled.run("ingest") == 0
    probe = (
        "import sys; from pipeline.__main__ import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as end: status = end.code\n"
        "heavy = {'tensorflow', 'keras', 'openvino', 'dvc', 'sklearn', 'prefect'}\n"
        "print(status or 0, sorted(heavy & set(sys.modules)))"
    )
    helps = ("ingest", "train_head", "split", "run", "predict", "compare")
    for words in (["--help"], *([name, "--help"] for name in helps), ["split"]):
        done = subprocess.run(
            [sys.executable, "-c", probe, *words],
            cwd=filled.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "0 []"


def test_an_unknown_name_is_an_error_that_lists_the_known(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["trian_head"])

    assert "invalid choice: 'trian_head'" in capsys.readouterr().err


def test_an_error_is_a_message_and_a_status_not_a_traceback(tmp_path):
    done = run("ingest", folder=tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml: does not exist")
    assert "Traceback" not in done.stderr


def test_a_log_gets_a_line_of_progress_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr("pipeline.console.LOG_EVERY_S", 0.0)

    with progress("extract", 4, "view") as bar:
        bar(1, note="(1 from the store)")
        bar(2)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "extract (1 from the store): 1 of 4 views"  # nobody knows yet how fast
    assert re.match(r"extract \(1 from the store\): 3 of 4 views, [\d.]+ a second, ", lines[-1])


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (99, "99 bytes"),
        (100, "0.1 kB"),
        (99_900, "99.9 kB"),
        (1.5e6, "1.5 MB"),
        (1e8, "0.10 GB"),
        (2e10, "20.00 GB"),
    ],
)
def test_a_size_is_said_in_a_unit_that_shows_it(count, words):
    assert sized(count) == words


def test_a_disk_that_refuses_is_a_message(filled, capsys):
    (filled.folder / "reports").write_text("a file where a folder must be")

    assert filled.run("ingest") == 1

    assert "reports" in capsys.readouterr().err


@pytest.fixture
def model(keras, tmp_path):
    """A model that calls a picture light if it is."""
    pixels = keras.Input((8, 8, 3))
    mean = keras.layers.GlobalAveragePooling2D()(pixels)
    dense = keras.layers.Dense(2, activation="softmax")
    net = keras.Model(pixels, dense(mean / 255.0))
    dense.set_weights([np.array([[-9, 9]] * 3, np.float32), np.array([13.5, -13.5], np.float32)])
    card = Card(
        classes=["dark", "light"],
        image_size=8,
        resize="bicubic",
        shipped="head",
        data_digest="",
        weights_digest="",
        params={},
    )
    save_model(net, card, tmp_path / "model.keras")
    folder = tmp_path / "new"
    folder.mkdir()
    picture(1, brightness=10).save(folder / "a night.png")
    picture(2, brightness=180).save(folder / "b day.png")
    return tmp_path / "model.keras"


def predict(model, *words: object) -> int:
    return main(["predict", "--model", str(model), *map(str, words)])


def test_predict_prints_json(model, capsys):
    assert predict(model, model.parent / "new", "--json") == 0

    found = json.loads(capsys.readouterr().out)

    assert [item["label"] for item in found] == ["dark", "light"]
    assert found[0]["path"].endswith("new/a night.png")
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert found[1]["probabilities"]["light"] > 0.9


def test_predict_prints_csv(model, capsys):
    picture(3, brightness=180).save(odd := model.parent / "new/a\rb.png")
    assert predict(model, model.parent / "new/b day.png", odd, "--csv") == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))

    assert rows[0].keys() == {"path", "label", "probability_dark", "probability_light"}
    assert [row["label"] for row in rows] == ["light", "light"]
    assert rows[1]["path"] == str(odd)


def test_predict_prints_json_that_any_encoding_holds(model, capsys):
    picture(3, brightness=180).save(odd := model.parent / "new/süd.png")
    assert predict(model, odd, "--json") == 0

    said = capsys.readouterr().out

    assert said.isascii()
    assert json.loads(said)[0]["path"] == str(odd)


def test_predict_prints_the_same_columns_where_no_image_is_usable(model, capsys):
    (model.parent / "new/no.png").write_text("no")

    assert predict(model, model.parent / "new/no.png", "--csv") == 1

    assert capsys.readouterr().out == "path,label,probability_dark,probability_light\n"


def test_predict_prints_a_table_for_people(model, capsys):
    picture(3, brightness=180).save(model.parent / "new/[bold]c.png")

    assert predict(model, model.parent / "new") == 0

    assert "[bold]c.png" in capsys.readouterr().out.replace("\n", "").replace("│", "")


def test_predict_names_what_it_cannot_use_and_labels_the_rest(model, capsys):
    (model.parent / "new/broken.jpg").write_bytes(b"no image")

    assert predict(model, model.parent / "new", "--json") == 1

    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 2
    assert "broken.jpg: not_an_image: no image format" in said.err


@pytest.mark.parametrize("name", ["LABELS.CSV", "train.json"])
def test_predict_takes_no_table_for_an_image(model, capsys, name):
    (model.parent / "new" / name).write_text("{}")

    assert predict(model, model.parent / "new", "--json") == 0

    assert len(json.loads(capsys.readouterr().out)) == 2


def test_names_move_no_cursor_and_forge_no_line(model, capsys):
    folder = model.parent / "new"
    picture(3, brightness=180).save(folder / "\x1b[31mred.png")
    (folder / "bad\nerror: forged.png").write_bytes(b"no image")

    assert predict(model, folder) == 1
    assert main(["predict", str(folder / "\x1b[2Jaway")]) == 1

    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "\\x1b[31mred.png" in said.out.replace("\n", "").replace("│", "")
    assert "bad\\nerror: forged.png: not_an_image" in said.err
    assert "\\x1b[2Jaway: does not exist" in said.err


@pytest.mark.parametrize(
    ("into", "said"),
    [
        (">/dev/full", "No space left on device\n  fix: free or allow where the output goes"),
        (">&-", "error: standard output: is closed"),
    ],
)
def test_output_that_goes_nowhere_is_told(into, said):
    command = ["sh", "-c", f"exec {sys.executable} -m pipeline cache {into}"]

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)

    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_predict_into_a_closed_pipe_is_quiet(model):
    """As `| head -1` does."""
    words = [sys.executable, "-m", "pipeline", "predict", "--model", model, model.parent / "new"]
    done = subprocess.run(
        ["sh", "-c", '"$@" --csv | true', "sh", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stderr == ""


@pytest.mark.parametrize(
    ("path", "match"),
    [("gone.png", "gone.png: does not exist"), ("empty", "empty: holds no image files")],
)
def test_predict_without_images_is_an_error(model, capsys, path, match):
    (model.parent / "empty").mkdir()

    assert predict(model, model.parent / path) == 1

    assert match in capsys.readouterr().err


def test_predict_without_a_model_is_an_error(tmp_path, capsys):
    picture(1, brightness=9).save(tmp_path / "a.png")

    assert predict(tmp_path / "model.keras", tmp_path / "a.png") == 1

    assert "model.keras: does not exist\n  fix: name a model" in capsys.readouterr().err


def test_summary_without_a_run_is_an_error(project, capsys):
    assert main(["summary"]) == 1

    assert "reports/metrics.json: cannot be read" in capsys.readouterr().err


def test_summary_without_a_model_shows_no_figures(project, capsys):
    (project.folder / "reports").mkdir(exist_ok=True)
    shutil.copy(ROOT / "reports/metrics.json", project.folder / "reports")

    assert main(["summary"]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert "models/model.keras: does not exist" in said.err

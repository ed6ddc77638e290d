"""README.md against the code: commands, params keys, figures and files."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise

import pytest
from ruamel.yaml import YAML

from benchmarks.report import SECTIONS
from pipeline.__main__ import COMMANDS, STAGES, main
from pipeline.commands.summary import FILES, HEADLINE
from pipeline.listing.listing import FAULTS
from pipeline.sources.place import READ_FAULTS
from tests.conftest import ROOT
from tests.test_dvc_yaml import DVC, paths, signature
from tests.test_findings import CODES

README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
SHELL = {"cd", "mv", "rm", "source"}
COMMAND_LINES = [  # `export` is the shell's own
    line.split("#")[0].strip(" &")
    for block in BLOCKS
    for line in block.splitlines()
    if line.strip() and not line.startswith("export ")
]
INLINE = re.findall(r"`((?:make|dvc|python) [^`]*)`", README)
PARTS = {part.strip() for line in (*COMMAND_LINES, *INLINE) for part in line.split("&&")}
ALL_COMMANDS = sorted(part for part in PARTS if part.split()[0] not in SHELL)


def test_every_params_key_is_explained_and_no_other():
    explained = re.findall(r"^\| `([a-z_]+\.[a-z_0-9]+)` \| \S", README, re.MULTILINE)
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    keys = [f"{section}.{key}" for section, values in params.items() for key in values]

    assert explained == keys


@pytest.mark.parametrize("line", ALL_COMMANDS)
def test_every_command_exists(line):
    words = shlex.split(line)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        known = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
        settable = re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE)
        given = dict(word.split("=") for word in words[1:] if "=" in word)
        assert {word for word in words[1:] if "=" not in word} <= set(known)
        assert set(given) <= set(settable)
        assert (ROOT / given.get("LOCK", "requirements.lock")).is_file()
    elif words[0] in {"dask", "prefect"}:
        command = [word for word in words if not word.startswith("-")][:3]
        command = command[:2] if words[0] == "dask" else command
        done = subprocess.run(
            [sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True
        )
        assert all(word in done.stdout for word in words[2:] if word.startswith("--"))
    elif words[0] == "git":
        done = subprocess.run(["git", words[1], "-h"], capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert f"usage: git {words[1]} " in said
        assert all(word in said for word in words[2:] if word.startswith("--"))
    elif words[:3] == ["python", "-m", "pipeline"]:
        assert words[3] in {*STAGES, *COMMANDS, "--help"}
        done = subprocess.run(
            [sys.executable, *words[1:4], "--help"], capture_output=True, text=True, check=True
        )
        options = [word for word in words[4:] if word.startswith("--")]
        assert all(re.search(rf"{option}\b", done.stdout) for option in options)
    elif words[:3] == ["python", "-m", "pytest"]:
        assert all((ROOT / word).is_file() for word in words[3:])
    elif words[:2] == ["python", "-m"]:
        assert words[2].removeprefix("benchmarks.") in SECTIONS
    else:
        from dvc.cli import parse_args

        assert words[0] == "dvc"
        parse_args(words[1:])


def test_plain_keras_answers_as_predict_does(trained, capsys):
    """By the README's own lines, which need nothing of this project."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    image = "data/raw/dark/000.png"
    capsys.readouterr()

    done = subprocess.run(
        [sys.executable, "-c", code.replace("data/raw/images/cell0001.png", image)],
        cwd=trained.folder,
        capture_output=True,
        text=True,
        check=True,
    )

    assert main(["predict", image, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert ast.literal_eval(done.stdout) == pytest.approx(answer["probabilities"], abs=1e-4)


def test_the_picture_of_the_graph_is_the_graph():
    edges = set(re.findall(r"^ +(\w+) -- [^>]+--> (\w+)$", README, re.MULTILINE))
    assert edges >= set(pairwise(STAGES))
    for earlier, later in edges:
        outs = paths(DVC["stages"][earlier]["outs"])
        assert outs & set(DVC["stages"][later]["deps"]), (earlier, later)


def test_the_table_of_stages_names_every_out():
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", README, re.MULTILINE))
    for stage in STAGES:
        writes = {str(p) for how, p in signature(stage).files.values() if how == "writes"}
        assert {name.rstrip("/") for name in rows[stage].strip().split(", ")} == writes


def test_every_reason_for_rejection_is_listed():
    code = "".join(
        file.read_text()
        for folder in ("images", "listing", "sources")
        for file in (ROOT / "pipeline" / folder).glob("*.py")
    )
    told = r'(?:RejectedImage\(|Rejected\([^,]+, |return \(?)"([a-z_0-9]+)"(?! in)'
    raised = re.findall(told, code)
    reasons = {*raised, *FAULTS, *READ_FAULTS.values(), "unreadable"}
    listed = README.partition("with a reason: ")[2].partition(". Your files")[0]

    assert len(reasons) > 10
    assert set(re.findall(r"`(\w+)`", listed)) == reasons


def test_every_finding_is_explained():
    table = README.partition("| finding |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)

    assert re.findall(r"`(\w+)`", "".join(cells)) == list(CODES)


def test_figures_are_those_of_the_committed_run():
    block = README.partition("<!-- figures")[2].partition("<!-- end of figures")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", block, re.MULTILINE)
    shown = subprocess.run(  # those of the workspace may be another machine's
        ["git", "show", "HEAD:reports/metrics.json"], cwd=ROOT, capture_output=True, check=True
    )
    scores = json.loads(shown.stdout)
    head, tuned = scores["head"], scores["fine_tuned"]

    def cell(figures: dict[str, float], key: str) -> str:
        low, high = figures[f"{key}_low"], figures[f"{key}_high"]
        return f"{figures[key]:.4f} [{low:.4f}, {high:.4f}]"

    assert rows[0][0] == f"{head['images']:.0f} test images"
    expected = [(name, cell(head, key), cell(tuned, key)) for key, name in HEADLINE.items()]
    assert rows[1:] == [*expected, rows[-1]]
    assert set(rows[-1][1:]) == {f"{head['majority_baseline_accuracy']:.4f}"}


def test_every_file_that_is_named_can_be_there():
    outs = {out for stage in DVC["stages"].values() for out in paths(stage["outs"])}
    outs |= {"reports/metrics.json", "models/provenance.json", "data/raw/labels.csv"}
    outs |= {"docs/benchmarks.md"}  # written by `make bench`
    outs |= {"reports/inspect"}  # written by `python -m pipeline inspect`
    outs |= {"reports/backfill.csv"}  # written by the flow of that name
    outs |= {"reports/compare", "reports/compare/changed.png", "reports/history.png"}
    for document in DOCUMENTS:
        named = re.findall(
            r"\b(?:docs|examples|tests|pipeline|reports|models)/[\w./-]+\w", document.read_text()
        )
        named += re.findall(r"`(\w+/[\w/]+\.py)`", document.read_text())
        for name in named:
            there = (ROOT / name).exists() or (ROOT / "pipeline" / name).exists()
            assert there or name in outs, f"{document.name} names {name}"
    assert {str(path) for path in FILES.values()} <= outs


def test_git_has_nothing_at_the_top_but_what_belongs_there():
    files = {
        ".ci",
        ".dvc",
        ".dvcignore",
        ".gitattributes",
        ".gitignore",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
    }
    files |= {"Makefile", "README.md", "benchmarks", "data", "docs", "dvc.lock", "dvc.yaml"}
    files |= {"examples", "models", "params.yaml", "pipeline", "prefect.yaml", "pyproject.toml"}
    files |= {"reports", "requirements-gpu.lock", "requirements.lock", "tests"}
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert {name.split("/")[0] for name in done.stdout.split("\0") if name} == files


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(file.name[:4]) for file in (ROOT / "docs/decisions").glob("*.md"))

    assert numbers == list(range(1, len(numbers) + 1))

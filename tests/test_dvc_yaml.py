"""dvc.yaml, params.yaml and the code tell the same story."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline.__main__ import STAGES
from pipeline.params import SECTIONS, load_section
from pipeline.signatures import read_signature, section_name
from tests.conftest import ROOT

DVC = YAML(typ="safe").load(ROOT / "dvc.yaml")
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")


def signature(stage: str):
    return read_signature(importlib.import_module(f"pipeline.stages.{stage}").run)


def module_file(name: str) -> Path | None:
    file = ROOT / (name.replace(".", "/") + ".py")
    return file if file.is_file() else None


def local_imports(file: Path) -> set[Path]:
    """Every module of `pipeline` that `file` imports, directly or not, and `file`."""
    found: set[Path] = set()
    queue = [file]
    while queue:
        module = queue.pop()
        if module in found:
            continue
        found.add(module)
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            queue += [
                f for name in names if name.startswith("pipeline") and (f := module_file(name))
            ]
    return found


def paths(entries: list) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def test_every_stage_module_is_in_the_graph():
    modules = {file.stem for file in (ROOT / "pipeline/stages").glob("[a-z]*.py")}

    assert set(DVC["stages"]) == modules == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_code_the_stage_imports_and_the_files_it_reads(stage):
    """DVC does not follow imports (treeverse/dvc#9195), so the file must."""
    code = {str(f.relative_to(ROOT)) for f in local_imports(ROOT / f"pipeline/stages/{stage}.py")}
    reads = {str(path) for how, path in signature(stage).files.values() if how == "reads"}

    assert set(DVC["stages"][stage]["deps"]) == code | reads
    assert len(DVC["stages"][stage]["deps"]) == len(code | reads)


@pytest.mark.parametrize("stage", STAGES)
def test_outs_are_the_files_the_stage_writes(stage):
    spec = DVC["stages"][stage]
    writes = {str(path) for how, path in signature(stage).files.values() if how == "writes"}

    assert paths(spec["outs"]) | paths(spec.get("metrics", [])) == writes


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_sections_the_stage_takes_or_the_keys_of_a_part(stage):
    keys: set[str] = set()
    for argument, section in signature(stage).sections.items():
        name = section_name(stage, argument)
        takes_part = section.model_config["extra"] == "ignore"
        keys |= {f"{name}.{key}" for key in section.model_fields} if takes_part else {name}

    assert set(DVC["stages"][stage]["params"]) == keys
    assert DVC["stages"][stage]["cmd"] == f"python -m pipeline {stage}"


@pytest.mark.parametrize("file", ["params.yaml", "examples/lecture.yaml"])
@pytest.mark.parametrize("stage", STAGES)
def test_shipped_params_fit_the_stages(stage, file):
    for name, section in signature(stage).sections.items():
        load_section(ROOT / file, section_name(stage, name), section)


def test_params_has_no_section_that_nobody_takes():
    assert tuple(PARAMS) == SECTIONS


def test_no_out_disables_the_run_cache():
    """A persisted or uncached plain out would (metrics may be uncached).

    `sample` has none: DVC would delete users' images (docs/decisions/0035-sample-persists.md).
    """
    for name, spec in DVC["stages"].items():
        if name == "sample":
            assert spec["outs"] == [{"data/raw": {"persist": True}}]
        else:
            assert all(isinstance(out, str) for out in spec["outs"])


def test_what_lies_beside_the_outs_is_ignored_by_git_and_unknown_to_dvc():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for stage in STAGES:
        for how, path in signature(stage).files.values():
            if how == "writes beside its outs":
                assert f"/{path}" in ignored
                assert str(path) not in (ROOT / "dvc.yaml").read_text()


def test_plots_are_drawn_from_what_a_run_leaves(trained):
    for plot in DVC["plots"]:
        if isinstance(plot, str):
            assert (trained.folder / plot).is_file()
            continue
        (drawn,) = plot.values()
        for file, columns in drawn["y"].items():
            found = pd.read_csv(trained.folder / file).columns
            assert {drawn["x"], *([columns] if isinstance(columns, str) else columns)} <= {*found}

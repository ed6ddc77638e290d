"""examples/github-actions.yml: its commands run as they stand, in order, in clean clones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.clones import attempt, clone, commit_run, environment, run
from tests.conftest import ROOT

FILE = ROOT / "examples/github-actions.yml"
WORKFLOW = YAML(typ="safe").load(FILE)
(JOB,) = WORKFLOW["jobs"].values()
STEPS: list[dict[str, Any]] = JOB["steps"]
SETUP = "make setup"  # the one step that is left out: this environment takes its place
PIPELINE = ("dvc ", "python -m pipeline ")


def do_steps(folder: Path, base: str) -> tuple[str, str]:
    """Run every `run:` of the workflow in a clone; return what was said and the summary."""
    said = ""
    summary, paths = folder.parent / "summary.md", folder.parent / "path"
    for file in (summary, paths):
        file.write_text("")
    for step in STEPS:
        if step.get("run", SETUP) == SETUP:
            continue
        script = folder.parent / "step.sh"
        script.write_text(step["run"])
        more = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_PATH": str(paths)}
        more["GITHUB_BASE_REF"] = base
        added = ":".join(reversed(paths.read_text().splitlines()))
        before = environment(folder.parent)["PATH"]
        more["PATH"] = f"{added}:{before}" if added else before
        # what Actions makes of `shell: bash`
        said += run(
            folder, "bash", "--noprofile", "--norc", "-eo", "pipefail", str(script), more=more
        )
    return said, summary.read_text()


@pytest.fixture(scope="module")
def origin(finished, tmp_path_factory) -> Path:
    """A project with a pushed run on main, and a change of its params on `change`."""
    folder = tmp_path_factory.mktemp("origin") / "project"
    commit_run(folder, finished)
    run(folder, "dvc", "remote", "add", "--default", "storage", str(folder.parent / "shared"))
    run(folder, "git", "commit", "--quiet", "--all", "--message", "Add a remote")
    run(folder, "dvc", "push", "--run-cache")
    run(folder, "git", "switch", "--quiet", "--create", "change")
    params = folder / "params.yaml"
    document = YAML(typ="safe").load(params)
    document["evaluate"]["resamples"] = 120
    YAML().dump(document, params)
    run(folder, "git", "commit", "--quiet", "--all", "--message", "Resample more")
    return folder


def test_the_steps_compare_a_change_and_a_pushed_run_is_not_run_again(origin, tmp_path):
    """Only what the change makes stale runs; once its author pushes the run, nothing does."""
    first = clone(origin, tmp_path / "first")
    said, summary = do_steps(first, "main")

    assert said.count("Running stage") == 1
    assert "Running stage 'evaluate'" in said
    for word in ("accuracy", "evaluate.resamples", "100", "120"):
        assert word in summary
    assert re.search(r"^\|(?: *:?-+:? *\|)+$", summary, re.MULTILINE)

    run(first, "git", "commit", "--quiet", "--all", "--message", "Run")
    run(first, "dvc", "push", "--run-cache")
    run(first, "git", "push", "--quiet", "origin", "HEAD:refs/heads/run")
    second = clone(origin, tmp_path / "second")
    run(second, "git", "switch", "--quiet", "run")
    said, summary = do_steps(second, "main")

    assert "Running stage" not in said
    assert "Data and pipelines are up to date." in said
    assert "evaluate.resamples" in summary


def test_a_step_that_fails_ends_the_job(origin, tmp_path):
    """An out that was not pushed is an error of `dvc pull`, with no comparison after it."""
    folder = clone(origin, tmp_path)
    run(folder, "dvc", "remote", "modify", "--local", "storage", "url", str(tmp_path / "empty"))

    with pytest.raises(AssertionError, match="failed to pull data from the cloud"):
        do_steps(folder, "main")

    assert (tmp_path / "summary.md").read_text() == ""


def test_the_steps_are_those_that_the_readme_promises_in_that_order():
    commands = [step["run"] for step in STEPS if "run" in step]

    assert [c for c in commands if c.startswith((*PIPELINE, "make "))] == [
        SETUP,
        "dvc pull --run-cache",
        "dvc repro --pull",
        'python -m pipeline compare "origin/$GITHUB_BASE_REF" --md >> "$GITHUB_STEP_SUMMARY"',
    ]


def test_no_expression_stands_in_a_script():
    """A branch's name, a title or a secret in `run:` would be shell code."""
    for step in STEPS:
        assert "${{" not in step.get("run", "")
    assert "head_ref" not in FILE.read_text()
    assert "HEAD_REF" not in FILE.read_text()


def test_a_name_of_a_branch_is_never_run_as_code(origin, tmp_path):
    folder = clone(origin, tmp_path)
    (step,) = (s for s in STEPS if " compare " in s.get("run", ""))
    more = {"GITHUB_BASE_REF": "$(touch${IFS}found);touch found;`touch found`"}
    more["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")

    done = attempt(folder, "bash", "-eo", "pipefail", "-c", step["run"], more=more)

    assert done.returncode != 0
    assert not (folder / "found").exists()


def test_secrets_reach_only_steps_that_need_the_remote():
    text = FILE.read_text()
    with_secrets = [step for step in STEPS if "secrets." in str(step)]

    assert all(step["run"].startswith(PIPELINE) for step in with_secrets)
    assert sum(str(step["env"]).count("secrets.") for step in with_secrets) == text.count(
        "secrets."
    )


def test_rights_are_the_least():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in JOB
    assert list(WORKFLOW["on"]) == ["pull_request"]
    assert JOB["if"].startswith("github.event.pull_request.head.repo.full_name == ")
    assert JOB["timeout-minutes"] <= 120
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True


def test_actions_are_githubs_own_at_a_version():
    used = [step["uses"] for step in STEPS if "uses" in step]

    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@(v\d+|[0-9a-f]{40})", name) for name in used)
    checkout = STEPS[0]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}

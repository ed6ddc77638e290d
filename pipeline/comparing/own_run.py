"""Whether a commit's results were made of its own params, data and code.

Who commits after editing params.yaml and before `dvc repro` commits results of
what was there before.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.comparing.outs import LOCK
from pipeline.comparing.revisions import Revision, file_of, yaml_of
from pipeline.errors import InputError
from pipeline.params import parse_yaml
from pipeline.programs.git import blobs, listed

GRAPH = "dvc.yaml"
YAML = (".yaml", ".yml")
ABSENT = object()
_md5s: dict[str, str] = {}  # of blobs by their names; of most commits they are the same

Digests = dict[str, str]
"""MD5 by path, as DVC has them."""


def not_run(revision: Revision) -> list[str]:
    """The stages of a commit whose dvc.lock records others than it holds.

    Be it commands, params, data, code, or results that git keeps, as of a merge
    that took the figures of one run and the lock of another.

    What neither git nor DVC keeps there cannot be told.

    Args:
        revision: A commit.

    Raises:
        InputError: Its dvc.lock is absent, it or dvc.yaml is none of DVC's, or git
            cannot read a file.
    """
    try:
        stages: Mapping[str, Any] = yaml_of(revision, LOCK)["stages"]
        deps = {name: _digests(stage.get("deps", ())) for name, stage in stages.items()}
        outs = {name: _digests(stage.get("outs", ())) for name, stage in stages.items()}
        made = {path: digest for found in outs.values() for path, digest in found.items()}
        named = {path for found in deps.values() for path in found}
        now = made | _kept(revision, named | made.keys())
        params = {name: _yaml_params(stage) for name, stage in stages.items()}
        files = {file for read in params.values() for file in read}
        documents = {file: yaml_of(revision, file) for file in files}
        commands = _commands(revision)
        return [
            name
            for name in stages
            if commands.get(name, stages[name].get("cmd")) != stages[name].get("cmd")
            or any(
                _value(documents[file], key) != value
                for file, values in params[name].items()
                for key, value in values.items()
            )
            or any(now.get(path, digest) != digest for path, digest in deps[name].items())
            or any(now[path] != digest for path, digest in outs[name].items())
        ]
    except (AttributeError, KeyError, TypeError) as error:
        where = f"{LOCK} of {revision.title}"
        raise InputError(where, f"is none of DVC's: {error!r}", "run `dvc repro` there") from error


def _commands(revision: Revision) -> dict[str, Any]:
    """The command of each stage of dvc.yaml, but for those that only DVC can fill in."""
    where = f"{GRAPH} of {revision.title}"
    try:
        stages = parse_yaml(where, file_of(revision, GRAPH) or b"{}").get("stages") or {}
        found = {name: stage["cmd"] for name, stage in stages.items() if "cmd" in stage}
    except (AttributeError, TypeError) as error:
        raise InputError(where, f"is none of DVC's: {error!r}", "correct it") from error
    return {name: command for name, command in found.items() if "${" not in str(command)}


def _digests(entries: Iterable[Mapping[str, Any]], folder: str = "") -> Digests:
    return {
        posixpath.normpath(posixpath.join(folder, entry["path"])): str(entry["md5"])
        for entry in entries
        if "md5" in entry
    }


def _yaml_params(stage: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The params that a stage's run had, by file and dotted key."""
    params = stage.get("params", {})
    return {file: values for file, values in params.items() if file.endswith(YAML)}


def _value(document: Any, key: str) -> Any:
    """What lies under a dotted key."""
    for part in key.split("."):
        if not isinstance(document, dict) or part not in document:
            return ABSENT
        document = document[part]
    return document


def _kept(revision: Revision, paths: set[str]) -> Digests:
    """What the commit's .dvc files say, and what those of `paths` hold that git keeps."""
    files = {}
    for line in listed("ls-tree", "-r", "-z", str(revision.commit)):
        entry, _, path = line.partition("\t")
        _, kind, name = entry.split(" ")
        if kind == "blob":
            files[path] = name
    digests: Digests = {}
    for file in files:
        if file.endswith(".dvc"):
            document = yaml_of(revision, file)
            folder = posixpath.join(posixpath.dirname(file), document.get("wdir", ""))
            digests |= _digests(document.get("outs", ()), folder)
    code = {path: files[path] for path in paths & files.keys()}
    fresh = [name for name in code.values() if name not in _md5s]
    for name, content in zip(fresh, blobs(fresh), strict=True):
        _md5s[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return digests | {path: _md5s[name] for path, name in code.items()}

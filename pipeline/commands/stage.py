"""Run one stage: its signature says which files and which sections of params.yaml it takes.

A stage's keyword-only arguments become flags, so a new stage needs no code here.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from pathlib import Path
from typing import Any

from pipeline.errors import ParamsError
from pipeline.params import load_section
from pipeline.programs.leash import end_with_dvc
from pipeline.signatures import Signature, read_signature, section_name


def main(stage: str, words: list[str]) -> int:
    """Run a stage with its files and params."""
    end_with_dvc()
    module = importlib.import_module(f"pipeline.stages.{stage}")
    signature = read_signature(module.run)
    parser = argparse.ArgumentParser(
        prog=f"python -m pipeline {stage}",
        description=f"{module.__doc__}\n{inspect.getdoc(module.run)}",
        epilog=_keys(stage, signature),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        metavar="FILE",
        help="of the sections below; default: params.yaml",
    )
    groups = {how: parser.add_argument_group(how) for how, _ in signature.files.values()}
    for name, (how, default) in signature.files.items():
        groups[how].add_argument(
            f"--{name.replace('_', '-')}",
            type=Path,
            default=default,
            metavar="PATH",
            help=f"default: {default}",
        )
    paths = vars(parser.parse_args(words))
    file = paths.pop("params")
    sections = {
        name: load_section(file, section_name(stage, name), section)
        for name, section in signature.sections.items()
    }
    try:
        module.run(**sections, **paths)
    except ParamsError as error:
        raise ParamsError(error.reason, error.fix, file) from error
    return 0


def _keys(stage: str, signature: Signature) -> str:
    lines = ["params.yaml:"]
    for argument, section in signature.sections.items():
        keys: dict[str, Any] = section.model_fields
        lines += [f"  {section_name(stage, argument)}.{key}" for key in keys]
    return "\n".join([*lines, "README.md, section Parameters, explains each."])

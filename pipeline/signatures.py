"""What a stage takes: its `run` says which files and which sections of params.yaml."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.params import Section, section_of
from pipeline.stages import STAGES


class Signature(NamedTuple):
    """What a stage's `run` takes.

    `sections` maps argument to section type, `files` argument to (how it is
    used, default path).
    """

    sections: dict[str, type[Section]]
    files: dict[str, tuple[str, Path]]


def read_signature(run: Callable[..., None]) -> Signature:
    """Sort a stage's arguments into sections of params.yaml and files."""
    hints = typing.get_type_hints(run, include_extras=True)
    sections: dict[str, type[Section]] = {}
    files: dict[str, tuple[str, Path]] = {}
    for name, parameter in inspect.signature(run).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            files[name] = (hints[name].__metadata__[0], parameter.default)
        else:
            sections[name] = hints[name]
    return Signature(sections, files)


def section_name(stage: str, argument: str) -> str:
    """The section of params.yaml behind an argument: `params` is the stage's own."""
    return stage if argument == "params" else argument


def check_params(
    document: Mapping[Any, Any], stages: Sequence[str], name: str, *, sections: Collection[str]
) -> None:
    """Read all that some stages would, before one runs.

    Args:
        document: What params.yaml is to hold.
        stages: Of dvc.yaml; what is none of this package's is left out.
        name: Of the document, for the error.
        sections: To read, too, whichever stage would.

    Raises:
        InputError: A section, a key or a value does not fit.
    """
    for stage in STAGES:
        module = importlib.import_module(f"pipeline.stages.{stage}")
        for argument, section in read_signature(module.run).sections.items():
            wanted = section_name(stage, argument)
            if stage in stages or wanted in sections:
                section_of(document, wanted, section, name)

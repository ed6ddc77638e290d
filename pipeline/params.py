"""Typed, frozen sections of params.yaml.

Each stage declares its own section beside
its code and never sees the rest, so it cannot depend on a number that DVC does
not track for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import InputError, in_words

SECTIONS = (
    "sample",
    "ingest",
    "split",
    "augment",
    "backbone",
    "extract",
    "train_head",
    "fine_tune",
    "evaluate",
    "promotion",
)

T = TypeVar("T", bound="Section")


class Section(BaseModel):
    """A section of params.yaml: immutable, no unknown keys, no coercion, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def load_section(file: Path, name: str, section: type[T]) -> T:
    """Read one section of a params file.

    Raises:
        InputError: The file cannot be read, the section is absent, or a key or
            value does not fit; every offending key is named.
    """
    return section_of(read_params(file), name, section, file)


def section_of(document: Mapping[Any, Any], name: str, section: type[T], file: Path | str) -> T:
    """One section of what a params file holds, or is to hold.

    Raises:
        InputError: As `load_section` does, naming `file`.
    """
    for key in document:
        if key not in SECTIONS:
            raise InputError(file, *unknown(str(key), SECTIONS, "section"))
    if name not in document:
        raise InputError(file, f"no section {name!r}", f"add it; have {sorted(document)}")
    try:
        return section.model_validate(document[name])
    except ValidationError as error:
        reasons, fixes = zip(
            *(_explain(name, section, dict(detail)) for detail in error.errors()), strict=True
        )
        raise InputError(file, "; ".join(reasons), "; ".join(dict.fromkeys(fixes))) from error


def read_params(file: Path) -> dict[Any, Any]:
    """Read all sections, unchecked.

    Raises:
        InputError: The file cannot be read or holds no sections.
    """
    try:
        document = parse_yaml(file, file.read_bytes())
    except FileNotFoundError:
        fix = "run this from the project's folder, or give --params FILE"
        raise InputError(file, "does not exist", fix) from None
    if not isinstance(document, dict):
        raise InputError(file, "holds no sections", f"give it the sections {list(SECTIONS)}")
    return document


def parse_yaml(name: str | Path, content: bytes) -> Any:
    """Parse YAML in UTF-8.

    With ruamel.yaml because DVC does: PyYAML (YAML 1.1) would read `lr: 1e-3`
    as text and `flip: no` as False where DVC sees a float and text.

    Args:
        name: Of the file, for the error.

    Raises:
        InputError: It is not YAML.
    """
    try:
        return YAML(typ="safe").load(content.decode())
    except (YAMLError, ValueError, LookupError, RecursionError) as error:
        reason = f"is not YAML: {in_words(error)}"
        raise InputError(name, reason, "correct what it names") from error


def unknown(
    key: str, known: Mapping[str, object] | tuple[str, ...], kind: str, part: str = ""
) -> tuple[str, str]:
    """Say what is wrong with a name that is none of `known`, and which may have been meant.

    Args:
        part: Of the key, that is not known; by default the last.
    """
    name = (part or key.rpartition(".")[2]).casefold()
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0)
    meant = f"did you mean {nearest[0]!r}?" if nearest else "remove it"
    return f"unknown {kind} {key!r}", f"{meant} (known: {', '.join(known)})"


def _explain(name: str, section: type[Section], detail: dict[str, Any]) -> tuple[str, str]:
    """Turn one pydantic error into (what is wrong with which key, what to do)."""
    location = tuple(detail["loc"])
    if detail["type"] != "extra_forbidden":
        location = _without_union_members(section, location)
    key = ".".join([name, *map(str, location)])
    if detail["type"] == "extra_forbidden":
        reason, fix = unknown(key, _fields_at(section, location[:-1]), "key")
        return f"{reason} (value {detail['input']!r})", fix
    if detail["type"] == "missing":
        return f"{key} is missing", f"add {key}"
    if detail["type"] == "model_type":
        return f"{key}: {detail['input']!r} is not a section", f"give {key} its keys, indented"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if not location:
        return f"{name}: {message}", "correct the value"
    expected = str(detail.get("ctx", {}).get("expected", "")).replace(" or ", ", ").split(", ")
    choices = [choice.strip("'") for choice in expected if choice.startswith("'")]
    nearest = difflib.get_close_matches(str(detail["input"]), choices, n=1, cutoff=0)
    fix = f"did you mean {nearest[0]!r}?" if nearest else f"correct {key}"
    return f"{key}: {message}, got {detail['input']!r}", fix


def _fields_at(section: type[BaseModel], location: tuple[Any, ...]) -> Mapping[str, object]:
    """The field names of the (possibly nested) section at `location`."""
    for part in location:
        annotation = (
            section.model_fields[part].annotation if part in section.model_fields else None
        )
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return {}
        section = annotation
    return section.model_fields


def _without_union_members(section: type[BaseModel], location: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leave out what pydantic adds to a location to say which type of a union it tried."""
    kept = [
        part
        for depth, part in enumerate(location)
        if isinstance(part, int) or part in _fields_at(section, location[:depth])
    ]
    return tuple(kept)

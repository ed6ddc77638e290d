"""What changed between two revisions beside the answers: params, data and code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.errors import InputError
from pipeline.params import parse_yaml
from pipeline.tables import distinct


@dataclass(frozen=True)
class ParamChange:
    """A key of params.yaml; None on the side that lacks it."""

    key: str
    one: str | None
    other: str | None


@dataclass(frozen=True)
class ImageChange:
    """Distinct images that changed in one way: how many, of which kinds, and their paths."""

    count: int
    kinds: Mapping[str, int]
    images: tuple[str, ...]


@dataclass(frozen=True)
class DataChanges:
    """Distinct images by what became of them, from data/splits.csv of both sides."""

    added: ImageChange
    removed: ImageChange
    relabelled: ImageChange
    moved: ImageChange


@dataclass(frozen=True)
class FileChange:
    """A file of code: A added, D deleted, M modified, T another type, as git has it."""

    status: str
    path: str


@dataclass(frozen=True)
class Changes:
    """What could explain a difference in figures."""

    params: tuple[ParamChange, ...]
    data: DataChanges
    code: tuple[FileChange, ...]


def param_changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[ParamChange, ...]:
    """Keys, flattened by dots, of unlike value, in the second side's order, then the first's."""
    first, second = _flat(one), _flat(other)
    return tuple(
        ParamChange(key, first.get(key), second.get(key))
        for key in dict.fromkeys([*second, *first])
        if first.get(key) != second.get(key)
    )


def data_changes(one: pd.DataFrame, other: pd.DataFrame) -> DataChanges:
    """Images by digest: added, removed, relabelled, moved between splits."""
    columns = ["path", "label", "split"]
    first, second = (distinct(splits).set_index("digest")[columns] for splits in (one, other))
    both = first.merge(second, left_index=True, right_index=True, suffixes=("_one", ""))
    relabelled = both[both["label_one"] != both["label"]]
    moved = both[both["split_one"] != both["split"]]
    added = second[~second.index.isin(first.index)]
    removed = first[~first.index.isin(second.index)]
    return DataChanges(
        added=_change(added, added["split"]),
        removed=_change(removed, removed["split"]),
        relabelled=_change(relabelled, relabelled["label_one"] + " -> " + relabelled["label"]),
        moved=_change(moved, moved["split_one"] + " -> " + moved["split"]),
    )


def _change(images: pd.DataFrame, kinds: pd.Series) -> ImageChange:
    counts = kinds.value_counts().sort_index()
    return ImageChange(
        count=len(images),
        kinds={str(kind): int(count) for kind, count in counts.items()},
        images=tuple(sorted(images["path"])),
    )


def _flat(document: object, prefix: str = "") -> dict[str, str]:
    """Every leaf as text, by its keys joined with dots; a list is a leaf."""
    if isinstance(document, Mapping) and document:
        return {
            key: value
            for name, part in document.items()
            for key, value in _flat(part, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    return {prefix: _shown(document)}


def _shown(leaf: object) -> str:
    """A value; text in quotes where YAML would read it as something else."""
    if leaf is None:
        return "null"
    text = str(leaf)
    return json.dumps(text) if isinstance(leaf, str) and not _is_text(text) else text


def _is_text(text: str) -> bool:
    try:
        return isinstance(parse_yaml("a value", text.encode()), str)
    except InputError:
        return True

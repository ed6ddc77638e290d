"""A comparison in words and tables, the same for the terminal, Markdown and HTML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.comparing.changes import Changes, ImageChange
from pipeline.comparing.comparison import Comparison, Turned
from pipeline.comparing.paired import FEW_UNITS, Difference
from pipeline.scoring.names import HEADLINE

P = "p"  # of McNemar's test, among these images
ROWS = 20  # of a table of images, keys or files; --json has them all


@dataclass(frozen=True)
class Part:
    """A heading, sentences below it, and a table, which may have no rows."""

    title: str
    sentences: Sequence[str]
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def account(comparison: Comparison, changes: Changes, notes: Sequence[str]) -> list[Part]:
    """Tell all of a comparison.

    Args:
        notes: What the reader must know before any figure.
    """
    return [
        Part("Test images", [*notes, *_images(comparison)]),
        _metrics(comparison),
        _classes(comparison),
        *_slices(comparison),
        _turned("From right to wrong", comparison.lost),
        _turned("From wrong to right", comparison.gained),
        _params(changes),
        _data(changes),
        _code(changes),
    ]


def title_of(comparison: Comparison) -> str:
    """Both names, and the letters that stand for them in tables."""
    return f"A: {comparison.one}, B: {comparison.other}"


def _images(comparison: Comparison) -> Iterator[str]:
    counts = comparison.images
    if counts.one == counts.other == counts.common:
        yield f"Both were tested on the same {counts.common} images."
    else:
        yield (
            f"The test sets differ: A had {counts.one} images, B {counts.other}. Compared is what "
            f"both have: {counts.common}."
        )
    if counts.units < counts.common:
        yield (
            f"They come in {counts.units} groups, which intervals allow for and McNemar's test "
            "does not: go by the intervals."
        )
    for name, unknown in zip("AB", comparison.unknown, strict=True):
        if unknown:
            yield f"{name} does not know the classes {', '.join(unknown)}: probability 0."
    if found := comparison.relabelled:
        such = ", ".join(f"{item.path} ({item.one} -> {item.other})" for item in found[:3])
        yield (
            f"{len(found)} of them have another label in B, by which both are judged: {such}"
            f"{', ...' if len(found) > 3 else ''}."
        )


def _metrics(comparison: Comparison) -> Part:
    test = comparison.mcnemar
    sentence = (
        f"{test.only_one} images that A alone told rightly, {test.only_other} that B alone did; a "
        f"share so uneven, or more, comes by chance with p = {test.p:.3g} (McNemar's exact test "
        "of accuracy)."
    )
    rows = [
        (HEADLINE[name], *_row(found, comparison.images.units))
        for name, found in comparison.metrics.items()
    ]
    return Part("Metrics", [sentence], ("metric", *_columns(comparison)), rows)


def _classes(comparison: Comparison) -> Part:
    rows = [
        (
            f"{label} ({of_class.images})",
            part,
            *_row(found, of_class.units),
            f"{of_class.mcnemar.p:.3g}" if part == "recall" else "",
        )
        for label, of_class in comparison.classes.items()
        for part, found in of_class.figures.items()
    ]
    columns = ("class (images)", "figure", *_columns(comparison), P)
    return Part("Classes", [], columns, rows)


def _slices(comparison: Comparison) -> Iterator[Part]:
    for column, values in comparison.slices.items():
        rows = [
            (
                f"{value} ({one.images})",
                *_row(one.accuracy, one.units),
                f"{one.mcnemar.p:.3g}",
            )
            for value, one in values.items()
        ]
        columns = (f"{column} (images)", *_columns(comparison), P)
        yield Part(f"Accuracy by {column}", [], columns, rows)


def _columns(comparison: Comparison) -> tuple[str, ...]:
    interval = f"{100 * comparison.confidence:g}% interval"
    return ("A", "B", "B - A", interval, "so B is")


def _row(found: Difference, units: int) -> tuple[str, ...]:
    return (
        _number(found.one),
        _number(found.other),
        _number(found.difference, "+"),
        f"[{_number(found.low, '+')}, {_number(found.high, '+')}]",
        _verdict(found, units),
    )


def _verdict(found: Difference, units: int) -> str:
    """Whether the interval, of so many groups or images, lies on one side of 0."""
    difference, low, high = found.gain
    if math.isnan(low):
        return "undefined"
    if low == high == difference == 0:
        return "the same"
    if units < FEW_UNITS:
        return "too few images"
    return {1: "better", -1: "worse", 0: "not known"}[found.sign]


def _number(value: float, sign: str = "") -> str:
    return "undefined" if math.isnan(value) else f"{value:{sign}.4f}"


def _turned(title: str, found: Sequence[Turned]) -> Part:
    rows = [
        (
            item.path,
            item.label,
            f"{item.one} ({item.one_probability:.2f})",
            f"{item.other} ({item.other_probability:.2f})",
        )
        for item in found[:ROWS]
    ]
    columns = ("image", "label", "A", "B")
    return Part(title, [_count(len(found), "image", len(rows))], columns, rows)


def _params(changes: Changes) -> Part:
    rows = [
        (change.key, *("absent" if side is None else side for side in (change.one, change.other)))
        for change in changes.params[:ROWS]
    ]
    sentence = _count(len(changes.params), "changed key", len(rows))
    return Part("Params", [sentence], ("key", "A", "B"), rows)


def _data(changes: Changes) -> Part:
    data = changes.data
    ways: Mapping[str, ImageChange] = {
        "added": data.added,
        "removed": data.removed,
        "relabelled": data.relabelled,
        "moved to another split": data.moved,
    }
    rows = [
        (
            way,
            f"{change.count}",
            ", ".join(f"{kind}: {count}" for kind, count in change.kinds.items()),
            ", ".join(change.images[:3]),
        )
        for way, change in ways.items()
        if change.count
    ]
    sentence = "" if rows else "The same images, labels and splits."
    return Part("Data", [sentence] if sentence else [], ("images", "count", "of", "such as"), rows)


def _code(changes: Changes) -> Part:
    words = {"A": "added", "D": "deleted", "M": "modified", "T": "of another type"}
    rows = [(words.get(file.status, file.status), file.path) for file in changes.code[:ROWS]]
    sentence = _count(len(changes.code), "changed file", len(rows))
    return Part("Code", [sentence], ("how", "file"), rows)


def _count(count: int, noun: str, shown: int) -> str:
    if not count:
        return f"No {noun}."
    more = f", of which {shown} are shown" if shown < count else ""
    return f"{count} {noun}{'' if count == 1 else 's'}{more}."

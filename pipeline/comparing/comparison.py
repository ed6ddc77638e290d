"""All that two sides' answers say about each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.comparing.paired import Difference, Key, McNemar, differences, mcnemar
from pipeline.comparing.pairs import Pairs, align
from pipeline.comparing.sides import Side

Right = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # (image,) of each side


@dataclass(frozen=True)
class Counts:
    """Test images of each side, and those that both have: only these are compared.

    `units` is how many groups these come in, an image without a group being one.
    """

    one: int
    other: int
    common: int
    units: int


@dataclass(frozen=True)
class ClassDifference:
    """A class's figures, and how many of the common images are of it; the test is of these."""

    images: int
    units: int
    figures: Mapping[str, Difference]  # of precision, recall, f1: those that are defined
    mcnemar: McNemar


@dataclass(frozen=True)
class SliceDifference:
    """Accuracy among the common images with one value of an extra column."""

    images: int
    units: int
    accuracy: Difference
    mcnemar: McNemar


@dataclass(frozen=True)
class Turned:
    """An image that one side alone told rightly: what each answered, how surely."""

    digest: str
    path: str
    label: str
    one: str
    one_probability: float
    other: str
    other_probability: float


@dataclass(frozen=True)
class Relabelled:
    """A common test image that the sides have under two labels; `other` counts for both."""

    digest: str
    path: str
    one: str
    other: str


@dataclass(frozen=True)
class Comparison:
    """The second side against the first, on the test images that both have.

    Args:
        metrics: By the headline metric's name; what is undefined on both sides is absent.
        classes: By label, of both sides' classes.
        slices: By extra column, then by its value.
        unknown: (to the first, to the second): classes that its model does not know.
        dropped: Of those that the second does not know, the first's test images by class.
        lost: From right to wrong, the surest mistakes first.
        gained: From wrong to right, the surest answers first.
    """

    one: str
    other: str
    confidence: float
    images: Counts
    metrics: Mapping[str, Difference]
    mcnemar: McNemar
    classes: Mapping[str, ClassDifference]
    slices: Mapping[str, Mapping[str, SliceDifference]]
    unknown: tuple[tuple[str, ...], tuple[str, ...]]
    dropped: Mapping[str, int]
    relabelled: tuple[Relabelled, ...]
    lost: tuple[Turned, ...]
    gained: tuple[Turned, ...]


def compare(
    one: Side,
    other: Side,
    *,
    resamples: int,
    seed: int,
    confidence: float,
    max_slices: int,
) -> Comparison:
    """Compare the second side with the first.

    Args:
        resamples: Of the paired bootstrap.
        confidence: Of every interval, between 0 and 1.
        max_slices: Leave out extra columns of more values than these.

    Raises:
        NothingInCommonError: They have no test image in common.
    """
    pairs = _without_wide_columns(align(one, other), max_slices)
    found = differences(pairs, resamples=resamples, seed=seed, confidence=confidence)
    right = _right(pairs)
    lost, gained = _turned(pairs, right)
    return Comparison(
        one=one.name,
        other=other.name,
        confidence=confidence,
        images=Counts(
            len(one.predictions),
            len(other.predictions),
            len(pairs.labels),
            pairs.count_units(np.ones(len(pairs.labels), dtype=bool)),
        ),
        metrics={key[1]: value for key, value in found.items() if key[0] == "metric"},
        mcnemar=mcnemar(*right),
        classes=_classes(pairs, found, right),
        slices=_slices(pairs, found, right),
        unknown=(_unknown(pairs, one), (unknown := _unknown(pairs, other))),
        dropped={label: int((one.predictions["label"] == label).sum()) for label in unknown},
        relabelled=_relabelled(pairs),
        lost=lost,
        gained=gained,
    )


def _without_wide_columns(pairs: Pairs, most: int) -> Pairs:
    kept = [name for name in pairs.slices if pairs.slices[name].nunique() <= most]
    return replace(pairs, slices=pairs.slices[kept])


def _right(pairs: Pairs) -> Right:
    """(image,) whether the first side, and whether the second, tells it rightly."""
    return pairs.one.argmax(axis=1) == pairs.labels, pairs.other.argmax(axis=1) == pairs.labels


def _classes(
    pairs: Pairs,
    found: Mapping[Key, Difference],
    right: Right,
) -> dict[str, ClassDifference]:
    support = np.bincount(pairs.labels, minlength=len(pairs.classes))
    return {
        label: ClassDifference(
            int(support[number]),
            pairs.count_units(pairs.labels == number),
            {key[2]: value for key, value in found.items() if key[:2] == ("class", label)},
            mcnemar(*(side[pairs.labels == number] for side in right)),
        )
        for number, label in enumerate(pairs.classes)
    }


def _slices(
    pairs: Pairs,
    found: Mapping[Key, Difference],
    right: Right,
) -> dict[str, dict[str, SliceDifference]]:
    return {
        str(column): {
            str(value): SliceDifference(
                int(count),
                pairs.count_units((pairs.slices[column] == value).to_numpy()),
                found["slice", str(column), str(value)],
                mcnemar(*(side[(pairs.slices[column] == value).to_numpy()] for side in right)),
            )
            for value, count in pairs.slices[column].value_counts().sort_index().items()
        }
        for column in pairs.slices
    }


def _unknown(pairs: Pairs, side: Side) -> tuple[str, ...]:
    return tuple(sorted({*pairs.classes} - {*side.classes}))


def _relabelled(pairs: Pairs) -> tuple[Relabelled, ...]:
    changed = pairs.images[pairs.images["label"] != pairs.images["label_of_one"]]
    columns = ["digest", "path", "label_of_one", "label"]
    return tuple(Relabelled(*row) for row in changed[columns].itertuples(index=False, name=None))


def _turned(pairs: Pairs, right: Right) -> tuple[tuple[Turned, ...], tuple[Turned, ...]]:
    """From right to wrong, and from wrong to right."""
    one, other = right
    return _list(pairs, one & ~other), _list(pairs, other & ~one)


def _list(pairs: Pairs, which: NDArray[np.bool_]) -> tuple[Turned, ...]:
    rows = np.flatnonzero(which)
    surest = rows[np.argsort(-pairs.other[rows].max(axis=1), kind="stable")]
    return tuple(
        Turned(
            digest=pairs.images["digest"].iloc[row],
            path=pairs.images["path"].iloc[row],
            label=pairs.images["label"].iloc[row],
            one=pairs.classes[pairs.one[row].argmax()],
            one_probability=float(pairs.one[row].max()),
            other=pairs.classes[pairs.other[row].argmax()],
            other_probability=float(pairs.other[row].max()),
        )
        for row in surest
    )

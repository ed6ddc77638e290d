"""The gate of a promotion: whether a new model may take the champion's place.

The new model must be better with confidence; or, where the data grew, not be
worse by more than a bound.  No class may pay for it.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from pipeline.comparing.comparison import Comparison
from pipeline.comparing.paired import FEW_UNITS, Difference
from pipeline.params import Section
from pipeline.scoring.names import HEADLINE

Bound = Annotated[float, Field(ge=0)]
NOISE = 1e-9  # of differences of floats: what meets a bound exactly meets it
COMMON_UNITS = 30  # of fewer, resamples of the common test images say nothing of a model
RELABELLED = 0.1  # of the common images: beyond it the champion is judged by other rules
UNSAYABLE = 0.01  # of them, or of the champion's, of classes that one of the models does not know


class PromotionParams(Section):
    """When `retrain` promotes a model.  Bounds are in the units of the metric, or of recall."""

    metric: Literal[tuple(HEADLINE)]  # type: ignore[valid-type]
    min_gain: Bound  # a smaller gain is not worth a change
    max_regression: Bound  # how much worse a model of more data may be, with confidence
    max_class_regression: Bound  # of a class's recall
    confidence: Annotated[float, Field(gt=0, lt=1)]


class Verdict(NamedTuple):
    """Whether to promote, and why, in a sentence."""

    promote: bool
    reason: str


def decide(comparison: Comparison, params: PromotionParams, *, grew: bool) -> Verdict:
    """Judge the second side of a comparison, the new model, against the first, the champion.

    Args:
        comparison: Its intervals are of `params.confidence`.
        grew: Whether the new model knows more images than the champion.
    """
    if reason := _beyond_judgement(comparison):
        return Verdict(False, f"{reason}: compare by hand, then commit")
    verdict = _overall(comparison, params, grew=grew)
    sufferer = _sufferer(comparison, params) if verdict.promote else ""
    return Verdict(False, f"{sufferer}; {verdict.reason}") if sufferer else verdict


def _beyond_judgement(comparison: Comparison) -> str:
    """Why figures would mislead; empty if nothing speaks against them."""
    common = comparison.images.common
    if (units := comparison.images.units) < COMMON_UNITS:
        grouped = f", in {units} groups" if units < common else ""
        return f"only {common} test images in common with the champion{grouped}"
    to_champion, to_new = comparison.unknown
    changed = comparison.relabelled
    # where a class got another name, whoever cannot say it is wrong throughout
    unsayable = [item for item in changed if item.other in to_champion or item.one in to_new]
    for found, most in ((changed, RELABELLED), (unsayable, UNSAYABLE)):
        if len(found) > most * common:
            such = f"{found[0].path} ({found[0].one} -> {found[0].other})"
            return (
                f"{len(found)} of {common} common test images have another label, such as {such}"
            )
    lost = sum(comparison.dropped.values())
    # their images may be gone with them, so that none of the common ones speaks for them
    if lost > UNSAYABLE * comparison.images.one:
        names = ", ".join(map(repr, comparison.dropped))
        shown = f"{lost} of the champion's {comparison.images.one} test images"
        return f"the new model does not know {names}, of {shown}"
    return ""


def _overall(comparison: Comparison, params: PromotionParams, *, grew: bool) -> Verdict:
    found = comparison.metrics.get(params.metric)
    if found is None or math.isnan(found.low):
        return Verdict(False, f"{params.metric} is undefined on the common test images")
    gain, low, _ = found.gain
    shown = f"{params.metric} {_words(found)}{_on(comparison)}"
    if found.sign > 0 and gain >= params.min_gain - NOISE:
        return Verdict(True, f"better with confidence: {shown}")
    if grew and low >= -params.max_regression - NOISE:
        bound = f"within promotion.max_regression {params.max_regression:g}"
        return Verdict(True, f"more data, and not worse: {shown}, {bound}")
    if found.sign > 0:
        return Verdict(False, f"the gain is below promotion.min_gain {params.min_gain:g}: {shown}")
    worse = "worse" if found.sign < 0 else "not better"
    beyond = f", and may be worse by more than promotion.max_regression {params.max_regression:g}"
    return Verdict(False, f"{worse} with confidence{beyond if grew else ''}: {shown}")


def _sufferer(comparison: Comparison, params: PromotionParams) -> str:
    """The class that loses most beyond the bound, with confidence; empty if there is none.

    A class of fewer than `FEW_UNITS` common test images has no say.  Of more the
    interval alone decides, be it by few answers: in doubt for the champion.
    """
    worst, words = -params.max_class_regression - NOISE, ""
    for label, of_class in comparison.classes.items():
        recall = of_class.figures.get("recall")
        # not its groups: of few a fall may be chance, but a class that is lost is worse
        few = of_class.images < FEW_UNITS
        if recall is not None and not few and recall.high < 0 and recall.difference < worst:
            worst = recall.difference
            bound = f"promotion.max_class_regression {params.max_class_regression:g}"
            words = f"recall of class {label!r} fell beyond {bound}: {_words(recall)}"
    return words


def _words(found: Difference) -> str:
    return (
        f"{found.one:.4f} -> {found.other:.4f} "
        f"({found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}])"
    )


def _on(comparison: Comparison) -> str:
    """What the figures are of, where the test sets differ."""
    images = comparison.images
    if images.one == images.other == images.common:
        return ""
    return f" on the {images.common} test images that both know (of {images.one}, {images.other})"

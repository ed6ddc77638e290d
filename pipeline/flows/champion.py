"""The workspace's model against the champion, which is that of HEAD."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pipeline.comparing.account import account
from pipeline.comparing.between import PREDICTIONS, compare_revisions
from pipeline.comparing.gate import PromotionParams, Verdict, decide
from pipeline.comparing.markdown import markdown
from pipeline.comparing.outs import LOCK, recorded
from pipeline.comparing.pairs import NothingInCommonError
from pipeline.comparing.revisions import PARAMS, WORKSPACE, file_of, find_revision
from pipeline.errors import InputError
from pipeline.params import load_section
from pipeline.scoring.names import with_interval
from pipeline.stages.evaluate import EvaluateParams


class Judgement(NamedTuple):
    """The gate's verdict, and all that differs, as Markdown."""

    verdict: Verdict
    account: str


def gate() -> PromotionParams:
    """What params.yaml asks of a model.

    Raises:
        InputError: It has no such section, or a wrong one.
    """
    return load_section(Path(PARAMS), "promotion", PromotionParams)


def judge() -> Judgement:
    """Hold the workspace's model against that of HEAD.

    Raises:
        InputError: The champion's predictions are neither in the cache nor in a
            remote, or `params.yaml` has no such gate.
    """
    params = gate()
    evaluate = load_section(Path(PARAMS), "evaluate", EvaluateParams)
    champion, challenger = find_revision("HEAD"), find_revision(WORKSPACE)
    if file_of(champion, LOCK) is None or PREDICTIONS not in recorded(champion):
        return Judgement(Verdict(True, "the first model: HEAD has none"), "")
    try:
        comparison, changes = compare_revisions(
            champion,
            challenger,
            resamples=evaluate.resamples,
            seed=evaluate.seed,
            confidence=params.confidence,
            max_slices=evaluate.max_slices,
        )
    except NothingInCommonError:
        reason = "no test image in common with the champion: compare by hand, then commit"
        return Judgement(Verdict(False, reason), "")
    grew = changes.data.added.count > changes.data.removed.count
    verdict = decide(comparison, params, grew=grew)
    told = markdown("Champion (A) and challenger (B)", account(comparison, changes, []))
    return Judgement(verdict, told)


def headline_in_words(document: dict[str, dict[str, float]]) -> str:
    """The headline of a commit's message, of what reports/metrics.json holds."""
    try:
        return f"accuracy {with_interval(document['fine_tuned'], 'accuracy')}"
    except KeyError as error:
        raise InputError("reports/metrics.json", f"lacks {error}", "run `dvc repro`") from error

"""The workspace's model against the champion, which is that of HEAD."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from pipeline.comparing.account import account
from pipeline.comparing.changes import Changes, data_changes, param_changes
from pipeline.comparing.comparison import compare
from pipeline.comparing.gate import PromotionParams, Verdict, decide
from pipeline.comparing.markdown import markdown
from pipeline.comparing.revisions import (
    PARAMS,
    WORKSPACE,
    code_changes,
    file_of,
    find_revision,
    outs_of,
    recorded,
    yaml_of,
)
from pipeline.comparing.sides import read_side
from pipeline.errors import InputError
from pipeline.params import load_section
from pipeline.stages.evaluate import EvaluateParams
from pipeline.tables import distinct

PREDICTIONS = "reports/predictions.csv"
SPLITS = "data/splits.csv"
LOCK = "dvc.lock"


class Judgement(NamedTuple):
    """The gate's verdict, and all that differs, as Markdown."""

    verdict: Verdict
    account: str


def judge() -> Judgement:
    """Hold the workspace's model against that of HEAD.

    Raises:
        InputError: The champion's predictions are neither in the cache nor in a
            remote, or `params.yaml` has no such gate.
    """
    gate = load_section(Path(PARAMS), "promotion", PromotionParams)
    evaluate = load_section(Path(PARAMS), "evaluate", EvaluateParams)
    champion, challenger = find_revision("HEAD"), find_revision(WORKSPACE)
    if file_of(champion, LOCK) is None or PREDICTIONS not in recorded(champion):
        return Judgement(Verdict(True, "the first model: HEAD has none"), "")
    with tempfile.TemporaryDirectory() as folder:
        one, other = (
            read_side(side.title, *outs_of(side, (PREDICTIONS, SPLITS), Path(folder)))
            for side in (champion, challenger)
        )
    if not set(one.predictions["digest"]) & set(other.predictions["digest"]):
        reason = "no test image in common with the champion: compare by hand, then commit"
        return Judgement(Verdict(False, reason), "")
    comparison = compare(
        one,
        other,
        resamples=evaluate.resamples,
        seed=evaluate.seed,
        confidence=gate.confidence,
        max_groups=evaluate.max_slices,
    )
    changes = Changes(
        params=param_changes(yaml_of(champion, PARAMS), yaml_of(challenger, PARAMS)),
        data=data_changes(one.splits, other.splits),
        code=code_changes(champion, challenger),
    )
    grew = len(distinct(other.splits)) > len(distinct(one.splits))
    verdict = decide(comparison, gate, grew=grew)
    return Judgement(
        verdict, markdown("Champion and challenger", account(comparison, changes, []))
    )


def figures(metrics: dict[str, float]) -> str:
    """The headline of a commit's message."""
    try:
        low, high = metrics["accuracy_low"], metrics["accuracy_high"]
        return f"accuracy {metrics['accuracy']:.4f} [{low:.4f}, {high:.4f}]"
    except KeyError as error:
        raise InputError("reports/metrics.json", f"lacks {error}", "run `dvc repro`") from error

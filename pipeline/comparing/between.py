"""Everything between two revisions: what their models answer, and what could explain it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.comparing.changes import Changes, data_changes, param_changes
from pipeline.comparing.comparison import Comparison, compare
from pipeline.comparing.outs import files_of
from pipeline.comparing.revisions import PARAMS, Revision, code_changes, yaml_of
from pipeline.comparing.sides import read_side

PREDICTIONS = "reports/predictions.csv"
SPLITS = "data/splits.csv"


def compare_revisions(
    one: Revision,
    other: Revision,
    *,
    resamples: int,
    seed: int,
    confidence: float,
    max_slices: int,
) -> tuple[Comparison, Changes]:
    """Read both revisions' files and compare the second with the first.

    Args:
        resamples: Of the paired bootstrap; for the others see `compare`.

    Raises:
        InputError: A file is nowhere to be found or is broken.
        NothingInCommonError: They have no test image in common.
    """
    with tempfile.TemporaryDirectory() as folder:
        first, second = (
            read_side(side.title, *files_of(side, (PREDICTIONS, SPLITS), Path(folder)))
            for side in (one, other)
        )
    comparison = compare(
        first,
        second,
        resamples=resamples,
        seed=seed,
        confidence=confidence,
        max_slices=max_slices,
    )
    changes = Changes(
        params=param_changes(yaml_of(one, PARAMS), yaml_of(other, PARAMS)),
        data=data_changes(first.splits, second.splits),
        code=code_changes(one, other),
    )
    return comparison, changes

"""Class weights, the focal loss and a balanced sampler, where one class is rare.

Of the rarer class most images to train and to validate on are left out; the test
images are all there.  Each way trains heads on the same features, over several
seeds, and is compared with none on the same test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.project import Project, apart, throwaway
from pipeline.params import load_section
from pipeline.scoring.metrics import class_counts, headline
from pipeline.stages import train_head
from pipeline.stages.evaluate import head_probabilities
from pipeline.tables import distinct, read_manifest
from pipeline.training.head import HeadParams

NONE = "none"
FOCAL = {"loss": "categorical_focal_crossentropy"}
WAYS: dict[str, dict[str, Any]] = {
    NONE: {},
    "class weights": {"class_weights": "balanced"},
    "balanced sampler": {"sampling": "balanced"},
    "focal loss": FOCAL,
    "focal loss and class weights": {**FOCAL, "class_weights": "balanced"},
}
KEYS = {  # key and, of metrics.headline, its name
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
}
RESAMPLES = 1000

Floats = NDArray[np.float64]


def main(words: Sequence[str] | None = None) -> int:
    """Make the data rare, extract its features once, and train heads on them."""
    options = report.parser("imbalance", __doc__)
    options.add_argument("--images", type=int, help="of the demonstration's (default: all)")
    options.add_argument(
        "--kept", type=float, default=0.1, help="of the rarer class (default 0.1)"
    )
    options.add_argument("--seeds", type=int, default=5, help="heads a way (default 5)")
    chosen = report.parse(options, words)
    with throwaway(chosen.folder) as project:
        project.set("sample", limit=chosen.images)
        project.stage("sample")
        rare, train = thin_out(project, chosen.kept)
        for stage in ("ingest", "split", "augment", "extract"):
            project.stage(stage)
        answers = apart(train_all, project.folder, chosen.seeds)
        test = test_images(project.folder)
    classes = sorted(test["label"].unique())
    labels = pd.Categorical(test["label"], categories=classes).codes.astype(np.int64)
    drawn = np.random.default_rng(1).multinomial(len(test), [1 / len(test)] * len(test), RESAMPLES)
    weights = np.vstack([np.ones(len(test)), drawn])
    scores = {way: mean_scores(labels, each, weights) for way, each in answers.items()}
    recalls = {way: mean_recalls(labels, each) for way, each in answers.items()}
    report.write(
        chosen,
        f"{train[rare]} images of {rare} to train on, beside "
        + ", ".join(f"{count} of {label}" for label, count in train.items() if label != rare)
        + f"; {len(test)} test images as they are. Mean of {chosen.seeds} seeds; the head of "
        "params.yaml on frozen features. In brackets the 95% interval of the difference from "
        f"{NONE}, by a bootstrap of the same test images.",
        report.table(
            ("way", *KEYS.values(), *(f"recall of {label}" for label in classes)),
            [[way, *cells(scores, way), *map(float, recalls[way])] for way in WAYS],
        ),
        verdicts(scores),
    )
    return 0


def thin_out(project: Project, kept: float) -> tuple[str, dict[str, int]]:
    """Leave most of the rarer class out of train and val, in the splits of params.yaml.

    Returns:
        The rarer class, and the images of each class that are left to train on.
    """
    for stage in ("ingest", "split"):
        project.stage(stage)
    places = read_manifest(project.folder / "data/splits.csv")[["path", "label", "split"]]
    rare = str(places["label"].value_counts().index[-1])
    thinned = places[(places["label"] == rare) & (places["split"] != "test")]
    left_out = [
        path
        for _, of_split in thinned.groupby("split")
        for path in of_split["path"].iloc[max(1, round(kept * len(of_split))) :]
    ]
    table = pd.read_csv(project.raw / "labels.csv", dtype=str)
    table = table.merge(places[["path", "split"]], on="path")
    table[~table["path"].isin(left_out)].to_csv(project.raw / "labels.csv", index=False)
    project.set("split", strategy="column")
    train = places[(places["split"] == "train") & ~places["path"].isin(left_out)]
    return rare, {str(label): int(n) for label, n in train["label"].value_counts().items()}


def test_images(folder: Path) -> pd.DataFrame:
    """The distinct test images, in the order of their answers."""
    images = distinct(read_manifest(folder / "data/splits.csv"))
    return images[images["split"] == "test"].reset_index(drop=True)


def train_all(folder: Path, seeds: int) -> dict[str, list[Floats]]:
    """Answers (image, class) of each way's heads to the test images, one for each seed."""
    params = load_section(folder / "params.yaml", "train_head", HeadParams)
    splits, features = folder / "data/splits.csv", folder / "data/features"
    test = test_images(folder)
    answers: dict[str, list[Floats]] = {way: [] for way in WAYS}
    for seed in range(1, seeds + 1):
        for way, values in WAYS.items():
            changed = HeadParams(**{**params.model_dump(), **values, "seed": seed})
            outs = {
                "weights": folder / "tried/head.weights.h5",
                "log": folder / "tried/log.csv",
                "cross_validation": folder / "tried/cross_validation.json",
            }
            train_head.run(changed, splits=splits, features=features, **outs)
            classes = test["label"].nunique()
            answers[way].append(
                head_probabilities(changed, features, outs["weights"], test, classes)
            )
    return answers


def mean_scores(
    labels: NDArray[np.int64], answers: Sequence[Floats], weights: Floats
) -> dict[str, Floats]:
    """Each figure of (sample,) weightings of the images, the mean over the seeds."""
    each = [headline(labels, probabilities, weights) for probabilities in answers]
    return {key: np.mean([scores[key] for scores in each], axis=0) for key in KEYS}


def mean_recalls(labels: NDArray[np.int64], answers: Sequence[Floats]) -> Floats:
    """(class,) recall, the mean over the seeds."""
    once = np.ones((1, len(labels)))
    counts = [class_counts(labels, probabilities, once) for probabilities in answers]
    recalls: Floats = np.mean([hits[0] / support[0] for support, _, hits in counts], axis=0)
    return recalls


def gap(scores: dict[str, dict[str, Floats]], way: str, key: str) -> tuple[float, float]:
    """The 95% interval of what a way brings beyond none."""
    low, high = np.nanpercentile((scores[way][key] - scores[NONE][key])[1:], [2.5, 97.5])
    return float(low), float(high)


def cells(scores: dict[str, dict[str, Floats]], way: str) -> list[str]:
    """A way's figures, each with its gap."""
    row = []
    for key in KEYS:
        value = f"{scores[way][key][0]:.3f}"
        low, high = gap(scores, way, key)
        row.append(value if way == NONE else f"{value} [{low:+.3f}, {high:+.3f}]")
    return row


def verdicts(scores: dict[str, dict[str, Floats]]) -> str:
    """Say in words which ways help, and in what."""
    lines = []
    for way in WAYS:
        if way == NONE:
            continue
        gaps = {name: gap(scores, way, key) for key, name in KEYS.items()}
        helps = [name for name, (low, _) in gaps.items() if low > 0]
        harms = [name for name, (_, high) in gaps.items() if high < 0]
        words = [f"helps {' and '.join(helps)}"] if helps else []
        words += [f"harms {' and '.join(harms)}"] if harms else []
        lines.append(f"- {way}: {'; '.join(words) or 'no difference that these images can show'}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

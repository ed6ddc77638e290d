"""A difference is as sure as it is said to be, and what it is of is what both sides have."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from pipeline.comparing.account import account
from pipeline.comparing.changes import Changes, data_changes, param_changes
from pipeline.comparing.comparison import Comparison, compare
from pipeline.comparing.markdown import markdown
from pipeline.comparing.page import page
from pipeline.comparing.paired import differences, mcnemar
from pipeline.comparing.pairs import align
from pipeline.comparing.sides import Side, read_side
from pipeline.errors import InputError
from pipeline.markdown import plain
from pipeline.scoring.metrics import headline
from pipeline.scoring.names import HIGHER_IS_BETTER
from tests.test_inspect import HOSTILE, SCRIPT, Page
from tests.test_metrics import answers, by_sklearn

CLASSES = ["ape", "bee", "cow"]
OPTIONS = {"resamples": 200, "seed": 1, "confidence": 0.95, "max_slices": 20}


def side(labels, probabilities, name="A", first=0, classes=CLASSES, **extra) -> Side:
    """Answers on images whose digests count up from `first`."""
    classes = list(classes[: probabilities.shape[1]])
    digests = [f"{first + number:08x}" for number in range(len(labels))]
    table = pd.DataFrame(
        {
            "digest": digests,
            "path": [f"{digest}.png" for digest in digests],
            "label": [classes[column] for column in labels],
        }
    )
    splits = table.assign(width=8, height=8, weight=1.0, group="", split="test", **extra)
    for column, label in enumerate(classes):
        table[f"probability_{label}"] = probabilities[:, column]
    return Side(name, table, splits)


def two_sides(count=80, classes=3, seed=1, **extra) -> tuple[Side, Side]:
    labels, one = answers(count, classes, seed)
    random = np.random.default_rng(seed + 1)
    other = one * np.exp(random.normal(size=one.shape)) * np.exp(0.5 * np.eye(classes)[labels])
    other /= other.sum(axis=1, keepdims=True)
    return side(labels, one, "A", **extra), side(labels, other, "B", **extra)


def no_changes(one: Side, other: Side) -> Changes:
    return Changes((), data_changes(one.splits, other.splits), ())


def simulated(random, count: int, skills=(1.0, 1.2)):
    """Two models that err alike, the second the better one, on `count` images of two classes."""
    labels = random.integers(0, 2, count)
    shared = random.normal(size=count)
    found = []
    for skill in skills:
        logit = 1.5 * (skill * (2 * labels - 1) + shared + 0.7 * random.normal(size=count))
        light = 1 / (1 + np.exp(-logit))
        found.append(np.stack([1 - light, light], axis=1))
    return labels, *found


def test_a_95_percent_interval_holds_the_true_difference_95_times_of_100():
    """Two models of known worth, on 200 test sets of 100 images each."""
    random = np.random.default_rng(0)
    names = ("accuracy", "roc_auc", "macro_f1")
    labels, one, other = simulated(random, 200_000)
    once = np.ones((1, len(labels)))
    first, second = headline(labels, one, once), headline(labels, other, once)
    truth = {name: second[name][0] - first[name][0] for name in names}
    held = dict.fromkeys(names, 0)

    for number in range(200):
        labels, one, other = simulated(random, 100)
        pairs = align(side(labels, one), side(labels, other))
        found = differences(pairs, resamples=250, seed=number, confidence=0.95)
        for name in names:
            interval = found["metric", name]
            held[name] += interval.low <= truth[name] <= interval.high

    assert all(0.90 <= count / 200 <= 0.99 for count in held.values()), held


def test_intervals_of_grouped_images_have_their_coverage():
    """Twenty patients of ten images each, on which a model does well or badly as a whole.

    By images alone most of these intervals would be too narrow by far.
    """
    held = {"by group": 0, "by image": 0}
    for seed in range(200):
        random = np.random.default_rng(seed)
        patients = np.repeat(np.arange(20), 10)
        chances = random.beta(0.5, 0.5, size=(2, 20))[:, patients]  # of 0.5 on average, both
        right = random.random((2, 200)) < chances
        labels = np.zeros(200, np.int64)
        one, other = (
            side(labels, np.where(hits[:, None], [0.9, 0.1], [0.1, 0.9])) for hits in right
        )
        for way in held:
            groups = [f"patient {n}" for n in patients] if way == "by group" else ""
            grouped = Side("B", other.predictions, other.splits.assign(group=groups))
            pairs = align(one, grouped)
            found = differences(pairs, resamples=300, seed=seed, confidence=0.95)
            interval = found["metric", "accuracy"]
            held[way] += interval.low <= 0 <= interval.high

    assert 0.90 <= held["by group"] / 200 <= 0.99, held
    assert held["by image"] / 200 < 0.75, held


def test_a_few_groups_say_as_little_as_a_few_images():
    """120 images: of 9 patients in all, and of 4 where the site is "s"."""
    one, other = two_sides(120, site=["n", "n", "s"] * 40)
    number = np.arange(120)
    patients = np.where(number % 3 == 2, number % 4, 4 + number % 5).astype(str)
    grouped = Side("B", other.predictions, other.splits.assign(group=patients))

    found, apart = compare(one, grouped, **OPTIONS), compare(one, other, **OPTIONS)

    assert (found.images.units, apart.images.units) == (9, 120)
    assert found.slices["site"]["s"].units == 4
    assert apart.slices["site"]["s"].units == found.slices["site"]["s"].images == 40
    for label in CLASSES:
        of_class = other.predictions["label"] == label
        assert found.classes[label].units == len(set(patients[of_class]))
    told, told_apart = (
        str(account(comparison, no_changes(one, other), [])) for comparison in (found, apart)
    )
    assert "They come in 9 groups" in told
    assert told.count("too few images") > 10
    assert "groups" not in told_apart


@pytest.mark.parametrize("classes", [2, 3])
def test_intervals_are_those_of_scikit_learn_on_drawn_images(classes):
    one, other = two_sides(60, classes)
    pairs = align(one, other)
    found = differences(pairs, resamples=30, seed=3, confidence=0.9)

    drawn = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=30)
    spread: list[dict[str, float]] = []
    for counts in drawn:
        rows = np.repeat(np.arange(60), counts)
        first, second = (by_sklearn(pairs.labels[rows], p[rows]) for p in (pairs.one, pairs.other))
        spread.append({name: second[name] - first[name] for name in first})

    for name in spread[0]:
        low, high = np.percentile([values[name] for values in spread], [5, 95])
        ours = found["metric", name]
        assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-9), name
    first, second = (by_sklearn(pairs.labels, p) for p in (pairs.one, pairs.other))
    assert found["metric", "roc_auc"].difference == pytest.approx(
        second["roc_auc"] - first["roc_auc"]
    )


def test_intervals_are_those_of_scipys_paired_bootstrap():
    one, other = two_sides(200)
    pairs = align(one, other)
    hits = [p.argmax(axis=1) == pairs.labels for p in (pairs.one, pairs.other)]
    found = differences(pairs, resamples=4000, seed=1, confidence=0.95)["metric", "accuracy"]

    theirs = stats.bootstrap(
        hits,
        lambda first, second, axis: second.mean(axis=axis) - first.mean(axis=axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval

    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemars_p_is_that_of_statsmodels(seed):
    pairs = align(*two_sides(90, 3, seed))
    one, other = (p.argmax(axis=1) == pairs.labels for p in (pairs.one, pairs.other))

    ours = mcnemar(one, other)

    table = [[(one & other).sum(), ours.only_one], [ours.only_other, (~one & ~other).sum()]]
    assert ours.only_one == (one & ~other).sum()
    assert ours.p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)


def test_figures_of_classes_and_groups_are_scikit_learns_on_their_images():
    one, other = two_sides(90, site=["n", "s", "n"] * 30)
    pairs = align(one, other)

    found = compare(one, other, **OPTIONS)

    guesses = pairs.other.argmax(axis=1)
    right = [side.argmax(axis=1) == pairs.labels for side in (pairs.one, pairs.other)]
    parts = sk.precision_recall_fscore_support(pairs.labels, guesses)
    for column, label in enumerate(CLASSES):
        of_class = found.classes[label]
        for part, values in zip(("precision", "recall", "f1"), parts[:3], strict=True):
            assert of_class.figures[part].other == pytest.approx(values[column])
            assert of_class.figures[part].low <= of_class.figures[part].difference
            assert of_class.figures[part].difference <= of_class.figures[part].high
        assert of_class.images == parts[3][column]
        assert of_class.mcnemar == mcnemar(*(side[pairs.labels == column] for side in right))
    south = np.array(["n", "s", "n"] * 30) == "s"
    assert found.slices["site"]["s"].images == 30
    assert found.slices["site"]["s"].accuracy.other == pytest.approx(
        (guesses == pairs.labels)[south].mean()
    )
    assert found.slices["site"]["s"].mcnemar == mcnemar(*(side[south] for side in right))
    assert compare(one, other, **{**OPTIONS, "max_slices": 1}).slices == {}


def test_one_side_against_itself_differs_by_nothing():
    one, _ = two_sides()

    found = compare(one, one, **OPTIONS)

    assert {(d.difference, d.low, d.high) for d in found.metrics.values()} == {(0, 0, 0)}
    assert found.mcnemar.p == 1
    assert found.lost == found.gained == ()


def test_swapped_sides_give_the_mirrored_comparison():
    one, other = two_sides()

    there, back = compare(one, other, **OPTIONS), compare(other, one, **OPTIONS)

    for name, found in there.metrics.items():
        mirrored = back.metrics[name]
        assert (found.one, found.other) == (mirrored.other, mirrored.one)
        assert (-found.difference, -found.high, -found.low) == pytest.approx(
            (mirrored.difference, mirrored.low, mirrored.high)
        )
        gain = (found.difference, found.low, found.high)
        assert (found.gain == gain) is HIGHER_IS_BETTER[name]
    assert there.mcnemar.p == back.mcnemar.p
    assert {item.digest for item in there.lost} == {item.digest for item in back.gained}


def test_lower_log_loss_is_a_gain():
    labels, poor = answers(60, 2, seed=1)
    better = 0.5 * poor + 0.5 * np.eye(2)[labels]

    found = compare(side(labels, poor), side(labels, better), **OPTIONS).metrics["log_loss"]

    assert found.difference < 0
    assert 0 < found.gain[1] <= found.gain[0] <= found.gain[2]


def test_the_same_seed_gives_the_same_comparison():
    one, other = two_sides()

    assert compare(one, other, **OPTIONS) == compare(one, other, **OPTIONS)


def test_the_order_of_rows_is_no_matter():
    one, other = two_sides()
    turned = Side("B", other.predictions[::-1].reset_index(drop=True), other.splits[::-1])

    assert compare(one, turned, **OPTIONS) == compare(one, other, **OPTIONS)


def test_sides_of_unlike_test_sets_are_compared_on_what_both_have():
    labels, probabilities = answers(60, 3, seed=1)
    one = side(labels[:40], probabilities[:40], "A")
    other = side(labels[20:], probabilities[20:], "B", first=20)

    found = compare(one, other, **OPTIONS)

    assert asdict(found.images) == {"one": 40, "other": 40, "common": 20, "units": 20}
    assert found.metrics["accuracy"].difference == 0
    said = account(found, no_changes(one, other), [])[0].sentences[0]
    assert said.startswith("The test sets differ: A had 40 images, B 40.")
    assert said.endswith("both have: 20.")


def test_nothing_in_common_is_an_error_that_names_both():
    labels, probabilities = answers(30, 3, seed=1)
    other = side(labels, probabilities, "B", first=1000)

    with pytest.raises(InputError, match=r"A and B: have no test image in common \(of 30 and 30"):
        compare(side(labels, probabilities), other, **OPTIONS)


def test_a_corrected_label_counts_for_both_sides_and_is_told():
    one, other = two_sides()
    known = other.predictions["label"].iloc[3]
    new = next(label for label in CLASSES if label != known)
    other.predictions.loc[3, "label"] = new

    found = compare(one, other, **OPTIONS)

    assert [(item.path, item.one, item.other) for item in found.relabelled] == [
        ("00000003.png", known, new)
    ]
    same = Side("A", one.predictions.assign(label=other.predictions["label"]), one.splits)
    assert compare(same, other, **OPTIONS).metrics == found.metrics
    assert f"({known} -> {new})" in account(found, no_changes(one, other), [])[0].sentences[-1]


def test_a_class_that_one_model_does_not_know_is_always_wrong_there():
    labels, probabilities = answers(60, 3, seed=1)
    old_labels, old = labels.copy(), probabilities[:, :2] / probabilities[:, :2].sum(1)[:, None]
    old_labels[labels == 2] = 0

    found = compare(side(old_labels, old, "A"), side(labels, probabilities, "B"), **OPTIONS)

    assert found.unknown == (("cow",), ())
    assert found.classes["cow"].figures["recall"].one == 0
    assert len(found.relabelled) == (labels == 2).sum()
    assert np.isnan(found.classes["cow"].figures["precision"].one)
    assert np.isfinite([d.low for d in found.metrics.values()]).all()


def test_a_label_that_no_model_knows_is_an_error():
    one, other = two_sides()
    other.predictions.loc[3, "label"] = "emu"

    with pytest.raises(InputError, match="B: has a test image of 'emu'"):
        compare(one, other, **OPTIONS)


def test_pictures_that_turned_are_listed_surest_first():
    found = compare(*two_sides(200), **OPTIONS)

    assert len(found.lost) == found.mcnemar.only_one > 3
    assert len(found.gained) == found.mcnemar.only_other > 3
    assert all(item.one == item.label != item.other for item in found.lost)
    assert all(item.other == item.label != item.one for item in found.gained)
    sure = [item.other_probability for item in found.lost]
    assert sure == sorted(sure, reverse=True)


def test_data_changes_go_by_digest():
    columns = ("path", "label", "digest", "split", "group")
    one = pd.DataFrame(
        [
            ("a.png", "ape", "1", "train", ""),
            ("b.png", "ape", "2", "train", ""),
            ("c.png", "bee", "3", "test", ""),
            ("d.png", "bee", "4", "test", ""),
        ],
        columns=columns,
    )
    other = pd.DataFrame(
        [
            ("other/a.png", "ape", "1", "train", ""),
            ("b.png", "bee", "2", "train", ""),
            ("c.png", "bee", "3", "val", ""),
            ("d.png", "bee", "5", "test", ""),
        ],
        columns=columns,
    )

    found = data_changes(one, other)

    assert (found.added.kinds, found.added.images) == ({"test": 1}, ("d.png",))
    assert (found.removed.kinds, found.removed.images) == ({"test": 1}, ("d.png",))
    assert found.relabelled.kinds == {"ape -> bee": 1}
    assert found.moved.kinds == {"test -> val": 1}


def test_param_changes_are_flat_and_tell_absent_from_null():
    one = {"split": {"seed": 1, "cuts": [1, 2]}, "old": {"key": None}}
    other = {"split": {"seed": 2, "cuts": [1, 2], "val": None}}

    found = [(change.key, change.one, change.other) for change in param_changes(one, other)]

    assert found == [
        ("split.seed", "1", "2"),
        ("split.val", None, "null"),
        ("old.key", "null", None),
    ]


@pytest.mark.parametrize(
    ("one", "other"), [("1", 1), ("null", None), ("true", True), ("1e3", 1e3)]
)
def test_a_param_of_another_type_is_another(one, other):
    (found,) = param_changes({"a": one}, {"a": other})

    assert found.one == f'"{one}"'
    assert param_changes({"a": "text: {"}, {"a": "text: {"}) == ()


def hostile() -> tuple[Comparison, Changes]:
    classes = [HOSTILE, SCRIPT, "a|b"]
    labels, one = answers(60, 3, 1)
    other = np.roll(one, 1, axis=0)
    first = side(labels, one, SCRIPT, classes=classes, site=[HOSTILE] * 60)
    second = side(labels, other, f"`{HOSTILE}`", classes=classes, site=[HOSTILE] * 60)
    for table in (first.predictions, second.predictions):
        table["path"] = [f"{SCRIPT}|{number}" for number in range(60)]
    changes = Changes(
        param_changes({"k": SCRIPT}, {"k": HOSTILE}), data_changes(first.splits, second.splits), ()
    )
    return compare(first, second, **OPTIONS), changes


def test_hostile_names_stay_text_on_the_page():
    comparison, changes = hostile()

    shown = Page(page(SCRIPT, account(comparison, changes, [SCRIPT]), b"png", [SCRIPT]))

    assert {tag for tag, _ in shown.tags} <= {
        *("html", "head", "meta", "title", "style", "body"),
        *("h1", "h2", "p", "img", "table", "thead", "tbody", "tr", "th", "td"),
    }
    assert sum(tag == "img" for tag, _ in shown.tags) == 1
    assert "\u202e" not in shown.text
    assert SCRIPT in shown.text


def test_hostile_names_stay_text_in_markdown():
    comparison, changes = hostile()

    written = markdown(SCRIPT, account(comparison, changes, []))

    assert "<script" not in written
    assert "<img" not in written
    assert "\x1b" not in written
    rows = [line for line in written.splitlines() if line.startswith("| ")]
    cells = {line.replace("\\|", "").count("|") for line in rows}
    assert cells <= {3, 4, 5, 6, 7, 8, 9}
    assert plain("WWW.evil.example") == r"WWW\.evil.example"
    assert plain("@all [x](y) *z* `w` a|b") == r"@<!-- -->all \[x\]\(y\) \*z\* \`w\` a\|b"


def test_what_is_undefined_is_said_and_is_no_number():
    labels, one = answers(30, 2, 1)
    never = np.tile([0.9, 0.1], (30, 1))

    found = compare(side(labels, one), side(labels, never), **OPTIONS)

    precision = found.classes["bee"].figures["precision"]
    assert np.isnan([precision.other, precision.difference, precision.low]).all()
    rows = account(found, no_changes(side(labels, one), side(labels, never)), [])[2].rows
    row = next(row for row in rows if row[0].startswith("bee") and row[1] == "precision")
    assert row[3:7] == ("undefined", "undefined", "[undefined, undefined]", "undefined")


@pytest.mark.parametrize(("images", "verdict"), [(9, "too few images"), (10, "worse")])
def test_of_few_images_no_verdict_is_told(images, verdict):
    """All resamples are alike, so the interval leaves out 0 however few there are."""
    labels = np.zeros(images, int)
    right, wrong = (np.tile(row, (images, 1)) for row in ([0.9, 0.1], [0.1, 0.9]))

    found = compare(side(labels, right), side(labels, wrong), **OPTIONS)

    rows = account(found, no_changes(side(labels, right), side(labels, wrong)), [])[1].rows
    assert {row[0]: row[-1] for row in rows}["accuracy"] == verdict


def test_tables_show_the_first_twenty_images():
    labels = np.zeros(40, int)
    right = np.tile([0.9, 0.1], (40, 1))
    wrong = np.where(np.arange(40)[:, None] < 25, right[:, ::-1], right)
    one, other = side(labels, right, "A"), side(labels, wrong, "B")

    found = compare(one, other, **OPTIONS)

    part = next(p for p in account(found, no_changes(one, other), []) if "to wrong" in p.title)
    assert part.sentences == ["25 images, of which 20 are shown."]
    assert (len(part.rows), len(found.lost)) == (20, 25)


@pytest.mark.parametrize(
    ("turned", "a_group", "verdict"),
    [(4, 1, "not known"), (5, 1, "not known"), (6, 1, "better"), (8, 2, "not known")],
)
def test_few_answers_that_turned_tell_nothing(turned, a_group, verdict):
    """Most resamples hold one of four, images or groups, so that the interval leaves out 0."""
    labels = np.arange(600) % 2
    right = np.where(np.eye(2)[labels] == 1, 0.9, 0.1)
    worse = right.copy()
    worse[: 2 * turned : 2] = 1 - right[: 2 * turned : 2]  # all of one class
    group = [f"{number // (2 * a_group)}" for number in range(600)]
    sides = side(labels, worse, "A"), side(labels, right, "B")
    one, other = (replace(one, splits=one.splits.assign(group=group)) for one in sides)

    found = compare(one, other, **OPTIONS)

    assert found.metrics["accuracy"].low > 0
    rows = account(found, no_changes(one, other), [])
    told = {row[0]: row[-1] for row in rows[1].rows}
    assert {told["accuracy"], told["balanced accuracy"], told["macro F1"]} == {verdict}
    told = {row[:2]: row[6] for row in rows[2].rows}
    assert told["ape (300)", "recall"] == told["bee (300)", "precision"] == verdict


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.drop(columns=["probability_ape", "probability_bee"]), "has no column"),
        (lambda t: t.assign(probability_ape="much"), "holds what is no number"),
        (lambda t: t.assign(probability_ape="inf"), r"probabilities that are not in \[0, 1\]"),
        (lambda t: t.assign(probability_ape="nan"), r"probabilities that are not in \[0, 1\]"),
        (lambda t: t.assign(probability_ape=-0.5), "predictions of A: holds probabilities"),
        (lambda t: pd.concat([t, t[:1]]), "has two rows of digest '00000000'"),
        (lambda t: t.drop(columns="label"), r"^predictions of A: has no column label"),
        (lambda t: t[:0], "has no rows"),
    ],
)
def test_predictions_that_are_none_are_refused(tmp_path, spoil, said):
    one, _ = two_sides(20, 2)
    spoil(one.predictions).to_csv(tmp_path / "predictions.csv", index=False)
    one.splits.to_csv(tmp_path / "splits.csv", index=False)

    with pytest.raises(InputError, match=said):
        read_side("A", tmp_path / "predictions.csv", tmp_path / "splits.csv")


def test_splits_that_are_none_are_named_by_their_revision(tmp_path):
    one, _ = two_sides(20, 2)
    one.predictions.to_csv(tmp_path / "predictions.csv", index=False)
    one.splits.drop(columns="digest").to_csv(tmp_path / "1234.0", index=False)

    with pytest.raises(InputError, match=r"^splits of A: has no column digest"):
        read_side("A", tmp_path / "predictions.csv", tmp_path / "1234.0")


def test_a_comparison_is_plain_data():
    """So that it can be written as JSON, and handed on to whoever decides."""
    found = compare(*two_sides(), **OPTIONS)

    json.dumps(asdict(found), allow_nan=False)

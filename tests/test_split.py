"""Laws of every split, then the errors a user can meet."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.stages import split
from pipeline.stages.split import SplitParams
from pipeline.tables import read_manifest, write_table

HASH = SplitParams(strategy="hash", seed=1, val=0.2, test=0.2, stratify_columns=[])
STRATIFIED = HASH.model_copy(update={"strategy": "stratified"})
COLUMN = HASH.model_copy(update={"strategy": "column"})
M = Path("manifest.csv")


def images(count: int, **columns: object) -> pd.DataFrame:
    """Rows of `count` distinct images of two classes."""
    table = pd.DataFrame(
        {
            "path": [f"{i:04}.png" for i in range(count)],
            "label": ["cat" if i % 3 else "dog" for i in range(count)],
            "digest": [f"digest-{i}" for i in range(count)],
            "width": 4,
            "height": 4,
            "weight": 1.0,
            "group": "",
            "split": "",
        }
    )
    return table.assign(**columns)


def splits_of(tmp_path, table: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    write_table(tmp_path / "m.csv", table)
    split.run(
        params, manifest=tmp_path / "m.csv", splits=tmp_path / "s.csv", report=tmp_path / "r.json"
    )
    return read_manifest(tmp_path / "s.csv")


rows = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["", "", "g1", "g2", "g3", "g4"])),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=150)
@given(rows)
def test_copies_and_groups_never_straddle(drawn):
    """Whatever chains of copies and groups there are."""
    table = images(len(drawn))
    table["digest"] = [f"digest-{digest}" for digest, _ in drawn]
    table["group"] = [group for _, group in drawn]

    place = split.by_hash(table, split.unit_of_row(table), HASH)

    assert place.groupby(table["digest"]).nunique().max() == 1
    named = table["group"] != ""
    places = [set(of_group) for _, of_group in place[named].groupby(table["group"][named])]
    assert all(len(of_group) == 1 for of_group in places)


@settings(deadline=None, max_examples=100)
@given(st.sets(st.integers(0, 300), min_size=1), st.sets(st.integers(0, 300)))
def test_adding_images_never_moves_one(old, new):
    """Groups grow too: image i is of group i modulo 7, or of none."""

    def places(numbers: set[int]) -> dict[int, str]:
        ordered = sorted(numbers)
        table = images(len(ordered))
        table["digest"] = [f"digest-{i}" for i in ordered]
        table["group"] = [f"g{i % 7}" if i % 2 else "" for i in ordered]
        place = split.by_hash(table, split.unit_of_row(table), HASH)
        return dict(zip(ordered, place, strict=True))

    before, after = places(old), places(old | new)

    assert {number: after[number] for number in old} == before


def test_hash_shares_out_in_the_asked_for_fractions(tmp_path):
    place = splits_of(tmp_path, images(6000), HASH)["split"].value_counts(normalize=True)

    assert place["test"] == pytest.approx(0.2, abs=0.02)
    assert place["val"] == pytest.approx(0.2, abs=0.02)


def test_the_seed_changes_the_split(tmp_path):
    one = splits_of(tmp_path, images(90), HASH)
    other = splits_of(tmp_path, images(90), HASH.model_copy(update={"seed": 2}))

    assert one["split"].tolist() != other["split"].tolist()


def test_adding_a_copy_moves_nothing_where_groups_are_not_joined(tmp_path):
    """A copy under another name, with the group of the first or none where it has none."""
    table = images(60, group=[f"g{i % 7}" if i % 2 else "" for i in range(60)])
    before = splits_of(tmp_path, table, HASH).set_index("path")["split"]
    copies = table.assign(path="copy of " + table["path"])

    after = splits_of(tmp_path, pd.concat([table, copies]), HASH).set_index("path")["split"]

    assert after[before.index].equals(before)
    assert after["copy of " + before.index].tolist() == before.tolist()


@pytest.mark.parametrize("group", ["g2", ""])
def test_a_copy_that_puts_an_ungrouped_picture_into_a_group_is_reported(tmp_path, capsys, group):
    """The one way in which a new row can move an old one: it must not go unsaid."""
    table = images(200, group=["" if i % 2 else f"g{i}" for i in range(200)])
    copy = table.iloc[[1]].assign(path="copy.png", group=group)

    splits_of(tmp_path, pd.concat([table, copy]), HASH)

    assert ("copies join groups" in capsys.readouterr().err) == bool(group)


def test_a_split_column_that_is_not_used_is_mentioned(tmp_path, capsys):
    splits_of(tmp_path, images(60, split="train"), HASH)

    assert "the table's own column split is not used" in capsys.readouterr().err


def test_a_copy_that_joins_groups_is_reported(tmp_path, capsys):
    table = images(40, group=[f"g{i % 10}" for i in range(40)])
    table.loc[21, "digest"] = table.loc[2, "digest"]
    table["label"] = "cat"
    table.loc[30:, "label"] = "dog"

    splits_of(tmp_path, table, HASH)

    assert "copies join groups" in capsys.readouterr().err


def test_stratified_gives_every_stratum_the_exact_fractions(tmp_path):
    table = images(600, site=["north" if i % 2 else "south" for i in range(600)])
    params = STRATIFIED.model_copy(update={"stratify_columns": ["site"]})

    counts = splits_of(tmp_path, table, params).groupby(["label", "site", "split"]).size()

    for label, of_stratum in (("cat", 200), ("dog", 100)):
        for site in ("north", "south"):
            assert counts[label, site, "test"] == of_stratum * 0.2
            assert counts[label, site, "val"] == of_stratum * 0.2


def test_stratified_keeps_copies_and_groups_together(tmp_path):
    table = images(120, group=[f"g{i % 40}" if i % 2 else "" for i in range(120)])
    table["label"] = ["cat" if i % 40 < 20 else "dog" for i in range(120)]
    table.loc[60:80, "digest"] = table.loc[0:20, "digest"].to_numpy()
    table.loc[60:80, "label"] = table.loc[0:20, "label"].to_numpy()

    result = splits_of(tmp_path, table, STRATIFIED)

    assert result.groupby("digest")["split"].nunique().max() == 1
    assert result[result["group"] != ""].groupby("group")["split"].nunique().max() == 1


def test_stratified_does_not_depend_on_file_names(tmp_path):
    table = images(60)
    renamed = table.assign(path=table["path"].to_numpy()[::-1])

    one = splits_of(tmp_path, table, STRATIFIED).set_index("digest")["split"]
    other = splits_of(tmp_path, renamed, STRATIFIED).set_index("digest")["split"]

    assert one.to_dict() == other.to_dict()


def test_column_takes_the_tables_own_split(tmp_path):
    own = [("train", "val", "test")[i % 3] for i in range(30)]
    table = images(30, split=own, label=["cat" if i < 15 else "dog" for i in range(30)])

    assert splits_of(tmp_path, table, COLUMN)["split"].tolist() == own


def test_the_report_counts_classes_by_split(tmp_path):
    result = splits_of(tmp_path, images(90), HASH)

    report = json.loads((tmp_path / "r.json").read_text())

    train = result[result["split"] == "train"]["label"].value_counts().to_dict()
    assert report["train"] == train


@pytest.mark.parametrize("params", [HASH, STRATIFIED, COLUMN])
def test_one_picture_under_two_labels_names_both_files(tmp_path, params):
    table = images(30, split="train")
    table.loc[7, "digest"] = table.loc[3, "digest"]

    with pytest.raises(InputError, match=r"0003.png and 0007.png .*'dog' and 'cat'"):
        splits_of(tmp_path, table, params)


def test_column_refuses_to_tear_copies_and_groups(tmp_path):
    own = [("train", "val", "test")[i % 3] for i in range(30)]
    table = images(30, split=own, label=["cat" if i < 15 else "dog" for i in range(30)])
    copies = table.assign(digest=table["digest"].replace("digest-4", "digest-3"))
    grouped = table.assign(group=["g" if i in {5, 6} else "" for i in range(30)])

    with pytest.raises(InputError, match=r"0003.png in train and 0004.png in val are copies"):
        splits_of(tmp_path, copies, COLUMN)
    with pytest.raises(InputError, match=r"0005.png in test and 0006.png .* of one group 'g'"):
        splits_of(tmp_path, grouped, COLUMN)


def test_column_refuses_a_split_it_does_not_know(tmp_path):
    table = images(30, split="train")
    table.loc[4, "split"] = "Test"

    with pytest.raises(
        InputError, match=r"0004.png has split 'Test', not one of train, val, test"
    ):
        splits_of(tmp_path, table, COLUMN)


def test_an_empty_split_or_an_untrained_class_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no image of 30 fell into val"):
        splits_of(tmp_path, images(30, split=["train"] * 20 + ["test"] * 10), COLUMN)
    own = ["val", *["train", "test", "val", "test", "train"] * 6][:30]
    lonely = images(30, split=own, label=["rare"] + ["cat"] * 29)
    with pytest.raises(InputError, match="class 'rare' has no training image"):
        splits_of(tmp_path, lonely, COLUMN)


def test_a_class_absent_from_test_is_a_warning(tmp_path, capsys):
    own = ["train", *["train", "test", "val", "test", "train"] * 6][:30]
    splits_of(tmp_path, images(30, split=own, label=["rare"] + ["cat"] * 29), COLUMN)

    assert "class 'rare' has no image in val or test" in capsys.readouterr().err


def test_a_stratum_too_small_is_refused(tmp_path):
    table = images(30, label=["rare"] * 2 + ["cat"] * 28)

    with pytest.raises(InputError, match="'rare' has 2 distinct images or groups, needs 3"):
        splits_of(tmp_path, table, STRATIFIED)
    unknown = STRATIFIED.model_copy(update={"stratify_columns": ["site"]})
    with pytest.raises(InputError, match=r"has no extra column 'site'.*\n.*it has: none"):
        splits_of(tmp_path, table, unknown)

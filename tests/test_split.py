"""Laws of every split, then the errors a user can meet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.params import load_section
from pipeline.splitting.folds import fold_of_row
from pipeline.splitting.leakage import prove
from pipeline.splitting.shares import quotas
from pipeline.splitting.strategies import as_times
from pipeline.splitting.units import unit_of_row
from pipeline.stages import split
from pipeline.stages.split import SplitParams
from pipeline.tables import SPLITS, extra_columns, read_manifest, write_table
from tests.conftest import ROOT

SHIPPED = load_section(ROOT / "params.yaml", "split", SplitParams)
HASH = SHIPPED.model_copy(update={"val": 0.2, "test": 0.2, "min_per_class": 0})
STRATIFIED = HASH.model_copy(update={"strategy": "stratified"})
COLUMN = HASH.model_copy(update={"strategy": "column"})
TIME = HASH.model_copy(
    update={"strategy": "time", "time_column": "taken", "time_cuts": ["2024-03-01", "2024-05-01"]}
)
TOGETHER = {"near_duplicates": "together", "near_distance": 2}
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


def hashes_of(digests: pd.Series) -> list[int]:
    """Perceptual hashes that are far from one another: multiples of an odd 64-bit number."""
    codes = pd.factorize(digests, sort=True)[0] + 1
    return [int(code) * 0x9E3779B97F4A7C15 % 2**64 for code in codes]


def splits_of(
    tmp_path, table: pd.DataFrame, params: SplitParams, hashes: list[int] | None = None
) -> pd.DataFrame:
    """Run the stage; `hashes` are those of the table's rows."""
    write_table(tmp_path / "m.csv", table)
    measures = pd.DataFrame({"digest": table["digest"]})
    measures["perceptual_hash"] = [f"{x:016x}" for x in hashes or hashes_of(table["digest"])]
    measures = measures.drop_duplicates("digest").sort_values("digest")
    write_table(tmp_path / "measures.csv", measures.assign(brightness=0.5))
    split.run(
        params,
        manifest=tmp_path / "m.csv",
        measures=tmp_path / "measures.csv",
        splits=tmp_path / "s.csv",
        report=tmp_path / "r.json",
        leakage=tmp_path / "leakage.json",
    )
    return read_manifest(tmp_path / "s.csv")


def hashed(table: pd.DataFrame, params: SplitParams = HASH) -> pd.Series:
    """Where each row goes, without files, near-duplicates by the column `hash` if there is one."""
    hashes = table.get("hash", pd.Series(hashes_of(table["digest"])))
    units = split.find_units(table, hashes.to_numpy(np.uint64), params)
    draws = split.unit_draws(table, units, params.seed)
    place = split.place_units(table, units, draws, params, M)
    return pd.Series(np.array(SPLITS)[place[units]], table.index)


rows = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["", "", "g1", "g2", "g3", "g4"])),
    min_size=1,
    max_size=60,
)


def from_rows(drawn: list[tuple[int, str]]) -> pd.DataFrame:
    """A row for each (picture, group); hashes 1, 2 and 3 bits apart, in tens of pictures."""
    return images(
        len(drawn),
        digest=[f"digest-{number}" for number, _ in drawn],
        group=[group for _, group in drawn],
        hash=[(1 + number // 10 << 40) + number % 10 for number, _ in drawn],
    )


@settings(deadline=None, max_examples=150)
@given(rows, st.booleans())
def test_copies_groups_and_near_duplicates_never_straddle(drawn, together):
    """Whatever chains of them there are; near-duplicates where it is asked for."""
    table = from_rows(drawn)

    place = hashed(table, HASH.model_copy(update=TOGETHER if together else {}))

    assert place.groupby(table["digest"]).nunique().max() == 1
    named = table["group"] != ""
    places = [set(of_group) for _, of_group in place[named].groupby(table["group"][named])]
    assert all(len(of_group) == 1 for of_group in places)
    if together:
        apart = np.bitwise_count(table["hash"].to_numpy()[:, None] ^ table["hash"].to_numpy())
        one, other = np.nonzero(apart <= 2)
        assert (place.to_numpy()[one] == place.to_numpy()[other]).all()


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 3)), max_size=80),
    st.integers(2, 9),
)
def test_neither_adding_nor_removing_images_moves_one(steps, modulus):
    """Through any history of additions and removals, with copies, groups and folds.

    Picture i is of group i modulo `modulus`, or of none, and so are its copies.
    """
    present: set[tuple[int, int]] = {(1000, 0)}
    seen: dict[tuple[int, int], tuple[str, str]] = {}
    params = HASH.model_copy(update={"folds": 4})
    for number, (grows, i, copy) in enumerate(steps):
        present = present | {(i, copy)} if grows else present - {(i, copy)}
        if number % 8 and number < len(steps) - 1:
            continue
        ordered = sorted(present)
        table = images(
            len(ordered),
            digest=[f"digest-{i}" for i, _ in ordered],
            group=[f"g{i % modulus}" if i % 2 else "" for i, _ in ordered],
        )
        units = unit_of_row(table)
        place = split.place_units(table, units, split.unit_draws(table, units, 1), params, M)
        folds = fold_of_row(
            table, units, place, M, folds=params.folds, seed=params.seed, columns=None
        )
        now = dict(zip(ordered, zip(place[units], folds, strict=True), strict=True))

        assert {key: now[key] for key in now if key in seen} == {
            key: seen[key] for key in now if key in seen
        }
        seen |= now


@settings(deadline=None, max_examples=150)
@given(rows, rows, st.booleans())
def test_an_image_moves_only_where_its_unit_came_to_hold_other_groups(before, after, together):
    """Or other pictures, if it has no group: decision 3, and nothing else."""
    params = HASH.model_copy(update=TOGETHER if together else {})

    def known(drawn: list[tuple[int, str]]) -> dict[tuple[int, str], tuple[frozenset[str], str]]:
        table = from_rows(drawn)
        units = split.find_units(table, table["hash"].to_numpy(np.uint64), params)
        groups, digests = (table[by].groupby(units).agg(frozenset) for by in ("group", "digest"))
        of_unit = (groups.map(lambda names: names - {""})).where(
            groups != frozenset({""}), digests
        )
        return dict(
            zip(drawn, zip(of_unit[units], hashed(table, params), strict=True), strict=True)
        )

    one, other = known(before), known(after)

    for row in one.keys() & other.keys():
        if one[row][0] == other[row][0]:
            assert one[row][1] == other[row][1]


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

    assert "splits that the data name are not used" in capsys.readouterr().err


def test_a_copy_that_joins_groups_is_reported(tmp_path, capsys):
    table = images(40, group=[f"g{i % 10}" for i in range(40)])
    table.loc[21, "digest"] = table.loc[2, "digest"]
    table["label"] = "cat"
    table.loc[30:, "label"] = "dog"

    splits_of(tmp_path, table, HASH)

    assert "copies join groups" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["site", "unit"])
def test_stratified_gives_every_stratum_the_exact_fractions(tmp_path, name):
    table = images(600, **{name: ["north" if i % 2 else "south" for i in range(600)]})
    params = STRATIFIED.model_copy(update={"stratify_columns": [name]})

    counts = splits_of(tmp_path, table, params).groupby(["label", name, "split"]).size()

    for label, of_stratum in (("cat", 200), ("dog", 100)):
        for site in ("north", "south"):
            assert counts[label, site, "test"] == of_stratum * 0.2
            assert counts[label, site, "val"] == of_stratum * 0.2


def test_a_slash_in_a_label_makes_no_other_stratum_of_it(tmp_path):
    table = images(400, label=["a / b"] * 200 + ["a"] * 200, s=["c"] * 200 + ["b / c"] * 200)
    params = STRATIFIED.model_copy(update={"stratify_columns": ["s"]})

    counts = splits_of(tmp_path, table, params).groupby(["split", "label"]).size()

    assert counts["test"].to_list() == counts["val"].to_list() == [40, 40]


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
    with pytest.raises(InputError, match=r"no image of 30 fell into val\n"):
        splits_of(tmp_path, images(30, split=["train"] * 20 + ["test"] * 10), COLUMN)
    words = r"no image of 30, in 1 units that stay together, fell into \w+"
    with pytest.raises(InputError, match=words):
        splits_of(tmp_path, images(30, group="x"), HASH)
    own = ["val", *["train", "test", "val", "test", "train"] * 6][:30]
    lonely = images(30, split=own, label=["rare"] + ["cat"] * 29)
    with pytest.raises(InputError, match="class 'rare' has no training image") as caught:
        splits_of(tmp_path, lonely, COLUMN)
    assert caught.value.fix == "add images of it, or take it out"  # no way shares out one


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


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
    st.sampled_from([[0.2, 0.2, 0.6], [0.2, 0.15, 0.65], [0.25] * 4, [0.1] * 10]),
)
def test_quotas_are_whole_and_near_the_exact_shares(sizes, shares):
    whole = quotas(np.array(sizes), shares)

    exact = np.outer(sizes, shares)
    assert whole.min() >= 0
    assert whole.sum(axis=1).tolist() == sizes
    assert (np.abs(whole - exact) < 2 + 1e-6).all()
    assert (np.abs(whole - exact)[:, [0, -1]] <= 1 + 1e-6).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_stratified_is_exact_wherever_whole_pictures_allow_it(tens, seed):
    labels = ["cat"] * (20 * tens) + ["dog"] * 50 + ["elk"] * 10
    params = STRATIFIED.model_copy(update={"seed": seed})
    table = images(len(labels), label=labels)

    place = hashed(table, params)

    counts = pd.crosstab(table["label"], place)
    for label, pictures in table["label"].value_counts().items():
        assert counts.loc[label, ["train", "val", "test"]].tolist() == [
            pictures * 6 // 10, pictures * 2 // 10, pictures * 2 // 10,
        ]  # fmt: skip


def test_stratified_shares_out_pictures_not_groups(tmp_path):
    """Groups of one to nine pictures, some of both classes, and pictures on their own."""
    random = np.random.default_rng(0)
    sizes = [*random.integers(1, 10, 60), *[1] * 40]
    group = np.repeat([f"g{i}" if i < 60 else "" for i in range(100)], sizes)
    label = random.choice(["cat", "dog"], len(group), p=[0.8, 0.2])
    table = images(len(group), group=group, label=label)

    result = splits_of(tmp_path, table, STRATIFIED)

    grouped = result[result["group"] != ""]
    assert grouped.groupby("group")["split"].nunique().max() == 1
    shares = pd.crosstab(result["label"], result["split"], normalize="index")
    for name, share in {"train": 0.6, "val": 0.2, "test": 0.2}.items():
        assert shares.loc["cat", name] == pytest.approx(share, abs=0.02)
        assert shares.loc["dog", name] == pytest.approx(share, abs=0.06)


def dated(count: int, **columns: object) -> pd.DataFrame:
    """One image a day from the first of January 2024 on."""
    days = pd.date_range("2024-01-01", periods=count).strftime("%Y-%m-%d")
    return images(count, **columns).assign(taken=list(days))


def test_time_trains_on_the_past_and_tests_on_the_future(tmp_path):
    """A cut begins the later split; an offset from UTC counts."""
    table = dated(150)
    table.loc[59, "taken"] = "2024-03-01T00:30+01:00"  # half past eleven of the day before
    result = splits_of(tmp_path, table, TIME).set_index("path")

    taken = pd.to_datetime(result["taken"], format="ISO8601", utc=True)
    first, second = (pd.Timestamp(cut, tz="UTC") for cut in TIME.time_cuts)
    assert (result["split"] == "train").tolist() == (taken < first).tolist()
    assert (result["split"] == "test").tolist() == (taken >= second).tolist()
    assert result["split"]["0059.png"] == "train"
    assert result["split"]["0060.png"] == "val"


@pytest.mark.parametrize(
    "same", ["2024-02-29 23:30 UTC", " 2024-02-29T23:30:00Z ", "2024-02-29T23:30:00,0000001"]
)
def test_a_time_may_be_spelt_otherwise(same):
    (as_written, other), _ = as_times(pd.Series(["2024-03-01T00:30+01:00", same]), ["2024"])

    assert as_written == other


def test_time_takes_numbers_too(tmp_path):
    table = images(30).assign(taken=[str(i - 10.5) for i in range(30)])
    params = TIME.model_copy(update={"time_cuts": [-2.5, 9]})

    place = splits_of(tmp_path, table, params)["split"].tolist()

    assert place == ["train"] * 8 + ["val"] * 12 + ["test"] * 10


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), min_size=1, max_size=60))
def test_nothing_from_behind_a_cut_is_learnt_from(drawn):
    """Whatever copies and groups straddle it."""
    table = images(
        len(drawn),
        digest=[f"digest-{digest}" for digest, _ in drawn],
        group=[f"g{group}" if group else "" for _, group in drawn],
        taken=[str(number) for number in range(len(drawn))],
    )
    cuts = [len(drawn) / 3, len(drawn) / 2]

    place = hashed(table, TIME.model_copy(update={"time_cuts": cuts}))

    number = np.arange(len(drawn))
    assert (number[(place == "train").to_numpy()] < cuts[0]).all()
    assert (number[(place == "val").to_numpy()] < cuts[1]).all()
    assert place.groupby(table["digest"]).nunique().max() == 1


def test_a_group_that_straddles_a_cut_is_counted(tmp_path, capsys):
    table = dated(150, group=["g" if i in {3, 4, 140} else "" for i in range(150)])

    result = splits_of(tmp_path, table, TIME)

    assert set(result[result["group"] == "g"]["split"]) == {"test"}
    assert "2 images from before a cut stand behind it" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", "soon", "2024-13-01", "now", "today"])
def test_a_row_without_a_time_is_refused(tmp_path, value):
    table = dated(150)
    table.loc[7, "taken"] = value

    with pytest.raises(InputError, match=f"0007.png has taken '{value}', which is no ISO date"):
        splits_of(tmp_path, table, TIME)
    with pytest.raises(InputError, match=r"has no extra column 'taken'.*\n.*it has: none"):
        splits_of(tmp_path, images(30), TIME)


@pytest.mark.parametrize("other", ["2024-01-05", "2024-01-05T10:00:00.123456789"])
def test_dates_of_any_century_have_their_place(tmp_path, other):
    table = dated(150)
    table.loc[5, "taken"] = other
    table.loc[[3, 7], "taken"] = "9999-12-31", "0001-01-01"

    result = splits_of(tmp_path, table, TIME).set_index("path")["split"]

    assert result[table.loc[3, "path"]] == "test"
    assert result[table.loc[7, "path"]] == "train"


@pytest.mark.parametrize("value", ["nan", "inf", "2024-01-01"])
def test_a_row_without_a_number_is_refused(tmp_path, value):
    table = images(30).assign(taken=[value, *map(str, range(29))])

    with pytest.raises(InputError, match=f"0000.png has taken '{value}', which is no number"):
        splits_of(tmp_path, table, TIME.model_copy(update={"time_cuts": [10, 20]}))


@pytest.mark.parametrize("params", [HASH, STRATIFIED])
def test_folds_hold_train_and_val_and_tear_nothing(tmp_path, params):
    group = [f"g{i % 60}" if i % 2 else "" for i in range(400)]
    table = images(400, group=group)
    same = ["digest", "label", "group"]
    table.loc[300:340, same] = table.loc[0:40, same].to_numpy()

    result = splits_of(tmp_path, table, params.model_copy(update={"folds": 5}))

    assert ((result["fold"] == "") == (result["split"] == "test")).all()
    folded = result[result["fold"] != ""]
    assert set(folded["fold"]) == set("01234")
    assert extra_columns(result) == []  # `evaluate` gives no figures by fold
    assert folded.groupby("digest")["fold"].nunique().max() == 1
    named = folded[folded["group"] != ""]
    assert named.groupby("group")["fold"].nunique().max() == 1
    without = splits_of(tmp_path, table, params)
    assert "fold" not in without.columns
    pd.testing.assert_frame_equal(result.drop(columns="fold"), without)


def test_fewer_than_three_folds_with_images_are_refused(tmp_path):
    """Groups stay whole, so two of them fill two folds at most, whatever the seed."""
    parts = ["train", "val", "test"] * 10
    table = images(30, split=parts, group=parts)
    params = COLUMN.model_copy(update={"folds": 5})

    with pytest.raises(InputError, match=r"fills [12] of 5 folds.*\n.*change split.seed, or set"):
        splits_of(tmp_path, table, params)


def test_stratified_folds_share_out_each_class_evenly(tmp_path):
    result = splits_of(tmp_path, images(300), STRATIFIED.model_copy(update={"folds": 5}))

    counts = pd.crosstab(result["label"], result["fold"])
    assert counts.loc["cat", list("01234")].tolist() == [32] * 5
    assert counts.loc["dog", list("01234")].tolist() == [16] * 5


def test_a_class_of_few_images_is_named_with_what_to_do(tmp_path, capsys):
    """Copies are one image."""
    table = images(200, label=["rare"] * 10 + ["cat"] * 190)
    table = pd.concat([table, table.iloc[:10].assign(path="copy of " + table["path"][:10])])
    params = STRATIFIED.model_copy(update={"min_per_class": 3})

    splits_of(tmp_path, table, params)

    said = capsys.readouterr().err
    assert "class 'rare' has 2 in val, 2 in test, below split.min_per_class 3; add" in said
    assert "use split.strategy stratified" not in said  # it is
    assert "change split.val and split.test" in said
    assert "'cat'" not in said
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["below_min_per_class"] == {"rare": {"val": 2, "test": 2}}


def test_every_class_of_few_images_is_named(tmp_path, capsys):
    labels = [f"class {i // 3}" for i in range(60)]
    params = STRATIFIED.model_copy(update={"min_per_class": 4})

    splits_of(tmp_path, images(60, label=labels), params)

    warned = [line for line in capsys.readouterr().err.splitlines() if "min_per_class" in line]
    assert all(f"'class {number}'" in "\n".join(warned) for number in range(20))
    assert len(warned) == 11


def test_near_duplicates_share_a_split_where_asked(tmp_path, capsys):
    """Pairs one bit apart; some straddle the splits unless they are kept together."""
    table = images(200)
    hashes = [(i // 2 + 1) * 0x9E3779B97F4A7C15 % 2**64 ^ i % 2 for i in range(200)]

    apart = splits_of(tmp_path, table, HASH, hashes)
    report = json.loads((tmp_path / "leakage.json").read_text())
    said = capsys.readouterr().err
    together = splits_of(tmp_path, table, HASH.model_copy(update=TOGETHER), hashes)
    proved = json.loads((tmp_path / "leakage.json").read_text())

    place = apart["split"].to_numpy()
    torn = [(place[i], place[i + 1]) for i in range(0, 200, 2) if place[i] != place[i + 1]]
    for held, other in (("val", "train"), ("test", "train"), ("test", "val")):
        count = sum({held, other} == set(pair) for pair in torn)
        assert count > 0
        assert report["pictures"][f"{held} near {other}"] == count
        assert f"{count} of {held} near {other}" in said
    assert len(report["nearest"]) == min(24, len(torn))
    for pair in report["nearest"]:
        one, other = (int(pair[side]["path"][:4]) for side in ("one", "other"))
        assert (pair["distance"], one // 2) == (1, other // 2)
        assert pair["one"]["split"] == place[one] != pair["other"]["split"] == place[other]
    ends = together["split"].to_numpy()
    assert (ends[::2] == ends[1::2]).all()
    assert set(proved["pictures"].values()) == {0}
    assert proved["proved"] == {"pictures_in_one_split": 200, "groups_in_one_split": 0}


def test_column_refuses_to_tear_near_duplicates_that_are_to_stay_together(tmp_path):
    own = [("train", "val", "test")[i % 3] for i in range(30)]
    table = images(30, split=own, label=["cat" if i < 15 else "dog" for i in range(30)])
    hashes = hashes_of(table["digest"])
    hashes[6] = hashes[4] ^ 1

    with pytest.raises(InputError, match=r"0004.png in val and 0006.png in train are joined by"):
        splits_of(tmp_path, table, COLUMN.model_copy(update=TOGETHER), hashes)


def spoilt(tmp_path, **changes: object) -> Path:
    """Splits of 30 images, in which row 4 was changed behind the stage's back."""
    own = [("train", "val", "test")[i % 3] for i in range(30)]
    table = images(30, split=own, fold=["" if place == "test" else "1" for place in own])
    for column, value in changes.items():
        table.loc[4, column] = value
    write_table(tmp_path / "s.csv", table)
    return tmp_path / "s.csv"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"digest": "digest-3"},
            r"digest 'digest-3' stands in split 'train' \(0003.png\) and in split 'val'",
        ),
        ({"digest": "digest-1", "fold": "2"}, "digest 'digest-1' stands in fold '1'"),
        ({"split": "Test"}, "0004.png stands in 'Test', which is no split"),
    ],
)
def test_the_gate_reads_what_was_written(tmp_path, changes, match):
    assert len(prove(spoilt(tmp_path), M, 30, folds=True)) == 30

    with pytest.raises(InputError, match=f"leakage gate of split failed: {match}"):
        prove(spoilt(tmp_path, **changes), M, 30, folds=True)
    write_table(tmp_path / "none.csv", images(30, split="train"))
    with pytest.raises(InputError, match="has no column fold"):
        prove(tmp_path / "none.csv", M, 30, folds=True)
    with pytest.raises(InputError, match="gate of split failed: 30 rows were written of 31"):
        prove(spoilt(tmp_path), M, 31, folds=True)


def test_the_gate_knows_groups(tmp_path):
    file = spoilt(tmp_path)
    table = read_manifest(file).assign(group=["g" if i in {5, 6} else "" for i in range(30)])
    write_table(file, table)

    with pytest.raises(InputError, match="gate of split failed: group 'g' stands in split 'test'"):
        prove(file, M, 30, folds=True)


@pytest.mark.parametrize("faulty", ["unit_of_row", "near_components"])
def test_a_failing_gate_fails_the_stage_and_leaves_no_splits(tmp_path, monkeypatch, faulty):
    """Units that forget copies, and a search that finds nothing."""
    alone = {
        "unit_of_row": lambda rows, *_: np.arange(len(rows)),
        "near_components": lambda rows, _: (np.arange(len(rows)), 0),
    }
    monkeypatch.setattr(split, faulty, alone[faulty])
    table = images(200)
    hashes = [i // 2 * 0x9E3779B97F4A7C15 % 2**64 for i in range(200)]
    if faulty == "unit_of_row":
        table["digest"] = [f"digest-{i % 100}" for i in range(200)]
        table["label"] = ["cat" if i % 100 < 50 else "dog" for i in range(200)]
        table["group"] = [f"g{i}" for i in range(200)]
        hashes = hashes_of(table["digest"])

    with pytest.raises(InputError, match=r"s.csv: the leakage gate of split failed: "):
        splits_of(tmp_path, table, HASH.model_copy(update=TOGETHER), hashes)

    assert not (tmp_path / "s.csv").exists()
    assert not list(tmp_path.glob("partial.*"))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("digest-7,", "digest-x,", "has no row of digest 'digest-7'"),
        ("digest-8,", "digest-7,", "has two rows of one digest"),
        ("digest-7,", "digest-7,g", "holds 'g.*', which is no perceptual hash"),
        ("perceptual_hash", "hash", "has no column perceptual_hash"),
    ],
)
def test_measures_of_other_images_are_refused(tmp_path, old, new, match):
    splits_of(tmp_path, images(60), HASH)
    file = tmp_path / "measures.csv"
    file.write_text(file.read_text().replace(old, new))

    with pytest.raises(InputError, match=rf"measures.csv: {match}"):
        split.run(
            HASH,
            manifest=tmp_path / "m.csv",
            measures=file,
            splits=tmp_path / "s.csv",
            report=tmp_path / "r.json",
        )

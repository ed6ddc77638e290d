"""The plan of views: owned by each image, changed only where a parameter says so."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.images.contact_sheet import CAPTION, TILE
from pipeline.images.decode import decode
from pipeline.images.streams import Streams, stream_key
from pipeline.images.views import DECIMALS, IDENTITY, View, render
from pipeline.params import load_section
from pipeline.stages import augment
from pipeline.stages.augment import AugmentParams, Chance, Crop, Factor, Rotation, plan_views
from tests.conftest import ROOT

SHIPPED = load_section(ROOT / "params.yaml", "augment", AugmentParams)
PARAMS = SHIPPED.model_copy(update={"quarter_turn": Chance(probability=0.5)})


def item_stream(seed: int, *key: str) -> np.random.Generator:
    """A stream of NumPy's own."""
    digest = hashlib.sha256(stream_key(seed, *key).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def draw(params: AugmentParams, digest: str, number: int) -> View:
    """Draw view `number` of an image: what `plan_views` says of many at once."""
    if number == 0:
        return IDENTITY
    drawn: dict[str, float] = {}

    def happens(name: str, operation: Chance) -> np.random.Generator | None:
        stream = item_stream(params.seed, digest, str(number), name)
        return stream if stream.random() < operation.probability else None

    if happens("horizontal_flip", params.horizontal_flip):
        drawn["horizontal_flip"] = 1
    if happens("vertical_flip", params.vertical_flip):
        drawn["vertical_flip"] = 1
    if stream := happens("quarter_turn", params.quarter_turn):
        drawn["quarter_turns"] = int(stream.integers(1, 4))
    for name in ("rotation", "crop", "brightness", "contrast"):
        operation = getattr(params, name)
        if stream := happens(name, operation):
            drawn[name] = round(float(stream.uniform(*operation.range)), DECIMALS)
            if name == "crop":
                drawn["crop_x"], drawn["crop_y"] = stream.random(2).round(DECIMALS).tolist()
    return View(**drawn)


def images(numbers: range) -> pd.DataFrame:
    digests = [f"digest-{i:04}" for i in numbers]
    splits = [("train", "val", "test")[i % 3] for i in numbers]
    return pd.DataFrame({"digest": digests, "split": splits})


def plan(numbers: range, **changes: object) -> pd.DataFrame:
    return plan_views(images(numbers), PARAMS.model_copy(update=changes))


def test_only_training_images_have_more_than_view_0():
    counts = plan(range(30)).groupby("digest").size()

    for digest, split in images(range(30)).itertuples(index=False):
        assert counts[digest] == (4 if split == "train" else 1)


def test_view_0_is_the_image_itself():
    first = plan(range(30)).query("view == 0").drop(columns=["digest", "view"])

    assert {View(*row) for row in first.itertuples(index=False)} == {IDENTITY}


def test_adding_images_changes_no_view_of_another():
    small, large = plan(range(0, 60, 3)), plan(range(60))

    kept = large[large["digest"].isin(small["digest"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, small)


def test_more_views_leave_the_first_ones_alone():
    few, many = plan(range(30), views=3), plan(range(30), views=6)

    pd.testing.assert_frame_equal(many[many["view"] < 3].reset_index(drop=True), few)


def test_changing_one_operation_changes_no_other():
    before = plan(range(300))
    after = plan(range(300), rotation=Rotation(probability=1.0, range=(1, 2)))

    assert (before["rotation"] != after["rotation"]).any()
    pd.testing.assert_frame_equal(before.drop(columns="rotation"), after.drop(columns="rotation"))


def test_every_operation_keeps_to_its_range_and_its_probability():
    drawn = plan(range(3000), crop=Crop(probability=0.3, range=(0.5, 0.8))).query("view > 0")

    assert drawn["rotation"].abs().max() <= 5
    changed = drawn[drawn["crop"] != 1]
    assert changed["crop"].between(0.5, 0.8).all()
    assert len(changed) / len(drawn) == pytest.approx(0.3, abs=0.03)
    assert set(drawn["quarter_turns"]) == {0, 1, 2, 3}
    assert drawn["horizontal_flip"].mean() == pytest.approx(0.5, abs=0.03)


def test_probability_0_never_happens():
    never = plan(
        range(600),
        brightness=Factor(probability=0.0, range=(0.1, 0.2)),
        crop=Crop(probability=0.0, range=(0.5, 0.8)),
    )

    assert (never["brightness"] == 1).all()
    assert (never["crop"] == 1).all()
    assert (never[["crop_x", "crop_y"]] == 0).all(axis=None)


def test_the_plan_on_disk_is_what_was_drawn(filled):
    """Numbers are rounded when drawn, so the file loses nothing."""
    assert filled.run("ingest", "split", "augment") == 0
    written = pd.read_csv(filled.folder / "data/views.csv")
    params = load_section(filled.folder / "params.yaml", "augment", AugmentParams)

    for row in written.itertuples(index=False):
        assert View(*row[2:]) == draw(params, row.digest, row.view)


def test_the_contact_sheet_shows_views_side_by_side(filled):
    filled.set("augment", views=5)
    filled.run("ingest", "split", "augment")

    plan = pd.read_csv("data/views.csv").query("view.groupby(digest).transform('size') == 5")
    paths = pd.read_csv("data/manifest.csv").set_index("digest")["path"]
    with Image.open(filled.folder / "reports/contact_sheet.png") as opened:
        sheet = np.asarray(opened.convert("RGB"))
    assert sheet.shape == (8 * (CAPTION + TILE), 5 * TILE, 3)
    for number, row in enumerate(plan.head(8 * 5).itertuples(index=False)):
        top, left = number // 5 * (CAPTION + TILE) + CAPTION, number % 5 * TILE
        tile = sheet[top : top + TILE, left : left + TILE]
        pixels = decode(filled.raw / paths[row.digest])
        np.testing.assert_array_equal(tile, render(pixels, View(*row[2:]), TILE, "bicubic"))


def test_an_image_that_vanished_is_named(filled, refused):
    filled.run("ingest", "split")
    for file in filled.raw.rglob("*.png"):
        file.unlink()

    assert ".png: missing: No such file or directory" in refused("augment")


EXTREME = PARAMS.model_copy(
    update={
        "seed": -3,
        "horizontal_flip": Chance(probability=0.0),
        "vertical_flip": Chance(probability=1.0),
        "crop": Crop(probability=1.0, range=(0.1, 1.0)),
        "contrast": Factor(probability=0.9, range=(0.7, 0.7)),
    }
)


@pytest.mark.parametrize("params", [PARAMS, EXTREME, SHIPPED])
@pytest.mark.parametrize("at_once", [7, 50_000])
def test_views_drawn_together_are_those_drawn_one_by_one(monkeypatch, params, at_once):
    monkeypatch.setattr(augment, "AT_ONCE", at_once)
    table = images(range(300))

    planned = plan_views(table, params)

    alone = [
        {"digest": digest, "view": number, **vars(draw(params, digest, number))}
        for digest, split in table.itertuples(index=False)
        for number in range(params.views if split == "train" else 1)
    ]
    pd.testing.assert_frame_equal(planned, pd.DataFrame(alone), check_exact=True)


def test_every_part_of_a_key_counts():
    keys = [stream_key(1, "a", "2"), stream_key(1, "a2"), stream_key(1, "a"), stream_key(2, "a")]

    assert len(set(Streams(keys).random().tolist())) == 4


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(), min_size=1, max_size=30), st.integers(1, 1000))
def test_streams_give_the_numbers_of_numpy(names, bound):
    """Whatever the key, and for as long as they are asked."""
    together, to_turn = (Streams(stream_key(1, name) for name in names) for _ in range(2))
    alone = [item_stream(1, name) for name in names]

    for _ in range(3):
        assert together.random().tolist() == [stream.random() for stream in alone]
    few = together.where(np.arange(len(names)) % 2 == 1)
    assert few.random().tolist() == [stream.random() for stream in alone[1::2]]
    turns = [int(item_stream(1, name).integers(0, bound)) for name in names]
    assert to_turn.below(bound).tolist() == turns


@pytest.mark.parametrize("bound", [3 * 2**30, 2**31 + 1])
def test_refused_numbers_are_drawn_again(bound):
    """With so large a bound a quarter or half of the first numbers are refused."""
    names = [str(number) for number in range(200)]

    turns = Streams(stream_key(1, name) for name in names).below(bound)

    assert turns.tolist() == [int(item_stream(1, name).integers(0, bound)) for name in names]

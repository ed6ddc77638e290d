"""Each view is computed once; what is known, from where and in which order changes nothing."""

from __future__ import annotations

import hashlib
import os
import platform
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from pipeline.backbones.catalog import BackboneParams
from pipeline.engines import ExtractParams, Precision
from pipeline.errors import InputError
from pipeline.frozen import rows as rows_module
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.frozen.rows import row_keys
from pipeline.images.pictures import read_plan
from pipeline.images.views import View, render
from pipeline.model_file import load_model
from pipeline.store import access
from pipeline.store.database import NAME, connect, kinds
from tests.conftest import DATA, ROOT, needs_bfloat16, picture

FEATURES = Path("data/features/features.npy")
PREDICTIONS = Path("data/cached_predictions.csv")
BACKBONE = BackboneParams(
    name="EfficientNetLite0", weights="none", image_size=32, resize="bicubic"
)

EXTRACT = ExtractParams(engine="openvino", precision="float32", storage="float32")
VGG = BackboneParams(name="VGG16", weights="none", image_size=32, resize="bicubic")


@pytest.fixture
def counted(project, capsys, keras):
    """Run stages; give (views from the store, views computed) of the last one that counted."""

    def run(*stages: str) -> tuple[int, int]:
        capsys.readouterr()
        assert project.run(*stages) == 0
        said = re.findall(r"(\d+) views from the store, (\d+) computed", capsys.readouterr().err)
        return int(said[-1][0]), int(said[-1][1])

    return run


def grow(project, count: int = 3) -> None:
    for n in range(count):
        picture(500 + n, brightness=20).save(project.raw / "dark" / f"new {n}.png")


def test_a_view_is_computed_once(trained, counted):
    before = FEATURES.read_bytes()

    views, computed = counted("extract")

    assert (views, computed) == (len(np.load(FEATURES)), 0)
    assert FEATURES.read_bytes() == before
    assert counted("fine_tune") == (views, 0)


def test_only_new_images_are_computed(filled, counted):
    filled.set("split", strategy="hash")
    stored, first = counted(*DATA, "extract")
    grow(filled)

    stored, computed = counted(*DATA, "extract")

    assert stored == first
    assert 3 <= computed <= 3 * filled.document["augment"]["views"]


def test_only_views_that_a_parameter_touches_are_computed(trained, counted):
    before = read_plan(Path("data/views.csv"))
    trained.set("augment", vertical_flip={"probability": 0.9})

    stored, computed = counted("augment", "extract")

    changed = (read_plan(Path("data/views.csv")) != before).any(axis=1).sum()
    assert changed > 0
    assert (stored, computed) == (len(before) - changed, changed)


@pytest.mark.parametrize("known", ["off", "half", "damaged"])
def test_what_the_store_holds_changes_no_byte(trained, counted, monkeypatch, known):
    files = FEATURES, PREDICTIONS, Path("models/model.keras")
    before = [file.read_bytes() for file in files]
    if known == "off":
        monkeypatch.setenv("PIPELINE_STORE", "off")
    else:
        change = {
            "half": "DELETE FROM entries WHERE hex(key) < '8'",
            "damaged": "UPDATE bytes SET value = zeroblob(length(value)) WHERE id % 3",
        }
        database = connect(trained.folder / "store" / NAME, writable=True)
        database.execute(change[known])
        database.commit()
        database.close()

    stored, computed = counted("extract")
    assert computed > 0
    assert (stored > 0) == (known != "off")
    assert trained.run("fine_tune") == 0

    assert [file.read_bytes() for file in files] == before


def test_a_view_that_is_drawn_again_is_not_computed_again(filled, counted, monkeypatch):
    """With flips alone a picture has two views, however many are drawn."""
    for name in ("rotation", "crop", "brightness", "contrast", "vertical_flip"):
        filled.document["augment"][name]["probability"] = 0.0
    filled.set("augment", views=6)
    ran: list[int] = []
    compile_ = FrozenNetwork.compile

    def counting(network, **options):
        run = compile_(network, **options)

        def count(pictures):
            for outputs in run(pictures):
                ran.append(1)
                yield outputs

        return count

    monkeypatch.setattr(FrozenNetwork, "compile", counting)
    _, views = counted(*DATA, "extract")
    plan = pd.read_csv("data/views.csv")
    distinct = len(plan.drop(columns="view").drop_duplicates())
    assert (views, len(ran)) == (len(plan), distinct)
    assert distinct < views
    features = np.load(FEATURES)
    for rows in plan.groupby([*plan.columns.drop("view")]).indices.values():
        assert (features[rows] == features[rows[0]]).all()


def test_another_cut_is_one_pass_and_another_head_none(trained, counted):
    views, _ = counted("extract")
    trained.set("train_head", hidden=[4])
    assert counted("train_head", "fine_tune") == (views, 0)

    trained.set("fine_tune", layers=4)

    assert counted("extract") == (0, views)
    assert counted("fine_tune") == (views, 0)


def test_beyond_the_budget_the_frozen_layers_run_online_to_the_same_model(trained, capsys):
    """With OpenVINO to the bit."""
    before = PREDICTIONS.read_bytes(), Path("reports/fine_tune.csv").read_bytes()
    weights = load_model(Path("models/model.keras"))[0].get_weights()
    trained.set("fine_tune", activation_budget_gb=0.00001)

    assert trained.run("fine_tune") == 0

    said = capsys.readouterr().err
    assert re.search(
        r"activations of [1-9]\S* kB are more than fine_tune.activation_budget_gb", said
    )
    assert (PREDICTIONS.read_bytes(), Path("reports/fine_tune.csv").read_bytes()) == before
    for now, then in zip(
        load_model(Path("models/model.keras"))[0].get_weights(), weights, strict=True
    ):
        np.testing.assert_array_equal(now, then)
    assert not list(Path("models").glob("partial*"))


def test_fine_tuning_moves_what_it_is_fed(trained):
    """Or the tests above could not tell right activations from wrong ones."""
    log = pd.read_csv("reports/fine_tune.csv")

    assert log["val_loss"].nunique() == len(log) == 3
    assert np.ptp(pd.read_csv(PREDICTIONS)["probability_dark"]) > 0.01


def test_without_a_store_nothing_is_said_of_its_limit(filled, capsys, monkeypatch):
    monkeypatch.setenv("PIPELINE_STORE", "off")
    monkeypatch.setenv("PIPELINE_STORE_GB", "0.00001")

    assert filled.run(*DATA, "extract") == 0

    assert "PIPELINE_STORE_GB" not in capsys.readouterr().err


def test_beyond_the_budget_no_activations_are_stored(filled, counted):
    filled.set("fine_tune", activation_budget_gb=0.0)
    counted(*DATA, "extract")

    database = connect(filled.folder / "store" / NAME, writable=False)
    names = [name for (name,) in database.execute("SELECT name FROM kinds") if " px " in name]
    assert names == ["EfficientNetLite0 32 px features (openvino in float32, float32)"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", get_args(Precision))
def test_activations_that_the_store_cannot_hold_push_no_features_out(
    filled, capsys, monkeypatch, precision, request
):
    if precision == "bfloat16":
        request.getfixturevalue("bfloat16")
    filled.set("extract", precision=precision)
    monkeypatch.setenv("PIPELINE_STORE_GB", "0.0015")
    filled.set("augment", views=6)
    filled.set("backbone", image_size=128)

    for stages in ([*DATA, "extract"], ["train_head", "fine_tune"]):
        assert filled.run(*stages) == 0
        said = capsys.readouterr().err
        what = r"store: \S+ MB of features and activations are more than the 1.4 MB"
        assert re.search(rf"{what} that PIPELINE_STORE_GB lets it hold; activations", said)
        database = connect(filled.folder / "store" / NAME, writable=False)
        kept = [
            (kind.name.split()[3], kind.entries)
            for kind in kinds(database)
            if " px " in kind.name  # and not of `ingest`
        ]
        database.close()
        assert {part for part, _ in kept} == {"features"}
        rows = len(np.unique(np.load(FEATURES), axis=0))
        assert sum(entries for _, entries in kept) == rows


@needs_bfloat16
def test_in_bfloat16_only_what_is_learnt_from_is_computed_otherwise(trained, counted):
    """So the shipped model, which is judged in float32, agrees with the cached path."""
    whole, index = np.load(FEATURES), pd.read_csv("data/features/index.csv")
    splits = pd.read_csv("data/splits.csv").drop_duplicates("digest").set_index("digest")
    learnt = (splits.loc[index["digest"], "split"] == "train").to_numpy()
    trained.set("extract", precision="bfloat16")
    trained.set("fine_tune", precision="bfloat16")

    assert trained.run("extract", "train_head", "fine_tune", "evaluate") == 0

    other = np.load(FEATURES)
    np.testing.assert_array_equal(other[~learnt], whole[~learnt])
    assert (other[learnt] != whole[learnt]).any(axis=1).all()
    np.testing.assert_allclose(other, whole, atol=0.1 * whole.max())
    assert counted("extract") == ((~learnt).sum(), 0)  # said last, of float32


@needs_bfloat16
def test_in_bfloat16_too_the_frozen_layers_run_online_to_the_same_model(trained):
    trained.set("extract", precision="bfloat16")
    assert trained.run("extract", "train_head", "fine_tune") == 0
    before = PREDICTIONS.read_bytes(), Path("reports/fine_tune.csv").read_bytes()
    trained.set("fine_tune", activation_budget_gb=0.0)

    assert trained.run("fine_tune") == 0

    assert (PREDICTIONS.read_bytes(), Path("reports/fine_tune.csv").read_bytes()) == before


@pytest.mark.parametrize("section", ["extract", "fine_tune"])
def test_bfloat16_is_refused_where_the_processor_lacks_it(trained, refused, monkeypatch, section):
    """As a processor of before it tells OpenVINO."""
    monkeypatch.setattr("openvino.Core.get_property", lambda *_: ["FP32", "INT8"])
    monkeypatch.setenv("PIPELINE_STORE", "off")
    trained.set(section, precision="bfloat16")

    said = refused(section)

    assert (
        f"{section}.precision is bfloat16, which the processor of {platform.node()} cannot" in said
    )
    assert f"set {section}.precision to float32" in said


@pytest.mark.slow
def test_half_precision_halves_the_store_and_stays_close(trained):
    whole = np.load(FEATURES)
    trained.set("extract", storage="float16")

    # evaluate's bound on the disagreement with the shipped model holds
    assert trained.run("extract", "train_head", "fine_tune", "evaluate") == 0

    half = np.load(FEATURES)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, whole.astype(np.float16))


def test_a_value_too_large_for_half_precision_is_an_error(filled, counted, refused, keras):
    filled.set("backbone", name="VGG16", weights="none")
    filled.set("fine_tune", layers=4)
    vgg = FrozenNetwork(FrozenSpec(VGG, EXTRACT, 4)).backbone.network
    last = vgg.layers[-2]
    kernel, bias = last.get_weights()
    last.set_weights([kernel, np.full_like(bias, 1e5)])
    vgg.save_weights(filled.folder / "huge.weights.h5")
    filled.set("backbone", weights="huge.weights.h5")
    filled.set("extract", storage="float16")

    said = refused(*DATA, "extract")

    assert re.search(r"extract.storage float16 cannot hold \w+ of 100\d\d\d", said)
    assert "set extract.storage to float32" in said


def changed(what: str) -> FrozenSpec:
    """The spec of these tests with one thing changed."""
    backbone, extract, layers = BACKBONE, EXTRACT, 4
    if what in {"engine", "precision", "storage"}:
        other = {"engine": "tensorflow", "precision": "bfloat16", "storage": "float16"}
        extract = extract.model_copy(update={what: other[what]})
    elif what == "layers":
        layers = 10
    elif what:
        other = {"name": "MobileNetV2", "image_size": 64, "resize": "box", "weights": "imagenet"}
        backbone = backbone.model_copy(update={what: other[what]})
    return FrozenSpec(backbone, extract, layers)


@pytest.fixture(scope="module")
def network(keras) -> FrozenNetwork:
    """That of these tests."""
    return FrozenNetwork(changed(""))


@pytest.mark.parametrize(
    "what", ["engine", "precision", "storage", "layers", "name", "image_size", "resize", "weights"]
)
def test_whatever_changes_a_row_changes_its_key(trained, network, what):
    plan = read_plan(Path("data/views.csv"))
    same = row_keys(network, plan, "features")

    assert not set(row_keys(FrozenNetwork(changed(what)), plan, "features")) & set(same)


def test_another_part_or_view_has_another_key_and_the_same_network_the_same(trained, network):
    plan = read_plan(Path("data/views.csv"))
    same = row_keys(network, plan, "features")

    assert row_keys(FrozenNetwork(changed("")), plan, "features") == same
    assert not set(row_keys(network, plan, "activations")) & set(same)
    turned = row_keys(network, plan.assign(rotation=0.000001), "features")
    assert not set(turned) & set(same)


def test_another_process_builds_the_same_network_from_what_it_is_sent(keras):
    """Though Keras has numbered other layers there before."""
    params = BackboneParams(
        name="MobileNetV3Small", weights="none", image_size=32, resize="bicubic"
    )
    keras.backend.clear_session()
    named = FrozenNetwork(FrozenSpec(params, EXTRACT, "re_lu_5"))

    another = FrozenNetwork(named.portable)

    assert "re_lu_5" not in {layer.name for layer in another.backbone.network.layers}
    assert another.first == named.first
    assert another.digest() == named.digest()


def test_a_backbone_that_the_engine_cannot_run_is_an_error(keras):
    network = FrozenNetwork(FrozenSpec(BACKBONE, EXTRACT, 10))
    network.pooled = keras.ops.erfinv(network.pooled)

    with pytest.raises(InputError, match=r"EfficientNetLite0 cannot be run by openvino: "):
        network.compile()


def test_a_temporary_folder_that_takes_nothing_is_not_the_engines_fault(
    keras, monkeypatch, tmp_path
):
    network = FrozenNetwork(FrozenSpec(BACKBONE, EXTRACT, 10))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with pytest.raises(OSError, match="gone"):
        network.compile()


@pytest.mark.parametrize(
    ("resize", "digest"), [("bicubic", "62aa6361e63d8bf2"), ("lanczos", "3091237adc9da7f7")]
)
def test_the_store_means_pictures_rendered_like_this(resize, digest):
    """When this fails, raise `MEANING`: rows of the same key are of other pictures now."""
    y, x = np.mgrid[:50, :70]
    pixels = np.stack([x * 3 + y, x + y * 5, x * y], axis=-1).astype(np.uint8)
    view = View(1, 1, 3, 0.8, 0.3, 0.7, 11.5, 1.2, 0.9)

    shown = render(pixels, view, 24, resize)

    assert hashlib.sha256(shown.tobytes()).hexdigest()[:16] == digest


def command(stage: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", stage]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def entries_in(store: Path) -> int:
    try:
        database = connect(store, writable=True)
    except sqlite3.Error:
        return 0
    count = int(database.execute("SELECT count(*) FROM entries").fetchone()[0])
    database.close()
    return count


def killed_at_random(stage: str, kills: int, seed: int) -> list[int]:
    """Kill the stage at random moments, half of them after it kept more; count what was kept."""
    moments = random.Random(seed)  # noqa: S311
    store = Path(os.environ["PIPELINE_STORE"]) / NAME
    kept: list[int] = []
    for number in range(kills):
        known = entries_in(store)
        with subprocess.Popen(command(stage), env=environment(), stderr=subprocess.DEVNULL) as run:
            deadline = time.monotonic() + 180
            while number % 2 == 0 and run.poll() is None and time.monotonic() < deadline:
                if entries_in(store) > known:
                    break
                time.sleep(0.05)
            time.sleep(moments.uniform(0, 0.5 if number % 2 == 0 else 6))
            run.send_signal(signal.SIGKILL)
        kept.append(entries_in(store))
    return kept


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_where_it_was(filled, counted, monkeypatch, kills):
    """So many times in either stage; the bytes are those of an undisturbed run."""
    filled.set("backbone", image_size=160)
    filled.set("augment", views=24)
    _, views = counted(*DATA, "extract")
    assert filled.run("train_head", "fine_tune") == 0
    before = FEATURES.read_bytes(), PREDICTIONS.read_bytes()
    monkeypatch.setenv("PIPELINE_STORE", str(filled.folder / "afresh"))

    kept = killed_at_random("extract", kills, seed=1)
    stored, computed = counted("extract")
    assert FEATURES.read_bytes() == before[0]
    assert stored + computed == views
    assert 0 < kept[0] <= kept[-1]
    assert kept == sorted(kept)
    assert stored >= kept[-1] // 2  # a view's features and activations

    monkeypatch.setenv("PIPELINE_STORE", str(filled.folder / "and again"))
    kept = killed_at_random("fine_tune", kills, seed=2)
    stored, computed = counted("fine_tune")
    assert PREDICTIONS.read_bytes() == before[1]
    assert stored >= kept[-1] > 0
    assert stored + computed == views
    assert not list(filled.folder.rglob("partial.*"))


def test_what_is_computed_reaches_the_store_within_seconds(filled, monkeypatch):
    """Or a killed run would lose more."""
    assert filled.run(*DATA) == 0
    ready, store = rows_module._ready, Path(os.environ["PIPELINE_STORE"]) / NAME
    before, seen = entries_in(store), []

    def watching(network, parts):
        run = ready(network, parts)

        def watched(wanted):
            for number, row in enumerate(run(wanted)):
                if number < 8:
                    seen.append(entries_in(store) - before)
                yield row

        return watched

    assert rows_module.KEEP_EVERY_S <= 1
    monkeypatch.setattr(rows_module, "KEEP_EVERY_S", 0.0)
    monkeypatch.setattr(rows_module, "_ready", watching)

    assert filled.run("extract") == 0

    assert seen[7] >= 12  # features and activations of six views: what waits is one write


@pytest.mark.parametrize("budget", [20.0, 0.0])
def test_the_store_leaves_fine_tuning_its_room(filled, monkeypatch, capsys, budget):
    """Or it would cost the run the fast path: activations must lie on the disk a second time."""
    filled.set("fine_tune", activation_budget_gb=budget)
    assert filled.run(*DATA) == 0
    room = shutil.disk_usage("/")._replace(free=access.LEFT_FREE + 1000)  # activations take more
    monkeypatch.setattr(access.shutil, "disk_usage", lambda _: room)

    assert filled.run("extract") == 0

    said = "its disk has no room for activations twice, as fine_tune needs"
    assert (said in capsys.readouterr().err) == (budget > 0)
    with closing(connect(Path(os.environ["PIPELINE_STORE"]) / NAME, writable=True)) as database:
        names = " ".join(kind.name for kind in kinds(database))
    assert ("features" in names, "activations" in names) == (True, False)


def test_two_runs_at_once_share_the_store(filled, counted):
    assert filled.run(*DATA) == 0
    runs = [subprocess.Popen(command("extract"), env=environment()) for _ in range(2)]

    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    stored, computed = counted("extract")
    assert (stored > 0, computed) == (True, 0)


def test_rows_are_named_in_the_order_of_the_plan(trained):
    """What `extract` writes beside its rows."""
    index = pd.read_csv("data/features/index.csv")
    plan = read_plan(Path("data/views.csv"))

    pd.testing.assert_frame_equal(index.astype(str), plan[["digest", "view"]].astype(str))

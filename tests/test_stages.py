"""From images to an evaluated model, in this process, with real networks at small size."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline.__main__ import main
from pipeline.backbones.catalog import BackboneParams
from pipeline.backbones.load import load_backbone
from pipeline.errors import InputError
from pipeline.features import read_features, read_made_with
from pipeline.images.decode import decode
from pipeline.images.views import IDENTITY, render
from pipeline.model_file import load_model, read_card
from pipeline.provenance import read_provenance, write_provenance
from pipeline.scoring.curves import precision_recall, roc
from pipeline.stages import fine_tune, train_head
from pipeline.stages.evaluate import write_curves
from pipeline.tensorflow_start import within_memory
from pipeline.training.learning import make_deterministic
from tests.conftest import DATA, LEARN, ROOT, fill_class_folders, picture


def metrics(project) -> dict[str, dict[str, float]]:
    return json.loads((project.folder / "reports/metrics.json").read_text())


def random_weights(project, name: str) -> str:
    """Point params.yaml at a file of random weights for 32 pixels; return their digest.

    BatchNorm knows its inputs: else most families' outputs are the same for any picture.
    """
    params = BackboneParams(name=name, weights="none", image_size=32, resize="bicubic")
    source = load_backbone(params)
    for layer in source.network.layers:
        if hasattr(layer, "moving_variance"):
            layer.momentum = 0.0
    source.network.trainable = True  # or BatchNorm would keep to itself
    noise = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype(np.float32)
    source.from_pixels([source.pooled()])(noise, training=True)
    source.network.save_weights(project.folder / "own.weights.h5")
    project.set("backbone", name=name, weights="own.weights.h5", image_size=32)
    return source.weights_digest


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV2",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("VGG16", "EfficientNetB0", "ConvNeXtTiny")
        ),
    ],
)
def test_a_keras_application_runs_end_to_end_from_a_weights_file(filled, keras, name):
    digest = random_weights(filled, name)
    filled.set("fine_tune", layers=4)

    assert filled.run(*DATA, *LEARN) == 0

    made_with = read_made_with(filled.folder / "data/features")
    assert made_with["weights_digest"] == digest
    model = keras.saving.load_model(filled.folder / "models/model.keras", safe_mode=True)
    predictions = pd.read_csv("reports/predictions.csv")
    shown = [render(decode(filled.raw / p), IDENTITY, 32, "bicubic") for p in predictions["path"]]
    answers = predictions[["probability_dark", "probability_light"]]
    assert np.ptp(answers["probability_dark"]) > 0.01
    np.testing.assert_allclose(answers, model.predict(np.stack(shown), verbose=0), atol=1e-4)


def test_a_run_learns_what_can_be_learnt(filled, keras, capsys):
    """Dark pictures from light ones: each row of features is its own image's."""
    filled.set("train_head", hidden=[], epochs=100, learning_rate=0.01)

    assert filled.run(*DATA, *LEARN) == 0

    scores = metrics(filled)
    assert scores["head"]["accuracy"] == scores["fine_tuned"]["accuracy"] == 1
    assert scores["head"]["log_loss"] < 0.5
    capsys.readouterr()
    assert main(["summary"]) == 0
    assert "Ships the fine-tuned model; " in capsys.readouterr().out


def test_curves_are_those_of_the_rarer_class(tmp_path):
    labels = pd.Series(["cat"] * 8 + ["dog"] * 2)
    random = np.random.default_rng(0)
    of_dog = random.random(10)

    write_curves(tmp_path, "x", labels, ["cat", "dog"], np.column_stack([1 - of_dog, of_dog]))

    expected = roc((labels == "dog").to_numpy(float), of_dog)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "roc_x.csv"), expected)
    trade = pd.read_csv(tmp_path / "precision_recall_x.csv")
    pd.testing.assert_frame_equal(trade, precision_recall((labels == "dog") * 1.0, of_dog))


def test_curves_of_each_model_are_its_own(trained):
    for curve in ("roc", "precision_recall", "calibration"):
        head, tuned = (
            (trained.folder / f"reports/plots/{curve}_{name}.csv").read_bytes()
            for name in ("head", "fine_tuned")
        )
        assert head != tuned
    answers = pd.read_csv(trained.folder / "reports/predictions.csv")
    rarer = answers["label"].value_counts().sort_index().idxmin()
    expected = roc((answers["label"] == rarer).to_numpy(float), answers[f"probability_{rarer}"])
    tuned = pd.read_csv(trained.folder / "reports/plots/roc_fine_tuned.csv")
    pd.testing.assert_frame_equal(tuned, expected)


def test_columns_of_many_values_get_no_figures(trained):
    file = trained.folder / "data/splits.csv"
    table = pd.read_csv(file, keep_default_na=False)
    table["site"], table["serial"] = ["n", "s"] * (len(table) // 2), range(len(table))
    table.to_csv(file, index=False)
    trained.set("evaluate", max_slices=2)

    assert trained.run("evaluate") == 0

    found = json.loads((trained.folder / "reports/metrics.json").read_text())["fine_tuned"]
    assert {"accuracy_site=n", "accuracy_site=s"} <= found.keys()
    assert not [name for name in found if "serial" in name]


@pytest.mark.slow
def test_the_lectures_recipe_is_one_params_file(filled, keras):
    """As shipped, but for random weights from a file, a smaller input and fewer epochs."""
    recipe = YAML(typ="safe").load((ROOT / "examples/lecture.yaml").read_text())
    assert recipe.keys() == filled.document.keys()
    filled.document = recipe
    digest = random_weights(filled, recipe["backbone"]["name"])
    filled.set("split", strategy="stratified")
    filled.set("train_head", epochs=2)
    filled.set("fine_tune", epochs=1)

    assert filled.run(*DATA, *LEARN) == 0

    card = read_card(filled.folder / "models/model.keras")
    head, tuning = card.params["train_head"], card.params["fine_tune"]
    assert card.weights_digest == digest
    assert (card.params["backbone"]["name"], head["hidden"]) == ("ResNet50", [1024])
    assert (head["loss"], head["optimizer"]) == ("binary_crossentropy", "rmsprop")
    assert (tuning["layers"], tuning["optimizer"]) == (4, "rmsprop")


def test_the_whole_run_leaves_what_the_readme_names(trained):
    scores = metrics(trained)
    assert set(scores) == {"head", "fine_tuned"}
    for figures in scores.values():
        assert all(isinstance(value, float) for value in figures.values())
        assert {"accuracy", "accuracy_low", "accuracy_high", "recall_dark"} <= set(figures)
    predictions = pd.read_csv(trained.folder / "reports/predictions.csv")
    test = pd.read_csv(trained.folder / "data/splits.csv").query("split == 'test'")
    assert set(predictions["digest"]) == set(test["digest"])
    assert list(predictions.columns) == [
        "digest", "path", "label", "predicted", "probability_dark", "probability_light",
    ]  # fmt: skip
    hits = (predictions["label"] == predictions["predicted"]).mean()
    assert scores["fine_tuned"]["accuracy"] == pytest.approx(hits, abs=1e-6)
    curves = {file.name for file in (trained.folder / "reports/plots").iterdir()}
    assert len(curves) == 6


def test_nothing_partial_is_left(trained):
    assert not list(trained.folder.rglob("partial.*"))


def test_the_model_tells_where_it_came_from(trained):
    model = trained.folder / "models/model.keras"
    record = read_provenance(model, trained.folder / "models/provenance.json")
    card = read_card(model)

    assert record is not None
    assert record["git_revision"] is None  # the temporary folder is no repository
    assert card.classes == ["dark", "light"]
    assert card.params["train_head"]["hidden"] == [8]
    splits = (trained.folder / "data/splits.csv").read_bytes()
    assert card.data_digest == hashlib.sha256(splits).hexdigest()
    model.write_bytes(model.read_bytes() + b"\0")
    assert read_provenance(model, trained.folder / "models/provenance.json") is None


@pytest.mark.parametrize(
    ("file", "clean"), [("dvc.lock", True), ("reports/metrics.json", True), ("params.yaml", False)]
)
def test_a_model_is_of_its_revision_whatever_the_run_itself_wrote(
    tmp_path, monkeypatch, file, clean
):
    """DVC rewrites dvc.lock after each stage before."""
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    Path("reports").mkdir()
    for name in ("dvc.lock", "reports/metrics.json", "params.yaml", "model.keras"):
        Path(name).write_text("before")
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run([*git, *words], check=True)
    Path(file).write_text("after")

    write_provenance(Path("model.keras"), Path("provenance.json"))

    record = read_provenance(Path("model.keras"), Path("provenance.json"))
    assert record is not None
    assert record["git_clean"] is clean


@pytest.mark.parametrize(
    ("stage", "file"),
    [("train_head", "models/head.weights.h5"), ("fine_tune", "models/model.keras")],
)
def test_nothing_is_learnt_that_the_disk_has_no_room_for(
    trained, refused, monkeypatch, stage, file
):
    def begin(*_, **__):
        raise AssertionError("work began")

    usage = shutil.disk_usage(trained.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20_000))
    first = {"train_head": "learn", "fine_tune": "activations"}[stage]
    monkeypatch.setattr(f"pipeline.stages.{stage}.{first}", begin)
    before = (trained.folder / file).read_bytes()

    assert f"No space left on device: '{file}'" in refused(stage)

    assert (trained.folder / file).read_bytes() == before


def outs(project) -> dict[str, bytes]:
    """Every out's bytes; provenance stands beside them and is none."""
    files = (
        f for name in ("data", "models", "reports") for f in (project.folder / name).rglob("*")
    )
    return {
        str(file.relative_to(project.folder)): file.read_bytes()
        for file in files
        if file.is_file() and file.name != "provenance.json"
    }


def test_a_summary_of_another_runs_figures_says_so(trained, capsys):
    """As after `git checkout`, which brings figures and lock of another commit, but no model."""
    files = ("reports/metrics.json", "models/model.keras")
    md5s = {
        file: hashlib.md5((trained.folder / file).read_bytes(), usedforsecurity=False).hexdigest()
        for file in files
    }

    def told(**other: str) -> list[str]:
        outs = [{"path": file, "hash": "md5", "md5": md5} for file, md5 in (md5s | other).items()]
        stages = {"evaluate": {"outs": outs}}
        (trained.folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
        assert main(["summary"]) == 0
        said = capsys.readouterr().err
        return [file for file in files if f"{file} is not of the run that dvc.lock rec" in said]

    assert told() == []
    for file in files:
        assert told(**{file: "0" * 32}) == [file]


def test_training_again_gives_the_same_bytes(trained, keras):
    """In one process Keras counts layer names on, so its counters are set back first."""
    first = outs(trained)
    keras.backend.clear_session()
    assert trained.run(*LEARN) == 0

    assert outs(trained) == first


def test_adding_images_changes_no_row_of_another(trained, keras, monkeypatch):
    """Laws 1 and 2: older images keep their split, their views and their features."""
    trained.set("split", strategy="hash", val=0.3, test=0.3)
    assert trained.run("split", "augment", "extract") == 0
    old = read_features(trained.folder / "data/features")
    splits = pd.read_csv(trained.folder / "data/splits.csv").set_index("digest")["split"]
    for index in range(7):
        picture(500 + index, brightness=150).save(trained.raw / f"light/new{index}.png")

    monkeypatch.setenv("PIPELINE_STORE", "off")  # or older rows would not be computed
    assert trained.run("ingest", "split", "augment", "extract") == 0

    new = read_features(trained.folder / "data/features")
    moved = pd.read_csv(trained.folder / "data/splits.csv").set_index("digest")["split"]
    assert moved[splits.index].equals(splits)
    position = {key: row for row, key in enumerate(new.index.itertuples(index=False, name=None))}
    rows = [position[key] for key in old.index.itertuples(index=False, name=None)]
    np.testing.assert_array_equal(new.array[rows], old.array[np.arange(len(rows))])
    assert len(new.array) > len(old.array)


def test_tensorflow_extracts_what_openvino_extracts(filled, keras):
    filled.run(*DATA)
    filled.run("extract")
    ours = np.load(filled.folder / "data/features/features.npy")
    filled.set("extract", engine="tensorflow")

    assert filled.run("extract") == 0

    theirs = np.load(filled.folder / "data/features/features.npy")
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(ours).max())


def test_a_temporary_folder_that_takes_nothing_is_not_the_models_fault(
    trained, refused, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(trained.folder / "gone"))

    said = refused("evaluate")

    assert str(trained.folder / "gone") in said
    assert "model" not in said


def test_a_shipped_model_that_disagrees_with_the_cached_path_fails(trained, refused):
    """A changed weight inside the file is a skew between training and serving."""
    file = trained.folder / "data/cached_predictions.csv"
    cached = pd.read_csv(file)
    cached.loc[1, "probability_dark"] += 0.006
    cached.to_csv(file, index=False)

    said = refused("evaluate")

    assert "models/model.keras: gives" in said
    assert "off that of the cached path, more than evaluate.max_disagreement 0.005" in said


def test_a_changed_image_is_named(trained, refused, monkeypatch):
    test = pd.read_csv(trained.folder / "data/splits.csv").query("split == 'test'")
    path = test["path"].iloc[0]
    picture(999, brightness=60).save(trained.raw / path)

    assert f"{path}: has changed since ingest read it" in refused("evaluate")
    monkeypatch.setenv("PIPELINE_STORE", "off")  # else the features of its digest are known
    assert f"{path}: has changed since ingest read it" in refused("extract")


def test_features_of_other_weights_are_refused(trained, keras, refused):
    params = BackboneParams(
        name="EfficientNetLite0", weights="none", image_size=32, resize="bicubic"
    )
    load_backbone(params).network.save_weights(trained.folder / "other.weights.h5")
    trained.set("backbone", weights="other.weights.h5")

    assert "was made with another file of backbone.weights" in refused("fine_tune")


@pytest.mark.parametrize(("key", "value"), [("image_size", 64), ("resize", "nearest")])
def test_features_of_other_pictures_are_refused(trained, refused, key, value):
    trained.set("backbone", **{key: value})

    said = refused("fine_tune")

    assert f"data/features: was made with another backbone.{key}" in said
    assert "fix: run `dvc repro --force extract`" in said


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (["train_head", "--weights", "a.h5"], ".weights.h5"),
        (["fine_tune", "--model", "a.h5"], ".keras"),
    ],
)
def test_a_name_that_keras_does_not_write_under_is_refused(project, capsys, words, ending):
    """Before anything is trained, or even read."""
    assert main(words) == 1

    assert f"error: a.h5: does not end in {ending}" in capsys.readouterr().err


def test_a_head_of_another_shape_is_refused(trained, refused):
    trained.set("train_head", hidden=[9])

    assert (
        "head.weights.h5: holds no head of train_head.hidden [9] for 1280 channels and 2 classes\n"
        in refused("fine_tune")
    )


def test_a_model_of_other_classes_is_refused(trained, refused):
    for file in list((trained.raw / "light").iterdir()):
        (trained.raw / "bright").mkdir(exist_ok=True)
        file.rename(trained.raw / "bright" / file.name)
    (trained.raw / "light").rmdir()
    assert trained.run(*DATA) == 0

    assert "knows the classes ['dark', 'light'], the data has ['bright', 'dark']" in refused(
        "evaluate"
    )


def test_missing_inputs_are_named_with_what_makes_them(project, refused):
    for stage, match in {
        "split": "data/manifest.csv: does not exist\n  fix: run `dvc repro`",
        "augment": "data/splits.csv: does not exist",
        "train_head": "data/splits.csv: does not exist",
    }.items():
        assert match in refused(stage)


def test_stages_run_out_of_order_are_refused(trained, refused):
    """By hand: with images that the plan of views does not know, or the other way round."""
    picture(77, brightness=20).save(trained.raw / "dark/new.png")
    trained.run("ingest", "split")
    assert "data/views.csv: has no view of dark/new.png" in refused("extract")

    for name in ("new.png", "000.png"):
        (trained.raw / "dark" / name).unlink()
    trained.run("ingest", "split")
    assert "data/views.csv: holds a view of" in refused("extract")


@pytest.mark.parametrize("name", ["manifest.csv", "splits.csv", "views.csv"])
def test_a_truncated_table_is_refused(trained, refused, name):
    file = trained.folder / "data" / name
    file.write_text(file.read_text()[:-20])
    stage = {"manifest.csv": "split", "splits.csv": "train_head", "views.csv": "extract"}[name]

    assert f"data/{name}: " in refused(stage)


@pytest.mark.parametrize("array", [np.zeros((9, 3), "U3"), np.zeros((9, 0), np.float32)])
def test_features_that_are_no_numbers_are_refused(trained, refused, array):
    np.save(trained.folder / "data/features/features.npy", array)

    assert "data/features: holds no table of features" in refused("train_head")


def test_a_head_that_no_memory_holds_is_refused():
    """The system would refuse the memory, or end the process: TensorFlow says which here."""
    make_deterministic(1)
    import tensorflow as tf

    with (
        pytest.raises(InputError, match=r"needs more memory.*\n.*lower train_head.hidden"),
        within_memory("train_head", "lower train_head.hidden"),
    ):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_a_warm_up_that_never_ends_is_said(filled, capsys):
    filled.set("train_head", epochs=2, warmup_epochs=2)

    assert filled.run(*DATA, "extract", "train_head") == 0

    said = capsys.readouterr().err
    assert "train_head.learning_rate is never reached: 2 epochs warm up, of 2" in said


@pytest.mark.parametrize("section", ["train_head", "fine_tune"])
@pytest.mark.parametrize("key", ["epochs", "warmup_epochs", "batch_size", "learning_rate"])
def test_more_than_anyone_means_is_refused(filled, refused, section, key):
    filled.set(section, **{key: 10**29})

    assert f"{section}.{key}: should be less than or equal to 1000000" in refused(section)


def test_a_value_that_cannot_be_used_is_of_the_params_that_were_given(filled, capsys):
    """Also where only the backbone can tell, which knows no file."""
    assert filled.run(*DATA) == 0
    filled.set("fine_tune", layers=10_000)
    (filled.folder / "params.yaml").rename(filled.folder / "other.yaml")

    assert main(["extract", "--params", "other.yaml"]) == 1

    assert "error: other.yaml: fine_tune.layers is 10000" in capsys.readouterr().err


def test_truncated_features_are_refused(trained, refused):
    file = trained.folder / "data/features/features.npy"
    file.write_bytes(file.read_bytes()[:-100])

    assert "data/features: cannot be read" in refused("train_head")


def test_weights_that_weigh_nothing_up_are_told(trained, capsys):
    """The column may be misspelt, or there may be no table at all."""
    trained.set("train_head", sample_weights=True)

    assert trained.run("train_head") == 0

    assert "sample_weights changes nothing: every image weighs 1" in capsys.readouterr().err


def test_fine_tuning_that_harms_ships_the_head(trained, capsys, keras):
    ruin = {"learning_rate": 1e6, "optimizer": "adam", "warmup_epochs": 0, "ema_momentum": 0.0}
    trained.set("fine_tune", epochs=2, **ruin)

    assert trained.run("fine_tune", "evaluate") == 0

    assert "ships the frozen head" in capsys.readouterr().err
    assert read_card(trained.folder / "models/model.keras").shipped == "head"
    assert main(["summary"]) == 0
    assert "Ships the frozen head; " in capsys.readouterr().out
    scores = metrics(trained)
    assert scores["fine_tuned"]["accuracy"] == scores["head"]["accuracy"]
    assert scores["fine_tuned"]["log_loss"] == pytest.approx(scores["head"]["log_loss"], abs=1e-3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"layers": 1}, "in fine_tune.layers 1 nothing learns; the head alone does"),
        ({"epochs": 0}, "ships the frozen head: there was no epoch"),
    ],
)
def test_fine_tuning_that_can_change_no_layer_says_so(trained, capsys, values, said):
    trained.set("fine_tune", **{"epochs": 1, "warmup_epochs": 0, **values})

    assert trained.run("extract", "train_head", "fine_tune") == 0

    assert said in capsys.readouterr().err


def test_fine_tuning_changes_only_the_layers_that_it_unfreezes(filled, keras):
    filled.set("train_head", hidden=[], epochs=1, learning_rate=1e-5)
    filled.set("fine_tune", layers="block7", epochs=8, learning_rate=1e-3, schedule="constant")
    assert filled.run(*DATA, *LEARN) == 0
    model, card = load_model(filled.folder / "models/model.keras")
    before = load_backbone(
        BackboneParams(
            name="EfficientNetLite0", weights="imagenet", image_size=32, resize="bicubic"
        )
    ).network
    after = next(layer for layer in model.layers if len(getattr(layer, "layers", [])) > 50)

    changed = [
        layer.name
        for layer in before.layers
        for old, new in zip(
            layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True
        )
        if not np.array_equal(old, new)
    ]

    assert card.shipped == "fine_tuned"
    assert changed
    assert all(name.startswith(("block7", "top")) for name in changed)
    statistics = before.get_layer("top_bn").get_weights()[2:]
    for old, new in zip(statistics, after.get_layer("top_bn").get_weights()[2:], strict=True):
        np.testing.assert_array_equal(old, new)  # BatchNorm ran in inference mode


def test_three_classes_and_a_table_with_extra_columns(project, keras):
    fill_class_folders(project.raw)
    shutil.copytree(project.raw / "dark", project.raw / "mid")
    rows = ["path,label,site"]
    for number, label in enumerate(("dark", "light", "mid")):
        for index in range(12):
            picture(100 * number + index, brightness=80 * number).save(
                project.raw / label / f"{index:03}.png"
            )
            rows.append(f"{label}/{index:03}.png,{label},{'north' if index % 2 else 'south'}")
    (project.raw / "labels.csv").write_text("\n".join(rows))
    project.set("split", stratify_columns=["site"], test=0.3, val=0.3)

    assert project.run(*DATA, *LEARN) == 0

    figures = metrics(project)["fine_tuned"]
    assert {"f1_mid", "accuracy_site=north", "images_site=south"} <= set(figures)
    with zipfile.ZipFile(project.folder / "models/model.keras") as archive:
        assert json.loads(archive.read("pipeline.json"))["classes"] == ["dark", "light", "mid"]


def test_folds_focal_loss_and_balanced_draws_go_through_to_the_end(filled, keras, monkeypatch):
    """Fine-tuning draws and loses as the head did; folds are no slice of the test images."""
    for file in sorted((filled.raw / "light").iterdir())[8:]:
        file.unlink()
    filled.set("split", folds=3)
    filled.set("train_head", loss="categorical_focal_crossentropy", sampling="balanced")

    ways: list[tuple[bool, float]] = []
    for module in (train_head, fine_tune):

        def noting(model, params, loss, train, *rest, learn=module.learn, **options):
            each = np.asarray(keras.losses.get(loss)(np.eye(2)[[0]], np.array([[0.6, 0.4]])))
            ways.append((train.balanced, float(each[0])))
            return learn(model, params, loss, train, *rest, **options)

        monkeypatch.setattr(module, "learn", noting)

    assert filled.run(*DATA, *LEARN) == 0

    assert ways == [(True, pytest.approx(0.4**2 * -np.log(0.6), abs=1e-6))] * 2
    validated = json.loads((filled.folder / "reports/cross_validation.json").read_text())
    card = read_card(filled.folder / "models/model.keras")
    assert validated["folds"] == 3
    assert card.params["train_head"]["sampling"] == "balanced"
    head, tuned = (pd.read_csv(f"reports/{name}.csv") for name in ("train_head", "fine_tune"))
    kept = head.loc[head["kept"] == 1, "val_loss"].item()
    assert tuned["val_loss"].iloc[0] == pytest.approx(kept, abs=1e-3)  # balanced alike
    assert not [name for name in metrics(filled)["fine_tuned"] if "fold" in name]

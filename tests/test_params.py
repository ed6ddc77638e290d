"""params.yaml: every fault is named with its key, its value and the nearest right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.predict import limits_of
from pipeline.engines import ExtractParams
from pipeline.errors import InputError
from pipeline.flows.overrides import override
from pipeline.images.decode import Limits
from pipeline.params import load_section
from pipeline.stages.augment import AugmentParams
from pipeline.stages.ingest import IngestParams
from pipeline.stages.split import SplitParams
from pipeline.training.head import HeadParams
from tests.conftest import ROOT

SPLIT = (
    "split: {strategy: hash, seed: 1, val: 0.1, test: 0.1, stratify_columns: [], "
    "time_column: null, time_cuts: [], near_duplicates: ignore, near_distance: 4, "
    "min_per_class: 10, folds: 0}\n"
)


def load_split(tmp_path, text: str) -> SplitParams:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return load_section(file, "split", SplitParams)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("seed", "sede", r"unknown key 'split.sede' \(value 1\).*\n.*did you mean 'seed'\?"),
        ("split:", "splti:", r"unknown section 'splti'\n.*did you mean 'split'\?"),
        ("hash", "hahs", r"split.strategy: .*got 'hahs'\n.*did you mean 'hash'\?"),
        ("val: 0.1", "val: 1.5", r"split.val: should be less than 1, got 1.5"),
        ("val: 0.1", "val: .nan", r"split.val: .*finite number, got nan"),
        ("val: 0.1", "val: 0.95", r"split: val \+ test must be below 1, got 1.05"),
        ("seed: 1", "seed: one", r"split.seed: should be a valid integer, got 'one'"),
        ("seed: 1", "seed: 1.5", r"split.seed: should be a valid integer, got 1.5"),
        ("seed: 1, ", "", r"split.seed is missing\n.*add split.seed"),
        ("split: {", "split: 3 #", r"split: 3 is not a section"),
        ("ignore", "togethr", r"split.near_duplicates: .*\n.*did you mean 'together'\?"),
        ("distance: 4", "distance: 9", r"split.near_distance: .*less than or equal to 8, got 9"),
        ("folds: 0", "folds: 2", r"split: folds must be 0 or at least 3, got 2"),
        ("hash", "time", r"split: strategy time needs time_column"),
        ("cuts: []", "cuts: [[1], 2]", r"split.time_cuts.0: "),
        ("{", "{{", r"is not YAML"),
        ("split: {", "split: {seed: 2, ", r"is not YAML.*duplicate"),
        ("seed: 1", 'seed: !!int ""', r"is not YAML"),
    ],
)
def test_a_fault_is_named_with_the_nearest_right_key_or_value(tmp_path, old, new, match):
    with pytest.raises(InputError, match=match):
        load_split(tmp_path, SPLIT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("cuts", "match"),
    [
        ("[1]", r"split: time_cuts must be two dates or two numbers, got \[1"),
        ("[1, '2024-05-01']", r"two dates or two numbers, got \[1.0, '2024-05-01'\]"),
        ("[2, 2]", r"split: time_cuts must be ISO dates and rise, got \[2"),
        ("[2024-05-01, 2024-06-01]", r"cuts.0: a date must stand in quotes, as '2024-05-01'"),
        ("['2024-05-01', '2024-04-30']", r"must be ISO dates and rise, got \['2024-05-01'"),
        ("[spring, autumn]", r"must be ISO dates and rise, got \['spring', 'autumn'\]"),
        ("[.inf, .nan]", r"split.time_cuts.0: "),
    ],
)
def test_cuts_that_are_no_times_are_refused(tmp_path, cuts, match):
    """A bare date too: DVC takes none among params."""
    timed = SPLIT.replace("hash", "time").replace("column: null", "column: taken")

    good = load_split(
        tmp_path, timed.replace("cuts: []", "cuts: ['2024-05-01', '2024-06-01T12:00']")
    )
    with pytest.raises(InputError, match=match):
        load_split(tmp_path, timed.replace("cuts: []", f"cuts: {cuts}"))

    assert good.time_cuts == ["2024-05-01", "2024-06-01T12:00"]


def test_bfloat16_is_openvinos(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("engine: openvino", "engine: tensorflow")
    (tmp_path / "params.yaml").write_text(
        text.replace("precision: float32", "precision: bfloat16")
    )

    with pytest.raises(InputError, match=r"extract: engine tensorflow computes in .* float32"):
        load_section(tmp_path / "params.yaml", "extract", ExtractParams)


def test_folds_do_not_go_with_time(tmp_path):
    timed = SPLIT.replace("hash", "time").replace("column: null", "column: taken")

    with pytest.raises(InputError, match="split: folds would train on the future"):
        load_split(
            tmp_path, timed.replace("cuts: []", "cuts: [1, 2]").replace("folds: 0", "folds: 5")
        )


def test_every_fault_of_a_section_is_named_at_once(tmp_path):
    text = SPLIT.replace("seed: 1", "seed: x").replace("test: 0.1", "test: 7")

    with pytest.raises(InputError, match=r"split.seed: .*; split.test: ") as caught:
        load_split(tmp_path, text)

    assert "params.yaml" in str(caught.value)


def test_a_nested_fault_is_named_by_its_whole_key(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("range: [-5, 5]", "rnage: [-5, 5]")
    (tmp_path / "params.yaml").write_text(text)

    with pytest.raises(
        InputError, match=r"(?s)augment.rotation.rnage.*did you mean 'range'"
    ) as caught:
        load_section(tmp_path / "params.yaml", "augment", AugmentParams)

    assert "augment.rotation.range is missing" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("range: [-5, 5]", "range: [5, -5]", r"augment.rotation: range must rise, got \[5"),
        ("range: [-5, 5]", "range: [-50, 5]", r"must lie in \[-45, 45\] degrees"),
        ("range: [0.9, 1.0]", "range: [0.9, 1.2]", r"augment.crop: range must lie in \[0.1, 1\]"),
        (
            "range: [0.9, 1.1]",
            "range: [0, 1.1]",
            r"augment.brightness: range must lie in \(0, 4\]",
        ),
        (
            "flip: {probability: 0.5}",
            "flip: {probability: 2}",
            r"horizontal_flip.probability: .*2",
        ),
        ("views: 4", "views: 0", r"augment.views: .*greater than or equal to 1, got 0"),
    ],
)
def test_an_impossible_augmentation_is_refused(tmp_path, old, new, match):
    text = (ROOT / "params.yaml").read_text().replace(old, new, 1)
    (tmp_path / "params.yaml").write_text(text)

    with pytest.raises(InputError, match=match):
        load_section(tmp_path / "params.yaml", "augment", AugmentParams)


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    """PyYAML would read 1e-3 as text."""
    text = (
        (ROOT / "params.yaml").read_text().replace("learning_rate: 0.001", "learning_rate: 1e-3")
    )
    (tmp_path / "params.yaml").write_text(text)

    params = load_section(tmp_path / "params.yaml", "train_head", HeadParams)

    assert params.learning_rate == 0.001


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(InputError, match=r"does not exist\n.*project's folder"):
        load_section(tmp_path / "params.yaml", "split", SplitParams)


def test_predict_keeps_to_ingests_limits_or_to_the_same_without_params(tmp_path, monkeypatch):
    shipped = limits_of(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)

    assert limits_of() == shipped == Limits()

    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("max_pixels: 100000000", "max_pixels: 5"))
    assert limits_of() == Limits(pixels=5)
    (tmp_path / "params.yaml").unlink()
    for named in ("other.yaml", "params.yaml"):  # who names a file means it
        with pytest.raises(InputError, match="does not exist"):
            limits_of(Path(named))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("max_pixels: 100000000", "max_pixels: 0", "ingest.max_pixels: .*got 0"),
        ("max_frames: 1000", "max_frame: 1000", "ingest.max_frame.*did you mean 'max_frames'"),
        ("decode_timeout_s: 60.0", "decode_timeout_s: 0.1", "ingest.decode_timeout_s: .*0.1"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(tmp_path, old, new, match):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace(old, new))

    with pytest.raises(InputError, match=rf"(?s){match}"):
        load_section(tmp_path / "params.yaml", "ingest", IngestParams)


def test_a_key_that_is_no_text_is_none_to_override(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text((ROOT / "params.yaml").read_text() + "1: {x: 2}\n")

    with pytest.raises(InputError, match=r"unknown key '1\.x'"):
        override(file, ["1.x=3"], ["split"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("trainhead.epochs=5", "did you mean 'train_head'"),
        ("TRAIN-HEAD.epochs=5", "did you mean 'train_head'"),
        ("fintune.epochs=5", "did you mean 'fine_tune'"),
        ("train_head.epoch=5", "did you mean 'epochs'"),
        ("=5", "is no assignment"),
    ],
)
def test_a_misspelt_override_names_the_part_that_was_meant(given, meant):
    with pytest.raises(InputError, match=meant):
        override(ROOT / "params.yaml", [given], ["split"])


def test_an_override_keeps_a_link_and_the_ends_of_lines(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    real, linked = tmp_path / "real.yaml", tmp_path / "params.yaml"
    real.write_bytes(text.replace("\n", "\r\n").encode())
    linked.symlink_to(real.name)

    override(linked, ["split.seed=7"], ["split"])

    assert linked.is_symlink()
    wanted = text.replace("  strategy: hash\n  seed: 1", "  strategy: hash\n  seed: 7")
    assert wanted != text
    assert real.read_bytes() == wanted.replace("\n", "\r\n").encode()

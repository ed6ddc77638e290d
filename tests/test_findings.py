"""What is odd is found, once and under its own code; what is not odd is left alone."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from pipeline.console import printable
from pipeline.findings import labels
from pipeline.findings.classes import rare_classes
from pipeline.findings.constant import black, near_constant
from pipeline.findings.copies import exact_duplicates, two_labels
from pipeline.findings.find import find
from pipeline.findings.finding import EXAMPLES, PICTURES, Finding
from pipeline.findings.labels import is_typo, same_group, same_label, similar_labels
from pipeline.findings.near_duplicates import near_duplicates
from pipeline.findings.outliers import FEWEST, blurred, robust_z, too_bright, too_dark
from pipeline.findings.rejected import by_reason
from pipeline.findings.shapes import odd_aspect_ratios, odd_sizes
from pipeline.images import examine
from pipeline.images.decode import Limits, decode, image_of
from pipeline.images.examine import BATCH
from pipeline.images.gray_copy import gray_copy
from pipeline.sources.place import Place

CODES = (
    "two_labels",
    "exact_duplicates",
    "near_duplicates",
    "same_label",
    "similar_labels",
    "same_group",
    "rare_classes",
    "black",
    "near_constant",
    "too_dark",
    "too_bright",
    "blurred",
    "odd_size",
    "odd_aspect_ratio",
)
OF_FOLDERS = tuple(code for code in CODES if code != "same_group")  # which a table has


def scene(seed: int, size: tuple[int, int] = (120, 96), mean: float = 128, spread: float = 40):
    """A picture of (width, height) with its own shapes, of given brightness and contrast."""
    few = np.random.default_rng(seed).normal(size=(12, 15)).astype(np.float32)
    field = np.asarray(Image.fromarray(few).resize(size, Image.Resampling.BICUBIC))
    field = (field - field.mean()) / field.std() * spread + mean
    return Image.fromarray(np.rint(field.clip(0, 255)).astype(np.uint8))


def fill_clean(raw, per_class: int = 16) -> None:
    """Three classes in which nothing is odd."""
    for number, label in enumerate(("lion", "tiger", "zebra")):
        (raw / label).mkdir(parents=True)
        for index in range(per_class):
            scene(100 * number + index).save(raw / label / f"{index:03}.png")


def fill_odd(raw) -> None:
    """The same, and everything that there is a finding for once."""
    fill_clean(raw)
    scene(0).save(raw / "lion/exact copy.bmp")
    scene(1).save(raw / "tiger/lion by mistake.png")
    scene(2).save(raw / "lion/near.jpg", quality=60)
    for folder, seed in (("Lion ", 400), ("tigger", 500)):
        (raw / folder).mkdir()
        for index in range(3):
            scene(seed + index).save(raw / folder / f"{index}.png")
    (raw / "dodo").mkdir()
    scene(600).save(raw / "dodo/only.png")
    Image.new("L", (120, 96), 2).save(raw / "lion/black.png")
    Image.new("RGB", (120, 96), (90, 160, 70)).save(raw / "lion/plain.png")
    scene(700, mean=25, spread=6).save(raw / "lion/dark.png")
    scene(701, mean=225, spread=25).save(raw / "lion/bright.png")
    soft = scene(702).filter(ImageFilter.GaussianBlur(9))
    soft.point(lambda level: (level - 128) * 3 + 128).save(raw / "lion/soft.png")
    scene(703, size=(1200, 960)).save(raw / "lion/large.png")
    scene(704, size=(360, 32)).save(raw / "lion/wide.png")


def findings(project) -> dict[str, dict]:
    report = json.loads((project.folder / "reports/ingest.json").read_text())
    assert [found["code"] for found in report["findings"]] == list(CODES)
    return {found["code"]: found for found in report["findings"]}


def shown(found: dict) -> list[list[str]]:
    return [[p["path"] for p in example["pictures"]] for example in found["examples"]]


def test_in_a_clean_corpus_nothing_is_found(project, capsys):
    fill_clean(project.raw)

    assert project.run("ingest") == 0

    assert {code: found["count"] for code, found in findings(project).items()} == dict.fromkeys(
        CODES, 0
    )
    assert "nothing odd was found" in capsys.readouterr().err


def test_everything_odd_is_found_once_and_named(project, capsys):
    fill_odd(project.raw)

    assert project.run("ingest") == 0

    found = findings(project)
    counts = {code: of_code["count"] for code, of_code in found.items()}
    assert counts == dict.fromkeys(OF_FOLDERS, 1) | {"same_group": 0}
    assert {code: shown(of_code) for code, of_code in found.items()} == {
        "two_labels": [["lion/001.png", "tiger/lion by mistake.png"]],
        "exact_duplicates": [["lion/000.png", "lion/exact copy.bmp"]],
        "near_duplicates": [["lion/002.png", "lion/near.jpg"]],
        "same_label": [["Lion /0.png", "lion/000.png"]],
        "similar_labels": [["tiger/000.png", "tigger/0.png"]],
        "same_group": [],
        "rare_classes": [["dodo/only.png"]],
        "black": [["lion/black.png"]],
        "near_constant": [["lion/plain.png"]],
        "too_dark": [["lion/dark.png"]],
        "too_bright": [["lion/bright.png"]],
        "blurred": [["lion/soft.png"]],
        "odd_size": [["lion/large.png"]],
        "odd_aspect_ratio": [["lion/wide.png"]],
    }
    said = capsys.readouterr().err
    assert all(code in said for code in OF_FOLDERS)


def test_measures_are_one_row_a_digest_ordered_and_the_same_bytes_again(project):
    fill_odd(project.raw)
    names = ("data/measures.csv", "reports/ingest.json")
    assert project.run("ingest") == 0
    first = [(project.folder / name).read_bytes() for name in names]

    (project.folder / "data/measures.csv").unlink()
    assert project.run("ingest") == 0

    table = pd.read_csv(project.folder / "data/measures.csv", dtype={"perceptual_hash": str})
    manifest = pd.read_csv(project.folder / "data/manifest.csv")
    assert [(project.folder / name).read_bytes() for name in names] == first
    assert table["digest"].tolist() == sorted(set(manifest["digest"]))
    assert list(table.columns[:2]) == ["digest", "perceptual_hash"]
    assert table["perceptual_hash"].str.fullmatch("[0-9a-f]{16}").all()


def test_an_image_is_decoded_once_for_digest_and_measures(tmp_path, monkeypatch):
    scene(1).save(tmp_path / "a.png")
    decoded: list[bytes] = []

    def counting(encoded, limits):
        decoded.append(encoded)
        return image_of(encoded, limits)

    monkeypatch.setattr(examine, "image_of", counting)

    seen = examine.examine(Place(tmp_path / "a.png"), Limits())

    assert decoded == [(tmp_path / "a.png").read_bytes()]
    assert np.array_equal(seen.copy, gray_copy(decode(tmp_path / "a.png")))


def test_a_batch_without_a_usable_image_is_passed_over(project):
    fill_clean(project.raw)
    for index in range(2 * BATCH):
        (project.raw / "lion" / f"a{index:03}.png").write_bytes(b"no image")
    project.set("ingest", max_rejected_fraction=0.9)

    assert project.run("ingest") == 0

    assert len(pd.read_csv(project.folder / "data/measures.csv")) == 48


def test_a_column_of_the_user_s_own_may_be_named_like_a_measure(project):
    project.raw.mkdir(parents=True)
    for index in range(4):
        scene(index).save(project.raw / f"{index}.png")
    rows = "".join(f"{i}.png,{'ab'[i % 2]},sunny,x\n" for i in range(4))
    (project.raw / "labels.csv").write_text("path,label,brightness,perceptual_hash\n" + rows)

    assert project.run("ingest") == 0

    assert set(pd.read_csv(project.folder / "data/manifest.csv")["brightness"]) == {"sunny"}
    assert pd.read_csv(project.folder / "data/measures.csv")["brightness"].between(0, 255).all()


def test_names_of_files_are_shown_as_text(project, capsys):
    """No markup, no escape sequences, no line breaks of a name's own."""
    fill_clean(project.raw)
    for name in ("[red]a\x1b[31m\nb.png", "a:smile:\u202egnp.png"):
        (project.raw / "lion" / name).write_bytes(b"")

    assert project.run("ingest") == 0

    said = capsys.readouterr().err
    text = "".join(said.replace("│", "").split())
    assert "[red]a\\x1b[31m\\nb.png" in text
    assert "a:smile:\\u202egnp.png" in text
    assert "\x1b" not in said
    assert "empty_file" in said
    assert printable("é 猫\ud800") == "é 猫\\ud800"


def manifest(*rows: tuple[str, str]) -> pd.DataFrame:
    """(digest, label) each, with paths of their own."""
    table = pd.DataFrame(rows, columns=["digest", "label"])
    names = [f"{i:05}.png" for i in range(len(rows))]
    return table.assign(path=names, group="", width=10, height=10)


def pictures(count: int = 40, **columns: object) -> pd.DataFrame:
    """Pictures in which nothing is odd, but for the columns given."""
    spread = np.linspace(-1, 1, count)
    hashes = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    table = pd.DataFrame(
        {
            "path": [f"{i:05}.png" for i in range(count)],
            "label": "a",
            "group": "",
            "digest": [f"{i:064x}" for i in range(count)],
            "width": 100,
            "height": 80,
            "perceptual_hash": [f"{number:016x}" for number in hashes],
            "brightness": 120 + 9 * spread,
            "contrast": 40.0,
            "sharpness": 500 * np.exp(spread / 2),
        }
    )
    for name, values in columns.items():
        table.loc[: len(values) - 1, name] = values
    return table


def paths(found: Finding) -> list[list[str]]:
    return [[picture.path for picture in example.pictures] for example in found.examples]


def test_copies_under_one_label_and_under_two_are_told_apart():
    table = manifest(("x", "a"), ("x", "a"), ("x", "a"), ("y", "a"), ("y", "b"), ("y", "b"))

    assert exact_duplicates(table).count == 2
    assert paths(exact_duplicates(table)) == [["00000.png", "00001.png", "00002.png"]]
    assert two_labels(table).count == 1
    assert two_labels(table).examples[0].note == "'a', 'b'"
    assert paths(two_labels(table)) == [["00003.png", "00004.png"]]


def test_a_note_names_a_few_labels_and_how_many_more():
    labels = ["a b", "a-b", "a_b", "A B", "a  b", " a b"]

    assert (
        two_labels(manifest(*[("x", label) for label in labels]))
        .examples[0]
        .note.endswith(", 2 more")
    )
    found = same_label(manifest(*[(label, label) for label in labels]))
    assert found.examples[0].note.endswith(", 2 more")
    assert len(found.examples[0].pictures) == PICTURES


def test_examples_are_few_however_much_is_found():
    table = manifest(*[(f"{i % 50}", "a") for i in range(1000)])

    found = exact_duplicates(table)

    assert found.count == 950
    assert len(found.examples) == EXAMPLES
    assert {len(example.pictures) for example in found.examples} == {PICTURES}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "Cat"),
        ("cat", " cat "),
        ("big cat", "big  cat"),
        ("big cat", "big_cat"),
        ("big-cat", "BigCat"),
        ("caf\u00e9", "cafe\u0301"),
        ("cat", "\uff43\uff41\uff54"),
        ("cat", "c\u200bat"),
        ("stra\u00dfe", "STRASSE"),
        ("7", "7.0"),
    ],
)
def test_one_label_spelt_in_two_ways_is_found(one, other):
    found = same_label(manifest(("x", one), ("y", other), ("z", other), ("w", "dog")))

    assert found.count == 1
    assert sorted(picture.label for picture in found.examples[0].pictures) == sorted([one, other])
    assert similar_labels(manifest(("x", one), ("y", other))).count == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "-1"), ("1-2", "12"), ("0", "00"), ("a", "b"), ("c++", "c"), ("+", "-"), ("1.5", "15")],
)
def test_labels_that_differ_are_not_one(one, other):
    table = manifest(("x", one), ("y", other))

    assert same_label(table).count == similar_labels(table).count == 0


@pytest.mark.parametrize(
    ("one", "other", "typo"),
    [
        ("defective", "defectve", True),
        ("defective", "defeective", True),
        ("defective", "defectivw", True),
        ("defective", "defecitve", True),
        ("zebra crossing", "zebra crosing", True),
        ("\u043elive", "olive", True),  # a Cyrillic o
        ("defective", "defctve", False),
        ("cat", "bat", False),
        ("class 1", "class 2", False),
        ("sample10", "sample1", False),
        ("sample1", "sample", False),
        ("grade a", "grade b", False),
        ("functional", "defective", False),
    ],
)
def test_a_typo_is_one_edit_of_a_word(one, other, typo):
    assert is_typo(one, other) == is_typo(other, one) == typo
    assert similar_labels(manifest(("x", one), ("y", other))).count == typo


def test_labels_are_not_compared_each_with_each(monkeypatch):
    """Ten thousand take seconds; their pairs would be fifty million."""
    compared = []
    is_typo = labels.is_typo
    monkeypatch.setattr(labels, "is_typo", lambda *two: compared.append(1) or is_typo(*two))
    random = np.random.default_rng(0)
    words = {"".join(random.choice(list("abcdefghij"), 12)) for _ in range(10_000)}
    one = min(words)
    table = manifest(*[(f"{i}", word) for i, word in enumerate([*sorted(words), one[1:]])])

    assert similar_labels(table).count == 1
    assert 0 < len(compared) < 100_000


@pytest.mark.parametrize(
    "labels",
    [
        [chr(0x4E00 + i) for i in range(7000)],
        [f"character {chr(0x4E00 + i)}" for i in range(7000)],
        [f"letter{chr(0x4E00 + i)}" for i in range(7000)],
        [letter * 200_000 for letter in "ab"],
    ],
    ids=["of one letter", "of one letter after a word", "numbered by a letter", "sentences"],
)
def test_labels_that_are_no_words_cost_nothing(labels):
    """Of 7,000 that differ in one place, comparing each with each would be 24 million."""
    tracemalloc.start()

    found = similar_labels(manifest(*[(f"{i}", label) for i, label in enumerate(labels)]))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.count == 0
    assert peak < 100e6


def test_many_labels_are_compared_in_part_and_that_is_said(monkeypatch):
    monkeypatch.setattr("pipeline.findings.labels.MOST_LABELS", 2)
    table = manifest(("1", "horses"), ("2", "horses"), ("3", "horse"), ("4", "horze"))

    found = similar_labels(table)

    assert found.count == 1
    assert "only the 2 commonest of 3" in found.sentence


def test_a_class_with_less_than_a_tenth_of_the_largest_is_rare():
    many = [(f"{i}", "many") for i in range(101)]
    few = [(f"few {i}", "few") for i in range(10)]

    found = rare_classes(manifest(*many, *few, ("tenth", "ten")))

    assert found.count == 2
    assert [example.note for example in found.examples] == [
        "'ten' has 1, 'many' has 101",
        "'few' has 10, 'many' has 101",
    ]


def test_pictures_that_show_nothing_are_found_once():
    table = pictures(brightness=[0.0, 7.9, 8.0, 255.0], contrast=[0.0, 1.9, 1.9, 0.0])
    found = find(
        table, table[["digest", "perceptual_hash", "brightness", "contrast", "sharpness"]], 4
    )

    counts = {finding.code: finding.count for finding in found if finding.count}

    assert counts == {"black": 2, "near_constant": 2}


def test_pictures_that_show_nothing_are_no_near_duplicates():
    table = pictures(perceptual_hash=["8000000000000000"] * 3, contrast=[0.0, 0.5, 30.0])

    assert near_duplicates(table, 4).count == 0


def test_near_duplicates_are_counted_by_distance():
    table = pictures(perceptual_hash=["00000000ffffffff"] * 2 + ["00000000fffffffc"])

    found = near_duplicates(table, 4)

    assert found.count == 3
    assert "(1 at 0, 2 at 2)" in found.sentence
    assert found.examples[0].note == "0 of 64 bits apart"
    assert paths(found)[0] == ["00000.png", "00001.png"]
    assert near_duplicates(table, 1).count == 1


def test_a_search_cut_short_is_said_to_be(monkeypatch):
    monkeypatch.setattr("pipeline.near.COMPARISONS", 0)
    crowd = [f"{number << 40:016x}" for number in range(2000)]

    found = near_duplicates(pictures(2000, perceptual_hash=crowd), 4)

    assert "there may be more" in found.sentence


def test_groups_that_are_spelt_otherwise_are_found():
    table = pd.DataFrame(
        {"path": list("abcde"), "label": "x", "group": ["P11", "P11 ", "", " ", "P12"]}
    )

    found = same_group(table)

    assert (found.count, paths(found)) == (1, [["a", "b"]])
    assert "splits may tear it" in found.sentence


def test_what_lies_far_off_is_found_worst_first():
    table = pictures(brightness=[9.0, 30.0, 250.0])

    assert paths(too_dark(table)) == [["00000.png"], ["00001.png"]]
    assert paths(too_bright(table)) == [["00002.png"]]
    assert paths(blurred(pictures(sharpness=[0.0, 1.0, 90000.0]))) == [
        ["00000.png"],
        ["00001.png"],
    ]


def test_a_dark_or_bright_picture_is_not_called_blurred():
    table = pictures(brightness=[9.0, 250.0], sharpness=[1.0, 1.0])

    assert blurred(table).count == 0


def test_sizes_and_shapes_are_judged_apart():
    table = pictures(width=[1000, 10, 400, 20], height=[800, 8, 20, 400])

    assert sorted(paths(odd_sizes(table))) == [["00000.png"], ["00001.png"]]
    assert sorted(paths(odd_aspect_ratios(table))) == [["00002.png"], ["00003.png"]]


def test_portraits_among_landscapes_are_not_odd():
    assert odd_aspect_ratios(pictures(width=[80, 80], height=[100, 100])).count == 0


@pytest.mark.parametrize("count", [1, FEWEST - 1])
def test_few_pictures_have_no_outliers(count):
    table = pictures(count, brightness=[2.0], sharpness=[0.0], width=[5000])

    for look in (too_dark, too_bright, blurred, odd_sizes, odd_aspect_ratios):
        assert look(table).count == 0


def test_robust_z_is_that_of_iglewicz_and_hoaglin():
    values = np.concatenate([np.arange(21.0), [1000.0]])

    z = robust_z(values, 0.1)

    assert z[-1] == pytest.approx(0.6745 * (1000 - 10.5) / 5.5)
    assert np.abs(z[:-1]).max() < 1.3
    assert (robust_z(np.ones(30), 0.1) == 0).all()


def found_in(table: pd.DataFrame) -> Sequence[Finding]:
    measures = table.sort_values("digest")
    names = ["digest", "perceptual_hash", "brightness", "contrast", "sharpness"]
    return find(table, measures[names], 4)


def test_findings_do_not_depend_on_the_order_of_rows():
    random = np.random.default_rng(4)
    hashes = [f"{number:016x}" for number in random.integers(0, 2**8, 300)]
    labels = random.choice(["lion", "Lion", "lions", "tiger"], 300).tolist()
    table = pictures(300, perceptual_hash=hashes, brightness=random.normal(128, 9, 300) ** 2 / 128)
    table["label"] = labels
    turned = table.sample(frac=1, random_state=3)

    assert [f.document() for f in found_in(turned)] == [f.document() for f in found_in(table)]


def test_rejected_files_are_summed_up_by_reason_the_commonest_first():
    rows = [(f"{i}.png", "damaged" if i % 3 else "empty_file", "") for i in range(9)]
    table = pd.DataFrame(rows, columns=["path", "reason", "detail"])

    assert [
        tuple(reason) for reason in by_reason(zip(table["path"], table["reason"], strict=True))
    ] == [
        ("damaged", 6, ["1.png", "2.png", "4.png"]),
        ("empty_file", 3, ["0.png", "3.png", "6.png"]),
    ]


def test_black_and_near_constant_share_nothing():
    table = pictures(brightness=[1.0, 100.0], contrast=[0.0, 0.0])

    assert paths(black(table)) == [["00000.png"]]
    assert paths(near_constant(table)) == [["00001.png"]]

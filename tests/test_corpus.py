"""Every odd or bad file is read rightly or rejected with its reason, and none is written to."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import struct
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.errors import InputError, RejectedImage
from pipeline.images import examine
from pipeline.images.decode import Limits, decode_bytes
from pipeline.images.examine import examine_all
from pipeline.images.isolated import map_isolated
from pipeline.sources.place import Place
from pipeline.stages import ingest
from tests.corpus import COLOURS, SOUND, Kind, kinds, placed
from tests.hazards import examine_or_die, seen

KINDS = {kind.name: kind for kind in kinds()}
TIMEOUT_S = 60.0


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything about the files of a folder that writing would change."""
    found = {}
    for parent, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118
            status = os.lstat(path)
            content = Path(os.fsdecode(path)).read_bytes() if os.path.isfile(path) else b""  # noqa: PTH113
            facts = status.st_mtime_ns, status.st_ino, status.st_mode, status.st_size
            found[os.fsdecode(path)] = (*facts, hashlib.sha256(content).hexdigest())
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, np.ndarray | RejectedImage]:
    """What the decoder makes of each kind, all of them named .jpg, in processes of its own."""
    folder = tmp_path_factory.mktemp("corpus")
    files = [folder / f"{number:03}.jpg" for number in range(len(KINDS))]
    for file, kind in zip(files, KINDS.values(), strict=True):
        file.write_bytes(kind.content)
    before = state(folder)
    results = list(map_isolated(seen, files, timeout_s=TIMEOUT_S, preload=["tests.hazards"]))
    assert state(folder) == before
    return dict(zip(KINDS, results, strict=True))


def test_there_are_many_kinds():
    assert len(KINDS) == len(kinds()) > 300
    assert len(placed()) > 40


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_rightly_or_rejected_with_its_reason(found, name):
    expected, result = KINDS[name].expected, found[name]

    if isinstance(expected, tuple):
        assert isinstance(result, RejectedImage)
        assert result.reason in expected
        assert result.detail
    else:
        assert isinstance(result, np.ndarray), str(result)
        assert result.shape == expected.shape
        assert int(np.abs(result.astype(int) - expected).max()) <= KINDS[name].near


@pytest.mark.filterwarnings("ignore:::PIL")  # as decode.py has it, which pytest undoes
def test_later_stages_which_have_no_limits_see_the_same_pixels(found):
    for name, pixels in found.items():
        if isinstance(pixels, np.ndarray):
            again = decode_bytes(KINDS[name].content, limits=None)
            np.testing.assert_array_equal(again, pixels, err_msg=name)


def digest(pixels: np.ndarray) -> str:
    """As docs of `pixel_digest` have it, from a contiguous copy."""
    height, width, _ = pixels.shape
    content = np.ascontiguousarray(pixels, np.uint8).tobytes()
    return hashlib.sha256(struct.pack("<II", height, width) + content).hexdigest()


@pytest.fixture
def tables(project) -> tuple[pd.DataFrame, dict[str, str]]:
    """Manifest and rejected table of one run over every kind and every odd place."""
    for label in ("dark", "light"):
        (project.raw / label).mkdir(parents=True)
    for number, kind in enumerate(KINDS.values()):
        (project.raw / "dark" / f"{number:03}.jpg").write_bytes(kind.content)
    for place in placed():
        place.put(os.path.join(os.fsencode(project.raw / "light"), place.name))  # noqa: PTH118
    project.set("ingest", max_rejected_fraction=1.0)
    before = state(project.raw)

    assert project.run("ingest") == 0

    assert state(project.raw) == before
    assert not (project.folder / "pwned").exists()
    with (project.folder / "data/rejected.csv").open(newline="", encoding="utf-8") as stream:
        rejected = {row["path"]: row["reason"] for row in csv.DictReader(stream)}
    manifest = pd.read_csv(project.folder / "data/manifest.csv", dtype=str, keep_default_na=False)
    return manifest.set_index("path"), rejected


def test_ingest_takes_or_names_every_kind_and_every_odd_place(tables):
    manifest, rejected = tables
    for number, kind in enumerate(KINDS.values()):
        check_kind(kind, f"dark/{number:03}.jpg", manifest, rejected)
    for place in placed():
        path = "light/" + place.name.decode("utf-8", "surrogateescape")
        shown = path.encode("utf-8", "backslashreplace").decode()
        if place.reason is None:
            assert manifest.loc[path, "digest"] == digest(COLOURS), shown
        else:
            assert rejected[shown] == place.reason, shown

    assert len(manifest) + len(rejected) == len(KINDS) + len(placed())


def check_kind(kind: Kind, path: str, manifest: pd.DataFrame, rejected: dict[str, str]) -> None:
    if isinstance(kind.expected, tuple):
        assert rejected[path] in kind.expected, kind.name
        return
    row = manifest.loc[path]
    height, width, _ = kind.expected.shape
    assert (row["width"], row["height"]) == (str(width), str(height)), kind.name
    if kind.near == 0:
        assert row["digest"] == digest(kind.expected), kind.name


def test_a_file_that_vanishes_after_it_was_listed_is_named(filled, monkeypatch):
    listed = ingest.list_images

    def list_and_lose(*given):
        listing = listed(*given)
        (filled.raw / "dark/003.png").unlink()
        return listing

    monkeypatch.setattr(ingest, "list_images", list_and_lose)

    assert filled.run("ingest") == 0

    report = json.loads((filled.folder / "reports/ingest.json").read_text())
    assert report["rejected"] == {"missing": 1}
    assert report["images"] == 23


def test_files_that_crash_or_hang_the_decoder_are_rejected_and_the_run_goes_on(
    filled, monkeypatch
):
    """No file is known that does so to this Pillow, so two names stand for such files."""
    monkeypatch.setattr(examine, "examine", examine_or_die)
    for name in ("segfault.png", "hang.png"):
        (filled.raw / "dark" / name).write_bytes(SOUND)
    filled.set("ingest", decode_timeout_s=1.0)

    assert filled.run("ingest") == 0

    with (filled.folder / "data/rejected.csv").open(newline="", encoding="utf-8") as stream:
        rejected = {row["path"]: (row["reason"], row["detail"]) for row in csv.DictReader(stream)}
    assert rejected == {
        "dark/segfault.png": ("crashes_decoder", "its process ended with SIGSEGV, twice"),
        "dark/hang.png": ("too_slow", "took more than 1 s of processor time, twice"),
    }
    report = json.loads((filled.folder / "reports/ingest.json").read_text())
    assert report["images"] == 24


def test_a_picture_that_needs_too_much_memory_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "BASE_BYTES", 40 * 2**20)
    monkeypatch.setattr(examine, "BYTES_A_PIXEL", 0)
    Image.new("L", (9_000, 9_000)).save(tmp_path / "large.png", compress_level=1)
    (tmp_path / "sound.png").write_bytes(SOUND)
    files = [tmp_path / "large.png", tmp_path / "sound.png"]

    bad, good = examine_all(map(Place, files), Limits(file_bytes=10**6), TIMEOUT_S, processes=1)

    assert bad.reason == "too_large"
    assert "memory" in bad.detail
    assert good[:3] == (digest(COLOURS), 7, 5)


def test_an_unexpected_end_leaves_no_process(filled, monkeypatch):
    running: list[int] = []

    def stop(*_):
        running.append(len(active_children()))
        raise InputError("x", "y", "z")

    monkeypatch.setattr(ingest.Known, "add", stop)

    assert filled.run("ingest") == 1
    time.sleep(0.1)
    assert running[0] > 0
    assert not active_children()

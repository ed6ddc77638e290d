"""A file is whole or not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.files import replacing, require_room, scratch, write_json


def test_a_failure_leaves_the_old_file_and_no_trace(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")

    def fail_halfway() -> None:
        with replacing(target) as partial:
            partial.write_text("ne")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()

    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_run_left_is_replaced(tmp_path):
    """Its process, and so its number, is gone."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / f"partial.{dead.pid}.out"
    left.mkdir()
    (left / "rest").write_text("from before")

    with replacing(tmp_path / "out") as partial:
        partial.mkdir()
        (partial / "new").write_text("")

    assert [file.name for file in (tmp_path / "out").iterdir()] == ["new"]
    assert not left.exists()


def test_a_folder_takes_the_place_of_an_older_one_as_a_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/stale").write_text("")

    with replacing(tmp_path / "out") as partial:
        partial.mkdir()

    assert list((tmp_path / "out").iterdir()) == []


def test_scratch_is_empty_and_goes_away(tmp_path):
    with scratch(tmp_path / "work") as given:
        assert list(given.iterdir()) == []
        (given / "result").write_text("")

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    """The system names none when a disk or a quota is full."""
    code = f"""
import resource, signal
from pathlib import Path
from pipeline.files import write_json
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
write_json(Path({str(tmp_path / "a.json")!r}), {{"a": "b" * 1000}})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert f"File too large: '{tmp_path / 'a.json'}'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_no_room_is_named_before_it_is_begun(tmp_path):
    file = tmp_path / "to come" / "a.bin"

    require_room(file, 1)
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{file}'")):
        require_room(file, 2**60)


def test_a_living_runs_work_is_left_alone(tmp_path):
    """Two runs at once do not delete each other's files."""
    other = tmp_path / f"partial.{os.getppid()}.out"
    other.write_text("half")

    with replacing(tmp_path / "out") as partial:
        partial.write_text("whole")

    assert other.read_text() == "half"


def test_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with (
        pytest.raises(InputError, match="is no file or folder to write"),
        replacing(tmp_path / "pipe"),
    ):
        pytest.fail("must not come here")


def test_a_folder_that_cannot_take_anothers_place_leaves_it(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("")

    def fail(_: Path, __: Path) -> None:
        raise OSError(5, "Input/output error")

    def exchange() -> None:
        with replacing(tmp_path / "out") as partial:
            partial.mkdir()
            monkeypatch.setattr(Path, "replace", fail)

    with pytest.raises(OSError, match="Input/output error"):
        exchange()

    left = [file.relative_to(tmp_path).as_posix() for file in sorted(tmp_path.rglob("*"))]
    assert left == ["out", "out/old"]


@pytest.mark.parametrize("folder", [".", "..", "kept"])
def test_a_file_replaces_no_folder(tmp_path, monkeypatch, folder):
    (tmp_path / "kept").mkdir()
    monkeypatch.chdir(tmp_path / "kept")
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / folder if folder == "kept" else Path(folder)

    def write() -> None:
        with replacing(target) as partial:
            partial.write_text("")

    with pytest.raises(InputError, match=r"is a folder, no file to write\n.*name a file in it"):
        write()

    assert sorted(tmp_path.rglob("*")) == before


def test_equal_documents_are_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()

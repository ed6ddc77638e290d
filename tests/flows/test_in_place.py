"""Which data others changed that are not in place here."""

from __future__ import annotations

import pytest

from pipeline.flows.in_place import not_brought, record
from pipeline.programs import dvc
from pipeline.programs.git import git

FILES = ["a.txt", "b.txt", "c.txt"]


@pytest.mark.parametrize("own", [set(), {"b.txt.dvc"}, {"b.txt.dvc", "c.txt.dvc"}])
def test_what_was_changed_here_is_not_others_whatever_stands_before_it(tmp_path, monkeypatch, own):
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    git("config", "user.name", "A test")
    git("config", "user.email", "test@example.org")
    dvc.run("init", "--quiet")

    def write(text: str) -> None:
        for name in FILES:
            (tmp_path / name).write_text(text)

    for text in ("before", "after"):
        write(text)
        dvc.run("add", "--quiet", *FILES)
        git("add", "--all")
        git("commit", "--quiet", "--message", text)
        if text == "before":
            record()
    write("before")

    assert not_brought(own) == [f"{name}.dvc" for name in FILES if f"{name}.dvc" not in own]

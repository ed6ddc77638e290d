"""Flows that the tests call, a server for them, and toy projects for them to run in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from tests.flows.retraining import once
from tests.toy import Toy, copy_of, make_toy


@pytest.fixture(scope="package")
def prefect_api() -> Iterator[None]:
    """A Prefect server of the tests' own.

    It ends with this package: its threads draw random numbers, which would
    change those of whatever runs beside them.
    """
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="package")
def toy_once(tmp_path_factory) -> Path:
    """A toy project that has never run, to copy."""
    folder = tmp_path_factory.mktemp("begun")
    make_toy(folder / "toy")
    return (folder / "toy").rename(folder / "saved")


@pytest.fixture(scope="package")
def promoted_once(prefect_api, tmp_path_factory) -> Path:
    """A toy project whose first model is promoted, to copy."""
    folder = tmp_path_factory.mktemp("promoted")
    with pytest.MonkeyPatch.context() as patch:
        toy = make_toy(folder / "toy")
        patch.chdir(toy.folder)
        assert once(toy).name == "Promoted"
    return (folder / "toy").rename(folder / "saved")


@pytest.fixture
def toy(toy_once, tmp_path, monkeypatch) -> Iterator[Toy]:
    """A toy project that has never run, as the working directory."""
    yield from _in_copy(toy_once, tmp_path, monkeypatch)


@pytest.fixture
def promoted(promoted_once, tmp_path, monkeypatch) -> Iterator[Toy]:
    """A toy project whose first model is promoted, as the working directory."""
    yield from _in_copy(promoted_once, tmp_path, monkeypatch)


def _in_copy(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))  # knows what remotes hold
    with copy_of(saved) as toy:
        monkeypatch.chdir(toy.folder)
        yield toy
        monkeypatch.chdir(tmp_path)

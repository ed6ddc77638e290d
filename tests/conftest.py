"""A tiny real project in a temporary folder, and the pictures to fill it with."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.project import apart
from pipeline.__main__ import main
from pipeline.engines import require_bfloat16
from pipeline.errors import InputError
from pipeline.tensorflow_start import start_tensorflow

ROOT = Path(__file__).parents[1]
DATA = ("ingest", "split", "augment")
LEARN = ("extract", "train_head", "fine_tune", "evaluate")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
needs_bfloat16 = pytest.mark.usefixtures("bfloat16")


@pytest.fixture(autouse=True, scope="session")
def _no_store_of_the_users():
    """Whatever runs outside a test's own store goes without; no cluster, no limit, no reports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_STORE", "off")
        patch.setenv("DVC_NO_ANALYTICS", "1")  # a process after each command
        for name in ("PIPELINE_STORE_GB", "DASK_SCHEDULER_ADDRESS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def keras():
    """Keras, imported as the pipeline imports it."""
    start_tensorflow()
    import keras

    return keras


@pytest.fixture
def bfloat16() -> None:
    """Skip the test where the processor has no bfloat16."""
    try:
        require_bfloat16("extract.precision")
    except InputError as error:
        pytest.skip(error.reason)


@pytest.fixture
def in_turn(tmp_path_factory):
    """Call a function in a process of its own, one at a time: the largest networks take 21 GB."""

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        with (tmp_path_factory.getbasetemp().parent / "networks.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return apart(function, *arguments)

    return call


@contextmanager
def forbidden() -> Iterator[None]:
    """Let what may not be read or entered be so for root, too."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


def picture(seed: int, *, brightness: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A noisy (width, height) RGB picture, distinct for each seed."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 60, (size[1], size[0], 3))
    return Image.fromarray((noise + brightness).astype(np.uint8))


def fill_class_folders(raw: Path, per_class: int = 12) -> None:
    """Two classes that any head can tell apart."""
    for number, (label, brightness) in enumerate({"dark": 20, "light": 170}.items()):
        (raw / label).mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            seed = 1000 * number + index
            picture(seed, brightness=brightness).save(raw / label / f"{index:03}.png")


class Project:
    """A folder with params.yaml and data/raw, in which stages run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw = folder / "data/raw"
        self.document = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
        self.set("split", strategy="stratified", val=0.2, test=0.2)
        self.set("augment", views=2)
        self.set("backbone", image_size=32)
        self.set("train_head", hidden=[8], epochs=10, learning_rate=0.03)
        self.set("fine_tune", epochs=2, warmup_epochs=0, ema_momentum=0.0, layers=10)
        self.set("evaluate", resamples=100)

    def set(self, section: str, **values: object) -> None:
        """Change some keys of params.yaml."""
        self.document[section].update(values)
        with (self.folder / "params.yaml").open("w") as stream:
            YAML().dump(self.document, stream)

    def run(self, *stages: str) -> int:
        """Run stages in order until one fails; return its status, or 0."""
        return next((status for stage in stages if (status := main([stage]))), 0)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """An empty project, which is also the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_STORE", str(tmp_path / "store"))
    return Project(tmp_path)


@pytest.fixture
def filled(project) -> Project:
    """A project with two classes of twelve images."""
    fill_class_folders(project.raw)
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which every stage has run, with the default backbone at a small size.

    In a process of its own: Keras draws a head's first weights by Python's own
    numbers, of which Prefect's threads in this process may take some.
    """
    folder = tmp_path_factory.mktemp("finished")
    assert apart(finish, folder) == 0
    return folder


def finish(folder: Path) -> int:
    """Run every stage on two classes of twelve images."""
    os.chdir(folder)
    os.environ["PIPELINE_STORE"] = str(folder / "store")
    project = Project(folder)
    fill_class_folders(project.raw)
    return project.run(*DATA, *LEARN)


@pytest.fixture
def trained(finished, project):
    """A project run to its end, to spoil as a test likes."""
    shutil.copytree(finished, project.folder, dirs_exist_ok=True)
    return project


@pytest.fixture
def refused(project, capsys) -> Callable[..., str]:
    """Run a stage that must fail with an error a user can mend; return what it said."""

    def run(*stages: str) -> str:
        assert project.run(*stages) == 1
        said = capsys.readouterr().err
        assert "error: " in said
        assert "fix: " in said
        assert "Traceback" not in said
        return said

    return run

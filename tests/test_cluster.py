"""A real Dask cluster on loopback gives the bytes that this machine gives, or says why not."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from distributed import Client

from pipeline.backbones.catalog import BackboneParams
from pipeline.backbones.load import load_backbone
from pipeline.engines import ExtractParams
from pipeline.frozen import cluster as frozen_cluster
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.images.pictures import Job
from pipeline.images.views import IDENTITY
from pipeline.sources.place import Place
from tests.conftest import ROOT, picture

FEATURES = Path("data/features/features.npy")


def dask(*words: str, folder: Path, path: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": path, "PIPELINE_STORE": "off"}
    command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def cluster(tmp_path_factory, monkeypatch):
    """Start a scheduler, then workers as asked; the environment names it."""
    folder = tmp_path_factory.mktemp("dask")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
    local = ("--host", "127.0.0.1")
    processes = [dask("scheduler", *local, "--port", port, folder=folder, path="")]

    def workers(count: int, path: str = str(ROOT)) -> list[subprocess.Popen[bytes]]:
        options = (*local, "--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
        started = [
            dask("worker", address, *options, folder=folder, path=path) for _ in range(count)
        ]
        processes.extend(started)
        return started

    workers.scheduler = processes[0]
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                    break
            time.sleep(0.1)
        yield workers
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@pytest.fixture
def afresh(trained, monkeypatch):
    """A project with an empty store."""
    monkeypatch.setenv("PIPELINE_STORE", str(trained.folder / "empty"))
    return trained


def test_two_workers_give_the_same_bytes(afresh, cluster, capsys, monkeypatch):
    before = FEATURES.read_bytes()
    monkeypatch.setattr("pipeline.frozen.cluster.SHARD_VIEWS", 4)
    cluster(2)
    with Client(os.environ["DASK_SCHEDULER_ADDRESS"]) as client:
        client.wait_for_workers(2, timeout=60)

        assert afresh.run("extract") == 0

        assert list(client.run(lambda: "openvino" in __import__("sys").modules).values()) == [
            True,
            True,
        ]
    assert "0 views from the store" in capsys.readouterr().err
    assert FEATURES.read_bytes() == before
    assert afresh.run("extract") == 0  # and the parent kept all of it
    assert " 0 computed" in capsys.readouterr().err

    monkeypatch.setenv("PIPELINE_STORE", "off")  # activations would be sent in vain
    result, outputs = frozen_cluster._result, set()

    def counting(*arguments):
        rows = result(*arguments)
        outputs.update(len(row) for row in rows)
        return rows

    monkeypatch.setattr(frozen_cluster, "_result", counting)
    assert afresh.run("extract") == 0
    assert outputs == {1}
    assert FEATURES.read_bytes() == before


def test_a_shard_is_no_more_than_a_second_of_work(tmp_path, keras):
    """Which a killed run loses; one image's views may be shared out."""
    (tmp_path / "a.png").write_bytes(b"12345")
    wanted = [Job(Place(tmp_path / "a.png"), "", [IDENTITY] * views) for views in (4, 11, 1, 3)]

    shards = list(frozen_cluster._shards(wanted, 5))

    counts = [sum(len(job.views) for job in shard.jobs) for shard in shards]
    assert sum(counts) == 19
    assert max(counts) <= 5
    assert [shard.first for shard in shards] == [sum(counts[:n]) for n in range(len(counts))]
    for name, least, most in (("EfficientNetLite0", 64, 64), ("ResNet50", 4, 12)):
        backbone = BackboneParams(name=name, weights="none", image_size=224, resize="bicubic")
        extract = ExtractParams(engine="openvino", precision="float32", storage="float32")
        network = FrozenNetwork(FrozenSpec(backbone, extract, 4))
        assert least <= frozen_cluster._views_a_shard(network) <= most


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_by_another(afresh, cluster, monkeypatch):
    """Killed when the first shard has come back, with others under way."""
    before = FEATURES.read_bytes()
    monkeypatch.setattr("pipeline.frozen.cluster.SHARD_VIEWS", 4)
    first, _ = cluster(2)
    finished, killed = frozen_cluster._finished, []

    def kill_then_wait(*arguments):
        yield from finished(*arguments)
        if not killed:
            first.send_signal(signal.SIGKILL)
            killed.append(first.wait(timeout=10))

    monkeypatch.setattr(frozen_cluster, "_finished", kill_then_wait)

    assert afresh.run("extract") == 0

    assert killed == [-signal.SIGKILL]
    assert FEATURES.read_bytes() == before


def test_a_dead_scheduler_is_an_error_soon(afresh, monkeypatch, refused):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    before = FEATURES.read_bytes()

    started = time.monotonic()
    said = refused("extract")

    assert time.monotonic() - started < 20
    assert "DASK_SCHEDULER_ADDRESS: no scheduler at 'tcp://127.0.0.1:9'" in said
    assert "unset DASK_SCHEDULER_ADDRESS" in said
    assert FEATURES.read_bytes() == before


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 400 Bad request\r\n\r\n" + b"x" * 300])
def test_what_listens_and_is_no_scheduler_is_an_error(afresh, monkeypatch, refused, answer):
    """Be it silent, or of another kind."""
    monkeypatch.setattr("pipeline.frozen.cluster.CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        held = []

        def serve():
            with suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    connection.sendall(answer)
                    held.append(connection)  # or its end would be an answer

        serving = Thread(target=serve)
        serving.start()
        assert f"no scheduler at {address!r}: " in refused("extract")
        server.shutdown(socket.SHUT_RDWR)
        serving.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize("address", ["nonsense://x", "127.0.0.1:notaport"])
def test_an_address_that_is_none_is_an_error(afresh, monkeypatch, refused, address):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)

    assert f"no scheduler at {address!r}" in refused("extract")


def test_a_cluster_without_workers_is_an_error(afresh, cluster, monkeypatch, refused):
    monkeypatch.setattr("pipeline.frozen.cluster.WORKERS_S", 1)

    said = refused("extract")

    assert re.search(r"tcp://127.0.0.1:\d+ has no worker yet; waiting 1 s for one\n", said)
    assert "has had no worker for 1 s" in said


def test_workers_without_this_project_are_an_error(afresh, cluster, refused):
    cluster(1, path="")

    said = refused("extract")

    assert "workers of tcp://127.0.0.1:" in said
    assert "No module named 'pipeline'" in said
    assert "PYTHONPATH=." in said


@pytest.mark.slow
def test_a_worker_with_other_weights_is_refused(afresh, cluster, refused, keras):
    """The file's name is the same over there, its content is not."""
    params = BackboneParams(
        name="EfficientNetLite0", weights="none", image_size=32, resize="bicubic"
    )
    network = load_backbone(params).network
    network.save_weights(afresh.folder / "own.weights.h5")
    afresh.set("backbone", weights="own.weights.h5")

    worker = cluster(1)[0]
    there = Path(f"/proc/{worker.pid}/cwd").resolve()
    network.get_layer("top_bn").set_weights(
        [w + 1 for w in network.get_layer("top_bn").get_weights()]
    )
    network.save_weights(there / "own.weights.h5")

    assert "a worker has other weights or software" in refused("extract")
    shutil.copy(afresh.folder / "own.weights.h5", there / "own.weights.h5")
    assert afresh.run("extract") == 0  # the worker looks again


@pytest.mark.slow
def test_a_scheduler_that_dies_on_the_way_is_an_error(
    afresh, cluster, refused, monkeypatch, capsys
):
    """What had come back by then is kept."""
    monkeypatch.setattr("pipeline.frozen.cluster.SHARD_VIEWS", 4)
    cluster(1)
    finished = frozen_cluster._finished

    def kill_then_wait(*arguments):
        yield from finished(*arguments)
        cluster.scheduler.kill()

    monkeypatch.setattr(frozen_cluster, "_finished", kill_then_wait)

    said = refused("extract")

    assert "lost work" in said
    assert "what the store holds is not computed again" in said
    assert not logging.getLogger("distributed.client").isEnabledFor(logging.ERROR)  # it traces
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS")
    assert afresh.run("extract") == 0
    kept = re.search(r"(\d+) views from the store", capsys.readouterr().err)
    assert kept
    assert int(kept[1]) >= 4


@pytest.mark.slow
def test_a_scheduler_that_stands_still_is_an_error(afresh, cluster, refused, monkeypatch):
    """As on a machine that was put to sleep: its connection stays open."""
    monkeypatch.setattr("pipeline.frozen.cluster.SHARD_VIEWS", 4)
    monkeypatch.setattr("pipeline.frozen.cluster.ANSWER_S", 2)
    cluster(1)
    finished = frozen_cluster._finished

    def stop_then_wait(*arguments):
        yield from finished(*arguments)
        cluster.scheduler.send_signal(signal.SIGSTOP)

    monkeypatch.setattr(frozen_cluster, "_finished", stop_then_wait)

    said = refused("extract")

    assert "lost work: TimeoutError" in said


@pytest.mark.slow
def test_a_worker_that_cannot_build_the_network_is_named(afresh, cluster, refused, keras):
    network = load_backbone(
        BackboneParams(name="EfficientNetLite0", weights="none", image_size=32, resize="bicubic")
    ).network
    network.save_weights(afresh.folder / "own.weights.h5")
    afresh.set("backbone", weights="own.weights.h5")
    cluster(1)

    said = refused("extract")

    assert re.search(r"worker tcp://127.0.0.1:\d+ cannot build the network: own.weights.h5", said)
    assert "a file of weights, by the same path" in said


@pytest.mark.slow
def test_an_image_that_changed_is_named_by_the_worker(afresh, cluster, refused):
    cluster(1)
    picture(999, brightness=60).save(afresh.raw / "dark/003.png")

    assert "dark/003.png: has changed since ingest read it" in refused("extract")


def test_an_image_that_has_gone_is_named(afresh, cluster, refused):
    cluster(1)
    (afresh.raw / "dark/003.png").unlink()

    assert "dark/003.png: missing: No such file or directory" in refused("extract")

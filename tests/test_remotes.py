"""DVC remotes: a directory, and a real S3 API on loopback that asks for credentials."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.clones import attempt, clone, commit_run, environment, has_nothing_to_do, run

ALLOWED = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
CALLS_BEFORE_KEYS = 4  # bucket, user, policy and access key are made without credentials
MODEL = "models/model.keras"


@pytest.fixture(scope="module")
def origin(finished, tmp_path_factory) -> Path:
    """A project that was run and committed, without a remote."""
    folder = tmp_path_factory.mktemp("origin") / "project"
    commit_run(folder, finished)
    return folder


@pytest.fixture(scope="module")
def directory(origin, tmp_path_factory) -> Path:
    """The README's three commands: a project whose remote is a directory."""
    folder = tmp_path_factory.mktemp("directory")
    shutil.copytree(origin, folder / "project")
    run(folder / "project", "dvc", "remote", "add", "--default", "storage", str(folder / "shared"))
    run(folder / "project", "git", "commit", "--quiet", "--all", "--message", "Add a remote")
    run(folder / "project", "dvc", "push", "--run-cache")
    run(folder / "project", "git", "tag", "v1")
    return folder / "project"


def files_of(folder: Path) -> set[str]:
    """Files in data, models and reports that git does not track."""
    said = run(folder, "git", "ls-files", "--others", "--", "data", "models", "reports")
    return set(said.split())


def test_a_clone_pulls_and_has_nothing_to_do(origin, directory, tmp_path):
    second = clone(directory, tmp_path)

    run(second, "dvc", "pull")

    assert files_of(second) == files_of(origin) - {"models/provenance.json"}
    assert has_nothing_to_do(second)


def test_runs_of_a_lost_lock_are_restored_from_the_remote(directory, tmp_path):
    """All but `evaluate`, whose figures lie in git and in no cache but their maker's."""
    second = clone(directory, tmp_path)
    locked = YAML(typ="safe").load(second / "dvc.lock")["stages"]
    (second / "dvc.lock").unlink()

    run(second, "dvc", "pull", "--run-cache", "data/raw")
    said = run(second, "dvc", "repro", "--pull", "fine_tune")

    assert said.count("is cached - skipping run") == len(locked) - 1
    assert "Running stage" not in said
    del locked["evaluate"]
    assert YAML(typ="safe").load(second / "dvc.lock")["stages"] == locked


def test_a_serving_clone_needs_the_model_and_nothing_else(directory, tmp_path):
    """It labels an image of the test as `evaluate` did where the model was made."""
    serving = clone(directory, tmp_path)
    with (directory / "reports/predictions.csv").open() as stream:
        row = next(csv.DictReader(stream))

    run(serving, "dvc", "pull", MODEL)
    assert files_of(serving) == {MODEL}
    image = directory / "data/raw" / row["path"]
    said = run(serving, "python", "-m", "pipeline", "predict", str(image), "--json")

    (answer,) = json.loads(said[said.index("[\n") :])
    for name, probability in answer["probabilities"].items():
        assert probability == pytest.approx(float(row[f"probability_{name}"]), abs=1e-5)
    assert files_of(serving) == {MODEL}


def test_a_tagged_model_comes_without_a_clone(directory, tmp_path):
    (tmp_path / "models").mkdir()

    run(tmp_path, "dvc", "get", str(directory), MODEL, "--rev", "v1", "--out", MODEL)

    assert (tmp_path / MODEL).read_bytes() == (directory / MODEL).read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["models"]


def test_what_was_not_pushed_is_named_and_pulled_after_the_push(origin, tmp_path):
    """dvc.lock in git without its files: DVC says which are missing."""
    (tmp_path / "first").mkdir()
    first = tmp_path / "first/project"
    shutil.copytree(origin, first)
    run(first, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "shared"))
    run(first, "git", "commit", "--quiet", "--all", "--message", "Add a remote")
    run(first, "dvc", "push", "data/raw")
    second = clone(first, tmp_path)

    done = attempt(second, "dvc", "pull")

    assert done.returncode == 1
    assert MODEL in done.stdout
    assert not (second / MODEL).exists()
    run(first, "dvc", "push")
    run(second, "dvc", "pull")
    assert has_nothing_to_do(second)


class Bucket(NamedTuple):
    """An S3 API with one bucket, `data`, and the only key that may use it."""

    endpoint: str
    key: dict[str, str]


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Run an S3 API in a process of its own on a free port of loopback; yield its URL."""
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    more = {"INITIAL_NO_AUTH_ACTION_COUNT": str(CALLS_BEFORE_KEYS), "PYTHONUNBUFFERED": "1"}
    log = folder / "server.log"
    with (
        log.open("w") as stream,
        subprocess.Popen(
            words, stdout=stream, stderr=stream, cwd=folder, env=environment(folder, more),
            start_new_session=True,
        ) as server,
    ):  # fmt: skip
        try:
            give_up = time.monotonic() + 120
            while not (found := re.search(r"Running on (http://127.0.0.1:\d+)", log.read_text())):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.1)
            yield found[1]
        finally:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Iterator[Bucket]:
    """A bucket on loopback whose requests must be signed with a key that was given out."""
    folder = tmp_path_factory.mktemp("s3")
    with s3_server(folder) as endpoint, pytest.MonkeyPatch.context() as patch:
        apart = environment(folder)
        for name in set(os.environ) - set(apart):
            patch.delenv(name)
        for name, value in apart.items():
            patch.setenv(name, value)
        import boto3

        def client(service: str):
            return boto3.client(
                service, endpoint_url=endpoint, region_name="us-east-1",
                aws_access_key_id="nobody", aws_secret_access_key="nothing",  # noqa: S106
            )  # fmt: skip

        client("s3").create_bucket(Bucket="data")
        users = client("iam")
        users.create_user(UserName="team")
        policy = json.dumps({"Version": "2012-10-17", "Statement": [ALLOWED]})
        users.put_user_policy(UserName="team", PolicyName="all", PolicyDocument=policy)
        key = users.create_access_key(UserName="team")["AccessKey"]
        yield Bucket(
            endpoint,
            {
                "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            },
        )


def use_bucket(folder: Path, endpoint: str, url: str) -> None:
    """The README's commands for S3 that git may keep."""
    run(folder, "dvc", "remote", "add", "--default", "storage", url)
    run(folder, "dvc", "remote", "modify", "storage", "endpointurl", endpoint)


def give_key(folder: Path, key: dict[str, str]) -> None:
    """The README's commands for S3 that git must not keep."""
    for option, value in zip(("access_key_id", "secret_access_key"), key.values(), strict=True):
        run(folder, "dvc", "remote", "modify", "--local", "storage", option, value)


@pytest.fixture(scope="module")
def in_bucket(origin, bucket, tmp_path_factory) -> Path:
    """A project whose files were pushed to the bucket."""
    folder = tmp_path_factory.mktemp("bucket") / "project"
    shutil.copytree(origin, folder)
    use_bucket(folder, bucket.endpoint, "s3://data/project")
    give_key(folder, bucket.key)
    run(folder, "git", "commit", "--quiet", "--all", "--message", "Add a bucket")
    run(folder, "dvc", "push", "--run-cache")
    return folder


def test_a_clone_pulls_from_s3_and_has_nothing_to_do(bucket, in_bucket, tmp_path):
    """With the key from the environment, as a server or a workflow has it."""
    second = clone(in_bucket, tmp_path)

    run(second, "dvc", "pull", "--run-cache", more=bucket.key)

    assert files_of(second) == files_of(in_bucket) - {"models/provenance.json"}
    assert (second / ".dvc/cache/runs").is_dir()
    assert has_nothing_to_do(second)


def test_git_never_sees_the_key(bucket, in_bucket):
    assert run(in_bucket, "git", "status", "--porcelain") == ""
    history = run(in_bucket, "git", "log", "--all", "--patch", "--", ".dvc")
    assert bucket.endpoint in history
    for secret in bucket.key.values():
        assert secret in (in_bucket / ".dvc/config.local").read_text()
        assert secret not in history


def test_a_wrong_key_pulls_nothing_and_spoils_nothing(bucket, in_bucket, tmp_path):
    second = clone(in_bucket, tmp_path)
    before = files_of(second)

    without = attempt(second, "dvc", "pull")
    wrong = attempt(second, "dvc", "pull", more={**bucket.key, "AWS_SECRET_ACCESS_KEY": "wrong"})

    assert without.returncode == 1
    assert "Unable to locate credentials" in without.stdout
    assert wrong.returncode == 1
    assert "Forbidden" in wrong.stdout
    assert files_of(second) == before == set()
    run(second, "dvc", "pull", more=bucket.key)
    assert has_nothing_to_do(second)


@pytest.mark.slow
def test_a_push_into_a_missing_bucket_is_an_error_and_can_be_mended(origin, bucket, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(origin, folder)
    use_bucket(folder, bucket.endpoint, "s3://gone/project")
    give_key(folder, bucket.key)

    done = attempt(folder, "dvc", "push")

    assert done.returncode > 0
    assert "The specified bucket does not exist" in done.stdout
    run(folder, "dvc", "remote", "modify", "storage", "url", "s3://data/mended")
    run(folder, "git", "commit", "--quiet", "--all", "--message", "Add a bucket")
    run(folder, "dvc", "push")
    second = clone(folder, tmp_path / "second")
    run(second, "dvc", "pull", more=bucket.key)
    assert has_nothing_to_do(second)


@pytest.mark.slow  # botocore waits between its five attempts
def test_a_server_that_is_not_there_is_an_error_that_changes_nothing(in_bucket, bucket, tmp_path):
    second = clone(in_bucket, tmp_path)
    run(
        second,
        "dvc",
        "remote",
        "modify",
        "--local",
        "storage",
        "endpointurl",
        "http://127.0.0.1:9",
    )

    done = attempt(second, "dvc", "pull", more=bucket.key)

    assert done.returncode > 0
    assert "Could not connect to the endpoint URL" in done.stdout
    assert files_of(second) == set()
    (second / ".dvc/config.local").unlink()
    run(second, "dvc", "pull", more=bucket.key)
    assert has_nothing_to_do(second)


def test_a_server_that_ends_leaves_no_process(tmp_path):
    with s3_server(tmp_path) as endpoint:
        port = endpoint.rpartition(":")[2]
        assert port in listening_ports()

    assert port not in listening_ports()


def listening_ports() -> set[str]:
    """Ports of loopback on which some process listens, from Linux's own table."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = (row.split() for row in rows)
    return {str(int(f[1].partition(":")[2], 16)) for f in fields if f[3] == "0A"}

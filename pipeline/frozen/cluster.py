"""Run the frozen network on a Dask cluster: pictures' files go out, rows come back.

The cluster's address comes from the environment, never from params: no result
depends on it.  The scheduler and its workers are trusted, as Dask itself does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.backbones.cut import multiplications
from pipeline.console import say
from pipeline.engines import TENSORFLOW_BATCH, Outputs, Run
from pipeline.errors import InputError, in_words
from pipeline.frozen.network import FrozenNetwork, FrozenSpec
from pipeline.images.pictures import Job, read_bytes

if TYPE_CHECKING:
    from distributed import Client, Future

ADDRESS = "DASK_SCHEDULER_ADDRESS"  # as Dask itself names it
CONNECT_S = 5
ANSWER_S = 10  # that a scheduler, once connected, may take; one that is stopped never does
WORKERS_S = 60  # to wait for a worker, at the start and when all have gone
SHARD_VIEWS, SHARD_BYTES = 64, 8_000_000
SHARD_MULTIPLICATIONS = 3e10  # a second of a processor's work: what a killed run loses of each
RETRIES = 2  # of a shard that raised an error; Dask itself retries those of killed workers
AHEAD = 2  # shards that wait for each thread of the cluster


class Shard(NamedTuple):
    """Some jobs, their files' bytes with them, and the number of their first row."""

    first: int
    jobs: list[Job]


def cluster_address() -> str | None:
    """The scheduler to use, or None to compute here."""
    return os.environ.get(ADDRESS) or None


def run_on_cluster(
    address: str, network: FrozenNetwork, wanted: Iterable[Job], *, pooled_only: bool
) -> Iterator[tuple[int, Outputs]]:
    """Compute every view of every job.

    Args:
        pooled_only: Have only the first output sent; the others may be large.

    Yields:
        The view's number, counted over the jobs, and its rows, as they come in.

    Raises:
        InputError: The cluster cannot be reached, has no workers or loses them,
            its workers have other software or weights, or an image has gone or changed.
    """
    client, spec, digest = _connect(address), network.portable, network.digest()
    waiting: dict[Future, int] = {}  # the number of a shard's first row
    with client, _losses(address):
        for shard in _shards(wanted, _views_a_shard(network)):
            call = pickle.dumps((compute_shard, spec, digest, shard.jobs, pooled_only))
            future = client.submit(_opener(), call, retries=RETRIES, pure=False)
            waiting[future] = shard.first
            while len(waiting) >= AHEAD * max(1, _threads(client)):
                yield from _finished(client, address, waiting)
        while waiting:
            yield from _finished(client, address, waiting)


def compute_shard(
    spec: FrozenSpec, digest: bytes, wanted: Sequence[Job], pooled_only: bool
) -> list[Outputs]:
    """Compute the rows of a shard's views, on a worker.

    Args:
        digest: Of the network, as the machine that asks has it.

    Raises:
        InputError: This machine has no or other weights or releases, or an image has changed.
    """
    from distributed import get_worker  # noqa: PLC0415

    worker = get_worker()
    with _BUILDING:
        try:
            found, run = _built(spec, worker.state.nthreads)
        except InputError as error:
            fix = "give every worker what this machine has; a file of weights, by the same path"
            reason = (
                f"worker {worker.address} cannot build the network: {error.file}: {error.reason}"
            )
            raise InputError(ADDRESS, reason, fix) from error
        if found != digest:
            _built.cache_clear()  # what is mended is to be seen
            fix = "give every worker the same weights file and the same release of everything"
            raise InputError(ADDRESS, "a worker has other weights or software", fix)
    rows = run(spec.pictures(wanted, threads=1))  # each of the worker's threads has a shard
    return [row[:1] for row in rows] if pooled_only else list(rows)


def _opener() -> Callable[[bytes], Any]:
    """A function that travels by value: the scheduler, which reads it, lacks this project."""

    def open_and_call(call: bytes) -> Any:
        import pickle  # noqa: PLC0415

        function, *arguments = pickle.loads(call)
        return function(*arguments)

    return open_and_call


_BUILDING = Lock()


@lru_cache(maxsize=1)
def _built(spec: FrozenSpec, threads: int) -> tuple[bytes, Run]:
    network = FrozenNetwork(spec)
    return network.digest(), network.compile(threads=threads)


def _connect(address: str) -> Client:
    fix = f"start a scheduler and workers there, or unset {ADDRESS} to compute on this machine"
    try:
        from distributed import Client  # noqa: PLC0415
    except ImportError as error:
        fix = f"install the extra `cluster`, or unset {ADDRESS}"
        raise InputError(ADDRESS, "needs the package distributed", fix) from error
    # what is lost `_losses` tells; to be set behind the import, which sets it too
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        asyncio.run(_greet(address))
        client = Client(address, timeout=CONNECT_S)
    except Exception as error:  # whatever else listens there may answer anything
        said = in_words(error) if str(error) else f"no answer within {CONNECT_S} s"
        raise InputError(ADDRESS, f"no scheduler at {address!r}: {said}", fix) from error
    with _losses(address):
        if not _threads(client):
            say(f"{ADDRESS}: {address} has no worker yet; waiting {WORKERS_S} s for one")
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as error:
        client.close()
        raise _no_worker(address) from error
    return client


def _threads(client: Client) -> int:
    """Of all workers.

    Raises:
        OSError: The scheduler has ended, or does not answer, as one that is stopped.
    """
    return sum(client.nthreads(callback_timeout=ANSWER_S).values())


async def _greet(address: str) -> None:
    """Connect, for Dask's own client would wait for ever for what listens and is no scheduler.

    Raises:
        Exception: Of any kind, where it is none.
    """
    from distributed.client import _maybe_call_security_loader  # noqa: PLC0415
    from distributed.core import connect  # noqa: PLC0415
    from distributed.security import Security  # noqa: PLC0415

    security = _maybe_call_security_loader(address) or Security()  # as Dask's client does
    options = security.get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_S, **options), CONNECT_S)
    await comm.close()


def _no_worker(address: str) -> InputError:
    fix = "start workers and rerun: what the store holds is not computed again"
    return InputError(ADDRESS, f"{address} has had no worker for {WORKERS_S} s", fix)


def _views_a_shard(network: FrozenNetwork) -> int:
    each = sum(map(multiplications, network.backbone.network.operations))
    least = TENSORFLOW_BATCH if network.spec.extract.engine == "tensorflow" else 1
    return min(SHARD_VIEWS, max(least, int(SHARD_MULTIPLICATIONS / max(1, each))))


def _shards(wanted: Iterable[Job], views: int) -> Iterator[Shard]:
    """Shards of at most so many views; one image's may be shared out."""
    first = size = count = 0
    shard: list[Job] = []
    for job in wanted:
        content = read_bytes(job)
        for start in range(0, len(job.views), views):
            part = job._replace(content=content, views=job.views[start : start + views])
            if shard and (count + len(part.views) > views or size + len(content) > SHARD_BYTES):
                yield Shard(first, shard)
                first, size, count, shard = first + count, 0, 0, []
            shard.append(part)
            size, count = size + len(content), count + len(part.views)
    if shard:
        yield Shard(first, shard)


def _finished(
    client: Client, address: str, waiting: dict[Future, int]
) -> Iterator[tuple[int, Outputs]]:
    """Rows of the shards that are done by now; waits for one at least."""
    from distributed import wait  # noqa: PLC0415

    deadline = time.monotonic() + WORKERS_S
    done: set[Any] = set()
    while not done:
        try:
            done = wait(list(waiting), timeout=5, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            if _threads(client):
                deadline = time.monotonic() + WORKERS_S
            elif time.monotonic() > deadline:
                raise _no_worker(address) from None
    for future in done:
        first = waiting.pop(future)
        yield from enumerate(_result(future, address), first)


def _result(future: Future, address: str) -> list[Outputs]:
    try:
        result: list[Outputs] = future.result(timeout=WORKERS_S)  # or a scheduler stands still
    except (ImportError, AttributeError) as error:
        fix = "start them in this project's folder, with PYTHONPATH=. and its environment"
        reason = f"workers of {address} have not this project's code: {error}"
        raise InputError(ADDRESS, reason, fix) from error
    return result


@contextmanager
def _losses(address: str) -> Iterator[None]:
    """Say what is to be done where the cluster fails."""
    from distributed import KilledWorker  # noqa: PLC0415

    try:
        yield
    except (CancelledError, KilledWorker, OSError) as error:
        gone = isinstance(error, CancelledError)  # whose words are an object's address
        reason = "has ended, or left" if gone else f"lost work: {error!r}"
        fix = "look at its logs and rerun: what the store holds is not computed again"
        raise InputError(ADDRESS, f"{address} {reason}", fix) from error

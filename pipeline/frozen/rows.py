"""Rows of a frozen network for the views of a plan: from the store, or computed and stored."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.console import progress, say, sized
from pipeline.engines import Outputs
from pipeline.frozen.cluster import cluster_address, run_on_cluster
from pipeline.frozen.network import FrozenNetwork, Part
from pipeline.images.pictures import VIEW_TYPES, Job, jobs
from pipeline.sources.place import Place, in_order
from pipeline.store.access import Store, open_store
from pipeline.store.settings import LIMIT

KEEP_EVERY_S = 1.0  # a killed run loses what waits and what is being written, twice that
VIEW_FORMAT = "<" + "".join({int: "q", float: "d"}[type_] for type_ in VIEW_TYPES.values())

Numbers = NDArray[np.int64]
Sink = Callable[[int, NDArray[np.generic]], None]
"""Takes a row's number in the plan and its values, flat."""


def frozen_rows(
    network: FrozenNetwork,
    plan: pd.DataFrame,
    places: Mapping[str, Place],
    stage: str,
    *,
    part: Part,
    sink: Sink,
    also_keep: Sequence[Part] = (),
    scratch: Path = Path(),
) -> None:
    """Give `sink` every view's row of one part, computing only what the store lacks.

    Args:
        plan: Views, with columns digest, split and those of `View`.
        places: Where the image of each digest lies.
        stage: Named beside the progress bar and in the store.
        sink: Called in no particular order.
        also_keep: Other parts to put into the store where a row is computed anyway.
        scratch: Where the run will put all of these into a file, too.

    Raises:
        InputError: An image of which a row is computed has gone or changed since
            `ingest`; the cluster that the environment names cannot compute; a
            row is not finite or the storage cannot hold it.
    """
    with closing(open_store(stage)) as store:
        kept = cache(lambda: _holdable(network, store, len(plan), [part, *also_keep], scratch))
        for share, numbers in network.shares(plan):

            def take(number: int, values: NDArray[np.generic], numbers: Numbers = numbers) -> None:
                sink(int(numbers[number]), values)

            own = plan.iloc[numbers]
            _rows_of_share(share, own, places, stage, store=store, part=part, sink=take, kept=kept)


def _rows_of_share(
    network: FrozenNetwork,
    plan: pd.DataFrame,
    places: Mapping[str, Place],
    stage: str,
    *,
    store: Store,
    part: Part,
    sink: Sink,
    kept: Callable[[], list[Part]],
) -> None:
    missing, speed = np.ones(len(plan), bool), ""
    with progress(stage, len(plan), "view") as bar:
        already = store.hits
        digests = row_keys(network, plan, part)
        for row, value in store.read(digests):
            if len(value) == network.size(part, 1):
                sink(row, np.frombuffer(value, network.dtype))
                missing[row] = False
                bar(note=f"({store.hits - already} from the store)")
        alike: dict[bytes, list[int]] = {}  # few augmentations draw a view more than once
        for number in in_order_of_place(plan, places, np.flatnonzero(missing)):
            alike.setdefault(digests[number], []).append(int(number))
        if alike:
            groups = list(alike.values())
            run, left = _ready(network, {part, *kept()}), plan.iloc[[group[0] for group in groups]]
            started = time.monotonic()
            keys = {name: row_keys(network, left, name) for name in kept()}
            with closing(_Keeping(network, store, keys)) as keeping:
                for number, outputs in run(jobs(places, left)):
                    rows = {
                        name: network.take(name, outputs) for name in dict.fromkeys((part, *keys))
                    }
                    for name in keys:
                        keeping.add(name, number, rows[name])
                    for row in groups[number]:
                        sink(row, rows[part])
                    bar(len(groups[number]))
            speed = f" at {len(groups) / (time.monotonic() - started):.1f} views/s"
    computed = int(missing.sum())
    same = f", {computed - len(alike)} of them as others" if len(alike) < computed else ""
    say(f"{stage}: {len(plan) - computed} views from the store, {computed} computed{speed}{same}")


def in_order_of_place(
    plan: pd.DataFrame, places: Mapping[str, Place], numbers: Numbers
) -> Numbers:
    """Sort numbers of a plan's rows by where images lie: archives are read forwards."""
    digests = list(places)
    rank = {digests[at]: rank for rank, at in enumerate(in_order(list(places.values())))}
    ranks = plan["digest"].iloc[numbers].map(rank).to_numpy()
    return numbers[np.argsort(ranks, kind="stable")]


def row_keys(network: FrozenNetwork, plan: pd.DataFrame, part: Part) -> list[bytes]:
    """32 bytes for each view: all that its row depends on, digested.

    Args:
        plan: With columns digest and those of `View`.
    """
    prefix = network.digest() + part.encode()
    views = plan[list(VIEW_TYPES)].itertuples(index=False, name=None)
    return [
        hashlib.sha256(prefix + digest.encode() + struct.pack(VIEW_FORMAT, *view)).digest()
        for digest, view in zip(plan["digest"], views, strict=True)
    ]


def _holdable(
    network: FrozenNetwork, store: Store, views: int, parts: list[Part], scratch: Path
) -> list[Part]:
    """The parts that the store has room for; activations must leave features and run theirs."""
    held: list[Part] = []
    for part in parts if store.keeps else ():
        names = dict.fromkeys(("features", part))
        size = sum(network.size(name, views) for name in names)
        again, missing = network.size(part, views), network.size(part, views - store.hits)
        if size > store.holds:
            what = f"{sized(size)} of {' and '.join(names)}"
            say(
                f"store: {what} are more than the {sized(store.holds)} that {LIMIT} lets it hold; "
                f"{part} are not kept"
            )
        elif part != parts[0] and not store.has_room(missing, again=again, beside=scratch):
            say(f"store: its disk has no room for {part} twice, as fine_tune needs; not kept")
        else:
            held.append(part)
    return held


def _ready(
    network: FrozenNetwork, parts: Set[Part]
) -> Callable[[Iterable[Job]], Iterator[tuple[int, Outputs]]]:
    """What numbers and computes every view of the jobs it is given, here or on a cluster."""
    if address := cluster_address():
        pooled_only = parts == {"features"}
        return lambda wanted: run_on_cluster(address, network, wanted, pooled_only=pooled_only)
    run = network.compile()
    return lambda wanted: enumerate(run(network.spec.pictures(wanted)))


class _Keeping:
    """Puts rows into the store, in transactions of about a second's work.

    A thread of its own writes, so that the network need not wait for the disk.
    """

    def __init__(
        self, network: FrozenNetwork, store: Store, keys: dict[Part, list[bytes]]
    ) -> None:
        self._store, self._keys = store, keys
        self._kinds = {part: network.kind(part) for part in keys}
        self._waiting: dict[Part, list[tuple[bytes, bytes]]] = {part: [] for part in keys}
        self._last = time.monotonic()
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] = self._writer.submit(lambda: None)

    def add(self, part: Part, number: int, values: NDArray[np.generic]) -> None:
        """Take a row; it is in the store some seconds later."""
        self._waiting[part].append((self._keys[part][number], values.tobytes()))
        if time.monotonic() - self._last > KEEP_EVERY_S:
            self._hand_over()

    def close(self) -> None:
        """Put what waits into the store, and wait for it."""
        with self._writer:
            self._hand_over()
            self._writing.result()

    def _hand_over(self) -> None:
        self._writing.result()
        full, self._waiting = self._waiting, {part: [] for part in self._waiting}
        self._writing = self._writer.submit(self._write, full)
        self._last = time.monotonic()

    def _write(self, full: Mapping[Part, Sequence[tuple[bytes, bytes]]]) -> None:
        for part, entries in full.items():
            self._store.write(self._kinds[part], entries)

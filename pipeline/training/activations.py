"""What fine-tuning feeds on: the frozen layers' activations, from disk or computed as needed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Rows, writing_rows
from pipeline.console import say, sized
from pipeline.files import scratch
from pipeline.frozen.network import FrozenNetwork
from pipeline.frozen.rows import frozen_rows
from pipeline.images.pictures import jobs
from pipeline.sources.place import Place
from pipeline.training.epochs import Gather


@contextmanager
def activations(
    network: FrozenNetwork,
    plan: pd.DataFrame,
    places: Mapping[str, Place],
    *,
    budget_gb: float,
    folder: Path,
) -> Iterator[Gather]:
    """Give what looks up the activations of a plan's views.

    Within the budget all are put on disk once and an epoch costs no frozen
    layer.  Beyond it, or where the disk lacks the room, they are computed
    whenever they are asked for, by the network that would have stored them: so
    both give the same numbers (with OpenVINO to the bit; TensorFlow rounds by a
    row's place in its batch).

    Args:
        plan: Views, with columns digest, split and those of `View`.
        places: Where the image of each digest lies.
        budget_gb: Of disk, in 10^9 bytes.
        folder: Where a folder of scratch files may stand for the duration.

    Raises:
        InputError: An image has gone or changed since `ingest`.
    """
    needed = network.size("activations", len(plan))
    with scratch(folder) as room:
        free = shutil.disk_usage(room).free
        if needed <= min(budget_gb * 1e9, free):
            shape = (len(plan), network.values("activations"))
            with writing_rows(room / "activations.npy", shape, network.dtype) as write:
                frozen_rows(network, plan, places, "fine_tune", part="activations", sink=write)
            yield _stored(network, Rows(room / "activations.npy"))
        else:
            bound = (
                f"the {sized(free)} free on the disk of {folder}"
                if needed <= budget_gb * 1e9
                else f"fine_tune.activation_budget_gb {budget_gb:g}"
            )
            say(
                f"fine_tune: activations of {sized(needed)} are more than {bound}: "
                "every epoch runs the frozen layers anew"
            )
            yield _online(network, plan, places)


def _stored(network: FrozenNetwork, array: Rows) -> Gather:
    return lambda rows: _split(network, array[rows])


def _online(network: FrozenNetwork, plan: pd.DataFrame, places: Mapping[str, Place]) -> Gather:
    compiled = cache(lambda precision: network.at(precision).compile())

    def gather(rows: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        flat = np.empty((len(rows), network.values("activations")), np.float32)
        wanted = plan.iloc[rows]
        for share, numbers in network.shares(wanted):
            run = compiled(share.spec.extract.precision)
            shown = share.spec.pictures(jobs(places, wanted.iloc[numbers]))
            for number, outputs in zip(numbers, run(shown), strict=True):
                flat[number] = share.take("activations", outputs)
        return _split(network, flat)

    return gather


def _split(network: FrozenNetwork, flat: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """(row, value) into an array (row, ...) for each tensor of the cut."""
    shapes = network.activation_shapes
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(flat, ends[:-1], axis=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]

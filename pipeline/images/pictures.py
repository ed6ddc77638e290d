"""The pictures that the network sees, decoded and rendered ahead in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd

from pipeline.errors import InputError
from pipeline.images.decode import Pixels, RejectedImage, decode, pixel_digest
from pipeline.images.views import IDENTITY, ResizeFilter, View, render

Item = TypeVar("Item")
Result = TypeVar("Result")

VIEW_TYPES = {name: type(value) for name, value in vars(IDENTITY).items()}


class Job(NamedTuple):
    """The views wanted of one image.  `digest` is what its pixels must have."""

    file: Path
    digest: str
    views: list[View]


def jobs(raw: Path, images: pd.DataFrame, plan: pd.DataFrame) -> Iterator[Job]:
    """The plan's views, image by image, in the plan's order.

    Args:
        images: With columns path and digest; one row a digest.
        plan: With a column digest and those of `View`; an image's views stand together.

    Raises:
        InputError: Images and plan do not belong together.
    """
    file_of = dict(zip(images["digest"], images["path"], strict=True))
    unplanned = images["path"][~images["digest"].isin(plan["digest"])]
    if not unplanned.empty:
        reason = f"has no view of {unplanned.iloc[0]}"
        raise InputError("data/views.csv", reason, "run `dvc repro augment`")
    rows = plan[["digest", *VIEW_TYPES]].itertuples(index=False, name=None)
    for digest, views in groupby(rows, key=lambda row: str(row[0])):
        if digest not in file_of:
            reason = f"holds a view of {digest}, which is none of the images"
            raise InputError("data/views.csv", reason, "run `dvc repro augment`")
        yield Job(raw / file_of[digest], digest, [View(*view) for _, *view in views])


def pictures(wanted: Iterable[Job], size: int, resize: ResizeFilter) -> Iterator[Pixels]:
    """Render every view of every job, in order.

    Yields:
        (size, size, 3) uint8 RGB.

    Raises:
        InputError: An image has gone or changed since `ingest` read it.
    """

    def render_all(job: Job) -> list[Pixels]:
        pixels = _unchanged(job)
        return [render(pixels, view, size, resize) for view in job.views]

    for rendered in map_ahead(render_all, wanted):
        yield from rendered


def _unchanged(job: Job) -> Pixels:
    try:
        pixels = decode(job.file)
    except RejectedImage as rejection:
        fix = "put the image back, or `dvc repro ingest`"
        raise InputError(job.file, str(rejection), fix) from rejection
    if pixel_digest(pixels) != job.digest:
        raise InputError(job.file, "has changed since ingest read it", "run `dvc repro ingest`")
    return pixels


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Call `function` in threads and yield its results in order.

    Few results wait at any time, so memory does not grow with the number of
    items.  Pillow and hashlib release the interpreter lock while they work.
    """
    workers = os.cpu_count() or 1
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

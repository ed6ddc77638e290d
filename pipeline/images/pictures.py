"""The pictures that the network sees, decoded and rendered ahead in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd

from pipeline.errors import InputError
from pipeline.images.decode import Pixels, decode, decode_bytes, pixel_digest
from pipeline.images.rejection import RejectedImage
from pipeline.images.views import IDENTITY, ResizeFilter, View, as_image, render_image
from pipeline.tables import read_table

Item = TypeVar("Item")
Result = TypeVar("Result")

PUT_BACK = "put the image back, or `dvc repro ingest`"
VIEW_TYPES = {name: type(value) for name, value in vars(IDENTITY).items()}


class Job(NamedTuple):
    """The views wanted of one image.

    `digest` is what its pixels must have; `content` the file's bytes, where the
    file itself is on another machine.
    """

    file: Path
    digest: str
    views: list[View]
    content: bytes | None = None


def read_plan(file: Path) -> pd.DataFrame:
    """Read data/views.csv, the plan of views that `augment` wrote.

    Raises:
        InputError: The file is absent or holds no such plan.
    """
    return read_table(file, ("digest", "view", *VIEW_TYPES), VIEW_TYPES)


def files_by_digest(raw: Path, images: pd.DataFrame, plan: pd.DataFrame) -> dict[str, Path]:
    """The file of each image of a plan of views.

    Args:
        images: With columns path and digest; one row a digest.
        plan: With a column digest.

    Raises:
        InputError: Images and plan do not belong together.
    """
    fix = "run `dvc repro augment`"
    unplanned = images["path"][~images["digest"].isin(plan["digest"])]
    if not unplanned.empty:
        raise InputError("data/views.csv", f"has no view of {unplanned.iloc[0]}", fix)
    unknown = plan["digest"][~plan["digest"].isin(images["digest"])]
    if not unknown.empty:
        reason = f"holds a view of {unknown.iloc[0]}, which is none of the images"
        raise InputError("data/views.csv", reason, fix)
    return {
        digest: raw / path for digest, path in zip(images["digest"], images["path"], strict=True)
    }


def jobs(files: Mapping[str, Path], plan: pd.DataFrame) -> Iterator[Job]:
    """The plan's views, in its order; those of an image that stand together are one job."""
    rows = plan[["digest", *VIEW_TYPES]].itertuples(index=False, name=None)
    for digest, views in groupby(rows, key=lambda row: str(row[0])):
        yield Job(files[digest], digest, [View(*view) for _, *view in views])


def pictures(
    wanted: Iterable[Job], size: int, resize: ResizeFilter, *, threads: int | None = None
) -> Iterator[Pixels]:
    """Render every view of every job, in order.

    Args:
        threads: See `map_ahead`.

    Yields:
        (size, size, 3) uint8 RGB.

    Raises:
        InputError: An image has gone or changed since `ingest` read it.
    """

    def render_all(job: Job) -> list[Pixels]:
        image = as_image(_unchanged(job))
        return [render_image(image, view, size, resize) for view in job.views]

    for rendered in map_ahead(render_all, wanted, threads=threads):
        yield from rendered


def read_file(job: Job) -> bytes:
    """The bytes of a job's image file, to be sent to another machine.

    Raises:
        InputError: The file has gone.
    """
    if job.file.exists() and not job.file.is_file():  # a pipe would be waited for
        raise InputError(job.file, "is no file", PUT_BACK)
    try:
        return job.file.read_bytes()
    except OSError as error:
        raise InputError(job.file, str(error.strerror), PUT_BACK) from error


def _unchanged(job: Job) -> Pixels:
    """Decode without limits: `ingest` held the image to them, and knows it to harm no process."""
    try:
        if job.content is None:
            pixels = decode(job.file, limits=None)
        else:
            pixels = decode_bytes(job.content, limits=None)
    except RejectedImage as rejection:
        raise InputError(job.file, str(rejection), PUT_BACK) from rejection
    if pixel_digest(pixels) != job.digest:
        raise InputError(job.file, "has changed since ingest read it", "run `dvc repro ingest`")
    return pixels


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int | None = None
) -> Iterator[Result]:
    """Call `function` in threads and yield its results in order.

    Few results wait at any time, so memory does not grow with the number of
    items.  Pillow and hashlib release the interpreter lock while they work.

    Args:
        threads: None: one for each processor.
    """
    threads = threads or os.cpu_count() or 1
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

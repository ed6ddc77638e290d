"""The pictures that the network sees, decoded and rendered ahead in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd

from pipeline.errors import InputError, RejectedImage
from pipeline.images.cores import cores
from pipeline.images.decode import Pixels, decode_bytes
from pipeline.images.digest import pixel_digest
from pipeline.images.places import read_places
from pipeline.images.views import IDENTITY, ResizeFilter, View, as_image, render_all
from pipeline.sources.content import content
from pipeline.sources.place import Place, lost
from pipeline.tables import read_table

Item = TypeVar("Item")
Result = TypeVar("Result")

VIEW_TYPES = {name: type(value) for name, value in vars(IDENTITY).items()}


class Job(NamedTuple):
    """The views wanted of one image.

    `digest` is what its pixels must have; `content` its bytes, where the place
    itself is on another machine.
    """

    place: Place
    digest: str
    views: list[View]
    content: bytes | None = None


def read_plan(file: Path) -> pd.DataFrame:
    """Read data/views.csv, the plan of views that `augment` wrote.

    Raises:
        InputError: The file is absent or holds no such plan.
    """
    return read_table(file, ("digest", "view", *VIEW_TYPES), VIEW_TYPES)


def with_splits(plan: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """A plan of views with the split of each view's image, in column split.

    Args:
        images: With columns digest and split; one row a digest.
    """
    return plan.assign(split=plan["digest"].map(images.set_index("digest")["split"]))


def places_by_digest(raw: Path, images: pd.DataFrame, plan: pd.DataFrame) -> dict[str, Place]:
    """The place of each image of a plan of views.

    Args:
        images: A manifest; one row a digest.
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
    return dict(zip(images["digest"], read_places(images, raw), strict=True))


def jobs(places: Mapping[str, Place], plan: pd.DataFrame) -> Iterator[Job]:
    """The plan's views, in its order; those of an image that stand together are one job."""
    rows = plan[["digest", *VIEW_TYPES]].itertuples(index=False, name=None)
    for digest, views in groupby(rows, key=lambda row: str(row[0])):
        yield Job(places[digest], digest, [View(*view) for _, *view in views])


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

    def rendered_views(job: Job) -> list[Pixels]:
        return render_all(as_image(_unchanged(job)), job.views, size, resize)

    for rendered in map_ahead(rendered_views, wanted, threads=threads):
        yield from rendered


def read_bytes(job: Job) -> bytes:
    """The bytes of a job's image, to be sent to another machine.

    Raises:
        InputError: They have gone.
    """
    try:
        return content(job.place)
    except RejectedImage as rejection:
        raise lost(job.place, rejection) from rejection


def _unchanged(job: Job) -> Pixels:
    """Decode without limits: `ingest` held the image to them, and knows it to harm no process."""
    try:
        encoded = content(job.place) if job.content is None else job.content
        pixels = decode_bytes(encoded, limits=None)
    except RejectedImage as rejection:
        raise lost(job.place, rejection) from rejection
    if pixel_digest(pixels) != job.digest:
        reason = "has changed since ingest read it"
        raise InputError(str(job.place), reason, "run `dvc repro ingest`")
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
    threads = threads or cores()
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

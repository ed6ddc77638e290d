"""What `ingest` wants to know of every image: whether it can be used, and what its pixels say.

Light to import, because every process that decodes does.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RejectedImage
from pipeline.images.decode import Limits, as_pixels, image_of
from pipeline.images.digest import pixel_digest
from pipeline.images.gray_copy import gray_copy
from pipeline.images.isolated import map_isolated
from pipeline.images.measures import Measures, measure
from pipeline.images.worker import Died
from pipeline.sources import compressed
from pipeline.sources.content import content
from pipeline.sources.place import Place

COPIES = 3  # of a file's bytes: as a process gets them from another, unpacked, and its decoder's
BYTES_A_PIXEL = 32  # in every form that a picture has on its way to RGB, at most
BATCH = 64  # images that are measured together, several times faster than one by one
BASE_BYTES = 512 * 2**20  # for decoders' tables and threads


class Decoded(NamedTuple):
    """What a usable image's pixels say."""

    digest: str
    width: int
    height: int
    measures: Measures


class Unmeasured(NamedTuple):
    """A usable image before it is measured; `copy` is what `gray_copy` made of it."""

    digest: str
    width: int
    height: int
    copy: NDArray[np.uint8]


Item = Place | bytes | RejectedImage
"""Where an image lies, or its bytes, or why there are none."""


def memory_for(limits: Limits) -> int:
    """What a process that decodes within limits may take, in bytes."""
    return BASE_BYTES + COPIES * limits.file_bytes + BYTES_A_PIXEL * limits.pixels


def carried(places: Iterable[Place], limits: Limits) -> Iterator[Item]:
    """Read what lies in compressed archives here: each process would unpack them anew."""
    for place in places:
        if place.member and compressed.is_compressed(place.file):
            try:
                yield content(place, limits.file_bytes)
            except RejectedImage as rejection:
                yield rejection
        else:
            yield place


def examine(item: Item, limits: Limits) -> Unmeasured | RejectedImage:
    """Decode one image, or say why it cannot be used."""
    if isinstance(item, RejectedImage):
        return item
    try:
        encoded = item if isinstance(item, bytes) else content(item, limits.file_bytes)
        image = image_of(encoded, limits)
        pixels = as_pixels(image)
        return Unmeasured(pixel_digest(pixels), *image.size, gray_copy(pixels))
    except RejectedImage as rejection:
        return rejection
    except MemoryError:
        return RejectedImage("too_large", "needs more memory than a picture may take")


def measured(seen: list[Unmeasured | RejectedImage]) -> list[Decoded | RejectedImage]:
    """Measure what could be decoded."""
    found: list[Decoded | RejectedImage] = []
    for start in range(0, len(seen), BATCH):
        batch = seen[start : start + BATCH]
        copies = [one.copy for one in batch if isinstance(one, Unmeasured)]
        measures = iter(measure(np.stack(copies)) if copies else [])
        found += [
            Decoded(*one[:3], next(measures)) if isinstance(one, Unmeasured) else one
            for one in batch
        ]
    return found


def examine_all(
    places: Iterable[Place], limits: Limits, timeout_s: float, *, processes: int | None = None
) -> Generator[Decoded | RejectedImage]:
    """Examine images in processes of their own, in the given order.

    Args:
        timeout_s: Of processor time; an image that takes more is taken to hang the decoder.
        processes: None: one for each processor.
    """
    found: Iterator[Any] = map_isolated(
        partial(examine, limits=limits),
        carried(places, limits),
        together=measured,
        timeout_s=timeout_s,
        memory_bytes=memory_for(limits),
        processes=processes,
        preload=[__name__],
    )
    return (_rejection(result) if isinstance(result, Died) else result for result in found)


def _rejection(died: Died) -> RejectedImage:
    if died.overdue:
        return RejectedImage("too_slow", f"{died.detail}, twice")
    return RejectedImage("crashes_decoder", f"{died.detail}, twice")

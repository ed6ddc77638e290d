"""What `ingest` wants to know of every image: whether it can be used, and what its pixels say.

Light to import, because every process that decodes does.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline.images.decode import image_digest, load_image
from pipeline.images.isolated import Died, map_isolated
from pipeline.images.rejection import Limits, RejectedImage

BYTES_A_PIXEL = 32  # in every form that a picture has on its way to RGB, at most
BASE_BYTES = 512 * 2**20  # for decoders' tables and threads


class Decoded(NamedTuple):
    """What a usable image's pixels say."""

    digest: str
    width: int
    height: int


def examine(file: Path, limits: Limits) -> Decoded | RejectedImage:
    """Decode one image, or say why it cannot be used."""
    try:
        image = load_image(file, limits)
        return Decoded(image_digest(image), *image.size)
    except RejectedImage as rejection:
        return rejection
    except MemoryError:
        return RejectedImage("too_large", "needs more memory than a picture may take")


def examine_all(
    files: Iterable[Path], limits: Limits, timeout_s: float, *, processes: int | None = None
) -> Generator[Decoded | RejectedImage]:
    """Examine images in processes of their own, in the given order.

    Args:
        timeout_s: Of processor time; a file that takes more is taken to hang the decoder.
        processes: None: one for each processor.
    """
    found = map_isolated(
        partial(examine, limits=limits),
        files,
        timeout_s=timeout_s,
        memory_bytes=BASE_BYTES + limits.file_bytes + BYTES_A_PIXEL * limits.pixels,
        processes=processes,
        preload=[__name__],
    )
    for result in found:
        yield _rejection(result) if isinstance(result, Died) else result


def _rejection(died: Died) -> RejectedImage:
    if died.overdue:
        return RejectedImage("too_slow", f"{died.detail}, twice")
    return RejectedImage("crashes_decoder", f"{died.detail}, twice")

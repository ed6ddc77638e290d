"""What one does without this pipeline, and parts of what it does: run in processes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from pipeline.images.decode import DEFAULT_LIMITS, image_of
from pipeline.sources.content import content
from pipeline.sources.place import Place


def plain(file: Path) -> tuple[int, int]:
    """Open, load and convert."""
    with Image.open(file) as image:
        image.load()
        return image.convert("RGB").size


def with_digest(file: Path) -> str:
    """The same, and the SHA-256 of the pixels."""
    with Image.open(file) as image:
        image.load()
        return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def decoded(place: Place) -> tuple[int, int]:
    """What `ingest` does but for digest and measures."""
    return image_of(content(place), DEFAULT_LIMITS).size

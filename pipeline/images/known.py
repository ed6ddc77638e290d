"""What earlier runs found out about files that have not changed since, from the store."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from pipeline.images.decode import Limits
from pipeline.images.examine import Decoded
from pipeline.images.measures import Measures
from pipeline.sources.place import Place
from pipeline.sources.state import file_state
from pipeline.store.access import Store

MEANING = 4  # of a stored result; raise it when other code says something else of the same file
KIND = "images as ingest saw them"


class Known:
    """Results of one run and of those before it; what a run adds is kept a second later.

    Args:
        places: Of the images to examine.
        limits: A result is known for these only.
    """

    def __init__(self, store: Store, places: Sequence[Place], limits: Limits) -> None:
        self._store = store
        self._keys = list(file_keys(places, limits))
        self._waiting: list[tuple[bytes, bytes]] = []
        self._last = time.monotonic()

    def recall(self) -> dict[int, Decoded]:
        """What is known, by the number of the place."""
        numbers = [number for number, key in enumerate(self._keys) if key]
        found = self._store.read([key for key in self._keys if key])
        return {numbers[at]: result for at, value in found if (result := _decoded(value))}

    def add(self, number: int, result: Decoded) -> None:
        """Keep what was found out of the place of that number."""
        if key := self._keys[number]:
            self._waiting.append((key, json.dumps(result).encode()))
        if time.monotonic() - self._last > 1.0:
            self.close()

    def close(self) -> None:
        """Put what waits into the store."""
        if self._waiting:
            self._store.write(KIND, self._waiting)
        self._waiting, self._last = [], time.monotonic()


def file_keys(places: Sequence[Place], limits: Limits) -> Iterator[bytes]:
    """32 bytes for each place, which change when its file does; none of a file just changed."""
    prefix = json.dumps([MEANING, version("pillow"), limits])
    states: dict[Path, tuple[str, str]] = {}
    for place in places:
        if place.file not in states:
            states = {} if len(states) > 1000 else states
            states[place.file] = file_state(place.file), place.file.suffix.lower()
        state, ending = states[place.file]
        kind = ending if place.member else ""  # one file may have two names
        text = f"{prefix}\0{state}\0{kind}\0{place.position}\0{place.size}\0{place.member}"
        yield hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() if state else b""


def _decoded(value: bytes) -> Decoded | None:
    """A stored result; None if it is not one."""
    try:
        digest, width, height, measures = json.loads(value)
        return Decoded(str(digest), int(width), int(height), Measures(*measures))
    except (ValueError, TypeError):
        return None

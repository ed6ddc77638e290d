"""What `ingest` found out of every image, also in earlier runs of files that have not changed.

A file of its own has an entry of the store.  Members of an archive share
entries, as many as were decoded in a second: to look a hundred thousand up one
by one takes longer than to decode a thousand.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RejectedImage
from pipeline.images.decode import Limits
from pipeline.images.examine import Decoded
from pipeline.sources.place import Place
from pipeline.sources.state import archive_state, file_state
from pipeline.store.access import ASKED_AT_ONCE, Store

MEANING = 8  # of a stored result; raise it when other code says something else of the same file
KIND = "images as ingest saw them"
KEEP_EVERY_S = 1.0
SEEN, REJECTED = b"s", b"r"  # how an entry begins
# reasons that lie in the bytes and the limits; others may be gone the next time
LASTING = {"damaged", "empty_file", "not_an_image", "too_many_bytes", "too_many_frames"}
LASTING |= {"unknown_range", "unsupported_format"}
ROW = np.dtype(
    [
        ("member", "S16"),  # of what an archive says of it, a digest; empty for a file of its own
        ("digest", "S64"),  # empty: not known
        ("width", "<i8"),
        ("height", "<i8"),
        ("perceptual_hash", "S16"),
        ("brightness", "<f8"),
        ("contrast", "<f8"),
        ("sharpness", "<f8"),
    ]
)
Rows = NDArray[np.void]


@dataclass
class Archive:
    """The places that lie in one archive, by number, and the number of its next entry."""

    state: str
    numbers: list[int]
    next: int = 0


class Known:
    """Results of one run and of those before it; what a run adds is kept a second later.

    Args:
        places: Of the images to examine.
        limits: A result is known for these only.

    Attributes:
        rows: (place,) of dtype `ROW`.
        rejections: Why what lies at other places cannot be used, by number.
    """

    def __init__(self, store: Store, places: Sequence[Place], limits: Limits) -> None:
        self.rows: Rows = np.zeros(len(places), ROW)
        self.rejections: dict[int, RejectedImage] = {}
        self._store = store
        self._prefix = json.dumps([MEANING, version("pillow"), limits])
        self._archives: dict[str, Archive] = {}  # by state: one may have two names
        self._states: dict[Path, str] = {}  # of archives
        self._own: dict[int, bytes] = {}  # keys of files of their own
        self._places = places
        self._waiting: list[int] = []
        self._last = time.monotonic()
        for number, place in enumerate(places):
            if not place.member:
                if state := file_state(place.file):
                    self._own[number] = self._key(state)
                continue
            if place.file not in self._states:
                self._states[place.file] = archive_state(place.file)
            if state := self._states[place.file]:
                self._archives.setdefault(state, Archive(state, [])).numbers.append(number)

    def recall(self) -> None:
        """Fill in what is known."""
        for archive in self._archives.values():
            members = [_member(self._places[number]) for number in archive.numbers]
            self.rows["member"][archive.numbers] = members
            values = list(self._entries(archive))
            self._recall_seen(np.array(archive.numbers), values)
            self._recall_rejected(archive.numbers, values)
        numbers = [*self._own]
        for at, value in self._store.read([*self._own.values()]):
            if value.startswith(SEEN):
                self.rows[numbers[at]] = np.frombuffer(value, ROW, offset=len(SEEN))[0]
            else:
                self._recall_rejected([numbers[at]], [value])

    def add(self, number: int, result: Decoded | RejectedImage) -> None:
        """Take what was found out of the place of that number."""
        if isinstance(result, RejectedImage):
            self.rejections[number] = result
            if result.reason not in LASTING:
                return
        else:
            member = self.rows["member"][number]
            self.rows[number] = (member, *result[:-1], *result.measures)
        self._waiting.append(number)
        if time.monotonic() - self._last > KEEP_EVERY_S:
            self._keep()

    def close(self) -> None:
        """Keep what waits."""
        self._keep()

    def _keep(self) -> None:
        """Put what waits into the store, but for files that are no longer what they were."""
        together: dict[Path, list[int]] = {}
        entries: list[tuple[bytes, bytes]] = []
        for number in self._waiting:
            file = self._places[number].file
            if self._places[number].member:
                together.setdefault(file, []).append(number)
            elif (key := self._own.get(number)) == self._key(file_state(file)):
                entries += [(key, value) for value in self._values([number])]
        for file, numbers in together.items():
            state = self._states[file]
            if state and state == archive_state(file):
                archive = self._archives[state]
                entries += [(self._free(archive), value) for value in self._values(numbers)]
        if entries:
            self._store.write(KIND, entries)
        self._waiting, self._last = [], time.monotonic()

    def _values(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """What entries say of places, which are in one archive or only one."""
        if seen := [number for number in numbers if number not in self.rejections]:
            yield SEEN + self.rows[seen].tobytes()
        if rejected := [number for number in numbers if number in self.rejections]:
            found = [(number, self.rejections[number]) for number in rejected]
            members = self.rows["member"]
            lines = [(members[number].hex(), why.reason, why.detail) for number, why in found]
            yield REJECTED + json.dumps(lines).encode()

    def _recall_seen(self, numbers: NDArray[np.int64], values: Sequence[bytes]) -> None:
        found = [np.frombuffer(v, ROW, offset=len(SEEN)) for v in values if v.startswith(SEEN)]
        if found:
            entries = np.concatenate(found)
            entries = entries[np.argsort(entries["member"], kind="stable")]
            wanted = self.rows["member"][numbers]
            at = np.searchsorted(entries["member"], wanted).clip(max=len(entries) - 1)
            same = entries["member"][at] == wanted
            self.rows[numbers[same]] = entries[at[same]]

    def _recall_rejected(self, numbers: Sequence[int], values: Sequence[bytes]) -> None:
        found = [json.loads(v[len(REJECTED) :]) for v in values if v.startswith(REJECTED)]
        if found:
            why = {bytes.fromhex(member): words for lines in found for member, *words in lines}
            for number in numbers:
                if words := why.get(bytes(self.rows["member"][number])):
                    self.rejections[number] = RejectedImage(*words)

    def _free(self, archive: Archive) -> bytes:
        """The key of an entry that no other run has written meanwhile."""
        while True:
            key = self._key(archive.state, archive.next)
            archive.next += 1
            if not list(self._store.read([key], probing=True)):
                return key

    def _entries(self, archive: Archive) -> Iterator[bytes]:
        """What is stored of an archive, up to a gap as wide as what is asked for at once."""
        for start in count(0, ASKED_AT_ONCE):
            keys = [self._key(archive.state, start + at) for at in range(ASKED_AT_ONCE)]
            found = list(self._store.read(keys, probing=True))
            for at, value in found:
                archive.next = start + at + 1
                yield value
            if not found:
                return

    def _key(self, state: str, number: int = 0) -> bytes:
        return hashlib.sha256(f"{self._prefix}\0{state}\0{number}".encode()).digest()


def _member(place: Place) -> bytes:
    """16 bytes for what an archive says of a member."""
    text = f"{place.position}\0{place.size}\0{place.member}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16]

"""What earlier runs found in archives that have not changed since, from the machine's store.

The headers of a hundred thousand members take seconds to read, and those of a
compressed archive take unpacking it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.sources.found import Members
from pipeline.sources.place import Place
from pipeline.sources.state import archive_state
from pipeline.store.access import Store

MEANING = 4  # of what is stored; raise it when other code finds something else in the same archive
KIND = "members of archives"
TOGETHER = 10_000  # members in an entry of the store, and in memory


class Remembered:
    """Lists archives, each once for as long as it does not change."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, members: Members, archive: Path) -> Iterator[tuple[Place, str]]:
        """What `members` gives of an archive.

        Raises:
            InputError: What `members` raises.  What it gave before is remembered.
        """
        state = archive_state(archive)
        if not state:
            yield from members(archive)
            return
        number = 0
        while (known := self._recall(_key(state, number))) is not None:
            yield from ((Place(archive, *place), fault) for *place, fault in known)
            number += 1
            if len(known) < TOGETHER:
                return
        rest = islice(members(archive), number * TOGETHER, None)
        found: list[tuple[Place, str]] = [*islice(rest, TOGETHER)]
        while True:
            if state == archive_state(archive):  # and not another archive by now
                entry = json.dumps([(*place[1:], fault) for place, fault in found])
                self._store.write(KIND, [(_key(state, number), entry.encode())])
            yield from found
            number += 1
            if len(found) < TOGETHER:  # none, at last, says that these were all
                return
            found = [*islice(rest, TOGETHER)]

    def _recall(self, key: bytes) -> list[Any] | None:
        return next((json.loads(value) for _, value in self._store.read([key])), None)


def _key(state: str, number: int) -> bytes:
    return hashlib.sha256(json.dumps([KIND, MEANING, state, number]).encode()).digest()

"""Which file a table may mean by a path at which there is none."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from pipeline.sources.found import Found


class Alike:
    """The files that were found, by their paths and names in plain spelling.

    Tables that were written elsewhere spell paths with other capitals, accents
    or slashes, without the ending, or without the folder.
    """

    def __init__(self, found: Sequence[Found]) -> None:
        self.paths = {_plain(item.path): item.path for item in found if not item.fault}
        count = Counter(_stem(path) for path in self.paths)
        self.names = {
            _stem(plain): path for plain, path in self.paths.items() if count[_stem(plain)] == 1
        }

    def to(self, path: str) -> str | None:
        """The file of the same path but for its spelling, or the only one of that name."""
        plain = _plain(path)
        return self.paths.get(plain) or self.names.get(_stem(plain))


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path.replace("\\", "/")).casefold()


def _stem(plain: str) -> str:
    return PurePosixPath(plain).stem

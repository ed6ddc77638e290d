"""Which file a table may mean by a path at which there is none."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pipeline.sources.found import Found


class Alike:
    """The files that were found, by their paths and names in plain spelling.

    Tables that were written elsewhere spell paths with other capitals, accents
    or slashes, without the ending, or without the folder.

    Args:
        folder: The table's, where its paths start.
    """

    def __init__(self, found: Sequence[Found], folder: str) -> None:
        self._folder = folder
        self._paths = {_plain(item.path): item.path for item in found if not item.fault}
        count = Counter(_stem(plain) for plain in self._paths)
        stems = ((_stem(plain), path) for plain, path in self._paths.items())
        self._names = {stem: path for stem, path in stems if count[stem] == 1}

    def to(self, path: str) -> str | None:
        """How the table should have it: the same path in its spelling, or the only such name."""
        plain = _plain(path)
        names = self._names.get(posixpath.basename(plain)) or self._names.get(_stem(plain))
        meant = self._paths.get(plain) or names
        return posixpath.relpath(meant, self._folder) if meant else None


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path.replace("\\", "/")).casefold()


def _stem(plain: str) -> str:
    return posixpath.splitext(posixpath.basename(plain))[0]

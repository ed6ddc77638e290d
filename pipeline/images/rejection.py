"""Why a file is no image that can be used, and what an image may cost at most."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """What an image may cost at most; more is taken for a bomb.

    `pixels` of the first frame or the canvas, `file_bytes` of the file, `frames`
    of an animation or a file of many pages, although only the first is used.
    """

    pixels: int = 100_000_000
    file_bytes: int = 1_000_000_000
    frames: int = 1_000


DEFAULT_LIMITS = Limits()


class RejectedImage(Exception):
    """A file is not an image that can be used.

    Args:
        reason: A stable code for tables, such as "damaged".
        detail: What a person needs to find the fault.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[RejectedImage], tuple[str, str]]:
        """Cross to another process whole: `Exception` would send the message alone."""
        return type(self), (self.reason, self.detail)


def in_words(error: BaseException) -> str:
    """What an exception says, in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or repr(error)

"""The error a user of the pipeline is meant to read, that of a single image, and others' words."""

from __future__ import annotations

from pathlib import Path

LONGEST = 500


class InputError(Exception):
    """Something a user gave is wrong, and they can put it right.

    Args:
        file: The file or folder to look at.
        reason: What is wrong with it, with the offending value.
        fix: What to do next, as an order.
    """

    def __init__(self, file: Path | str, reason: str, fix: str) -> None:
        super().__init__(f"{file}: {reason}\n  fix: {fix}")
        self.file = file
        self.reason = reason
        self.fix = fix

    def __reduce__(self) -> tuple[type[InputError], tuple[Path | str, ...]]:
        """Cross to another process whole: `Exception` would send the message alone."""
        return type(self), (self.file, self.reason, self.fix)


class ParamsError(InputError):
    """A value of the params fits its key, and cannot be used.

    Args:
        reason: What is wrong, with the key and the value.
        fix: What to do next, as an order.
        file: Of the params; who raises this knows its values alone.
    """

    def __init__(self, reason: str, fix: str, file: Path | str = "params.yaml") -> None:
        super().__init__(file, reason, fix)

    def __reduce__(self) -> tuple[type[InputError], tuple[Path | str, ...]]:
        """Cross to another process whole."""
        return type(self), (self.reason, self.fix, self.file)


class RejectedImage(Exception):
    """An image cannot be used.

    Args:
        reason: A stable code for tables, such as "damaged".
        detail: What a person needs to find the fault.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[RejectedImage], tuple[str, str]]:
        """Cross to another process whole."""
        return type(self), (self.reason, self.detail)


def in_words(error: BaseException) -> str:
    """What another's error says, in one line of no more than `LONGEST` letters."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split()) or repr(error)
    return text[:LONGEST]

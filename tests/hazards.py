"""What items can do to the process that works on them; imported by processes of their own."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from pipeline.errors import RejectedImage
from pipeline.images.decode import Limits, Pixels, decode
from pipeline.images.examine import Unmeasured, examine
from pipeline.sources.place import Place

poisoned = False


class Unstartable:
    """Ends any process that receives it."""

    def __call__(self, item: object) -> object:
        return item

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (5,)


def pid(_: object) -> int:
    return os.getpid()


def square(item: int) -> int:
    return item * item


def page_faults(size: int) -> int:
    """How often the system had to find memory for so many bytes that are written and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(os.urandom(1) * size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def obey(item: tuple[str, object]) -> object:
    """Do what the item says."""
    global poisoned  # noqa: PLW0603
    if poisoned:
        os._exit(9)
    what, value = item
    poisoned = what == "poison"
    return DEEDS[what](value) if what in DEEDS else value


def hang(_: object) -> None:
    while True:
        pass


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def die_once(marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker


def fail(value: object) -> None:
    raise ZeroDivisionError(value)


def speak(text: str) -> str:
    """On stderr, as Python does and as a C library does."""
    sys.stderr.write(f"Python: {text}\n")
    ctypes.CDLL(None).perror(f"C: {text}".encode())
    return text


def allocate(count: int) -> int | str:
    try:
        return len(bytearray(count))
    except MemoryError:
        return "refused"


DEEDS = {
    "segfault": lambda _: ctypes.string_at(0),
    "hang": hang,
    "sleep": sleep,
    "exit": os._exit,
    "die once": die_once,
    "speak": speak,
    "raise": fail,
    "unsendable": lambda _: lambda: None,
    "allocate": allocate,
}


def numbered(results: list[int]) -> list[tuple[int, int]]:
    """Each result with its place among those that came together."""
    return [(result, place) for place, result in enumerate(results)]


def seen(file: Path) -> Pixels | RejectedImage:
    """The pixels of a file, or why it has none."""
    try:
        return np.ascontiguousarray(decode(file))
    except RejectedImage as rejection:
        return rejection


def examine_or_die(place: Place, limits: Limits) -> Unmeasured | RejectedImage:
    """What ingest does, but for files with a telling name."""
    if place.file.stem in DEEDS:
        DEEDS[place.file.stem](0)
    return examine(place, limits)

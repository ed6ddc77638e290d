"""Mutate real files of every format, and see that the decoder reads or rejects each mutant.

`python -m tests.fuzz` tries 20,000.  A mutant follows from seed and number, so
`--only NUMBER --keep DIRECTORY` makes one again.  It fails where an exception
other than RejectedImage escapes, a process dies or takes more memory than it
may, a mutant takes too long, or is read twice to unlike pixels.
"""

from __future__ import annotations

import argparse
import resource
import struct
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.project import RSS_UNIT
from pipeline.console import progress, say
from pipeline.errors import RejectedImage
from pipeline.images.decode import Limits, decode_bytes
from pipeline.images.digest import pixel_digest
from pipeline.images.examine import memory_for
from pipeline.images.isolated import map_isolated
from pipeline.images.worker import Died
from tests import corpus

COUNT = 20_000
LIMITS = Limits(pixels=4_000_000, file_bytes=2_000_000, frames=50)
MEMORY = memory_for(LIMITS)
TIMEOUT_S = 30.0
LARGEST = 100_000  # bytes of a file that is worth mutating
NUMBERS = (0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**32 - 1)
PNG = b"\x89PNG\r\n\x1a\n"


class Tried(NamedTuple):
    """What became of a mutant: `outcome` is "read", a reason, or begins with "FAULT"."""

    source: str
    outcome: str
    seconds: float
    peak_bytes: int


@cache
def sources() -> list[corpus.Kind]:
    """Files of the corpus, sound and bad, that are no bombs already."""
    return [
        kind
        for kind in corpus.kinds(leave_out=(corpus.bombs, corpus.truncated))
        if 0 < len(kind.content) <= LARGEST
    ]


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """The name of a source, and its content with one to four things wrong."""
    random = np.random.default_rng((seed, number))
    kind = sources()[number % len(sources())]
    content = bytearray(kind.content)
    for _ in range(random.integers(1, 5)):
        content = MUTATIONS[random.integers(len(MUTATIONS))](content, random) or bytearray(b"\0")
    if content.startswith(PNG) and random.random() < 0.7:
        content = with_checksums(content)
    return kind.name, bytes(content[: LIMITS.file_bytes])


def flip(content: bytearray, random: np.random.Generator) -> bytearray:
    """Turn some bits."""
    for at in random.integers(0, len(content), random.integers(1, 9)):
        content[at] ^= 1 << random.integers(8)
    return content


def cut(content: bytearray, random: np.random.Generator) -> bytearray:
    """Leave the end out."""
    return content[: random.integers(1, len(content) + 1)]


def drop(content: bytearray, random: np.random.Generator) -> bytearray:
    """Leave some bytes out."""
    at = random.integers(0, len(content))
    return content[:at] + content[at + random.integers(1, 65) :]


def insert(content: bytearray, random: np.random.Generator) -> bytearray:
    """Put noise in between."""
    at = random.integers(0, len(content) + 1)
    return content[:at] + random.bytes(random.integers(1, 65)) + content[at:]


def repeat(content: bytearray, random: np.random.Generator) -> bytearray:
    """Write a part again and again."""
    at = random.integers(0, len(content))
    part = content[at : at + random.integers(1, 257)]
    return content[:at] + part * int(random.integers(2, 20)) + content[at:]


def number_anywhere(content: bytearray, random: np.random.Generator) -> bytearray:
    """Write a number that is often forgotten over any two or four bytes."""
    return _number(content, random, len(content))


def number_ahead(content: bytearray, random: np.random.Generator) -> bytearray:
    """The same where headers are."""
    return _number(content, random, min(len(content), 200))


def splice(content: bytearray, random: np.random.Generator) -> bytearray:
    """Go on as another file does."""
    other = sources()[random.integers(len(sources()))].content
    at, there = random.integers(0, len(content) + 1), random.integers(0, len(other))
    return content[:at] + other[there:]


def _number(content: bytearray, random: np.random.Generator, end: int) -> bytearray:
    form = ("<H", ">H", "<I", ">I")[random.integers(4)]
    value = NUMBERS[random.integers(len(NUMBERS))] & (2 ** (8 * struct.calcsize(form)) - 1)
    at = int(random.integers(0, end))
    packed = struct.pack(form, value)[: len(content) - at]
    content[at : at + len(packed)] = packed
    return content


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    *(flip, flip, cut, drop, insert, repeat, number_anywhere, number_ahead, number_ahead, splice),
)


def with_checksums(content: bytearray) -> bytearray:
    """Put the checksums of a PNG right, so that what lies behind them is tried too."""
    at = len(PNG)
    while at + 12 <= len(content):
        end = at + 8 + struct.unpack_from(">I", content, at)[0]
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return content


def attempt(number: int, seed: int) -> Tried:
    """Decode a mutant twice."""
    name, content = mutant(seed, number)
    started = time.monotonic()
    try:
        outcome = _outcome(content)
    except BaseException:  # noqa: BLE001  # whatever escapes is what is looked for
        outcome = f"FAULT: {traceback.format_exc()}"
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    return Tried(name, outcome, seconds, peak)


def _outcome(content: bytes) -> str:
    digests = []
    for _ in range(2):
        try:
            pixels = decode_bytes(content, LIMITS)
        except RejectedImage as rejection:
            digests.append(rejection.reason)
            continue
        height, width, channels = pixels.shape
        if pixels.dtype != np.uint8 or channels != 3 or not 0 < height * width <= LIMITS.pixels:
            return f"FAULT: pixels are {pixels.dtype} {pixels.shape}"
        digests.append(pixel_digest(pixels))
    if len(set(digests)) > 1:
        return f"FAULT: read twice, unlike: {digests}"
    return "read" if len(digests[0]) == 64 else digests[0]


def fuzz(numbers: Iterable[int], seed: int) -> Iterator[Tried]:
    """Try mutants in processes of their own."""
    found = map_isolated(
        partial(attempt, seed=seed),
        numbers,
        timeout_s=TIMEOUT_S,
        memory_bytes=MEMORY,
        preload=["tests.corpus", "pipeline.images.decode"],
    )
    for tried in found:
        yield Tried("", f"FAULT: {tried.detail}", 0, 0) if isinstance(tried, Died) else tried


def main() -> int:
    """Try mutants and say what became of them; return 1 where one shows a fault."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("--count", type=int, default=COUNT)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", type=int, metavar="NUMBER")
    options.add_argument("--keep", type=Path, metavar="DIRECTORY", help="for mutants with faults")
    chosen = options.parse_args()
    numbers = range(chosen.count) if chosen.only is None else [chosen.only]
    outcomes: Counter[str] = Counter()
    slowest, peak, faults = 0.0, 0, 0
    with progress("fuzz", len(numbers), "mutant") as bar:
        for number, tried in zip(numbers, fuzz(numbers, chosen.seed), strict=True):
            bar()
            fault = tried.outcome.startswith("FAULT")
            outcomes["FAULT" if fault else tried.outcome] += 1
            slowest, peak = max(slowest, tried.seconds), max(peak, tried.peak_bytes)
            if fault:
                faults += 1
                say(f"mutant {number} of {tried.source!r}: {tried.outcome}")
            if chosen.keep and (fault or chosen.only is not None):
                chosen.keep.mkdir(parents=True, exist_ok=True)
                (chosen.keep / f"{chosen.seed}-{number}").write_bytes(
                    mutant(chosen.seed, number)[1]
                )
    counts = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())
    say(f"fuzz: {len(numbers)} mutants of {len(sources())} files, seed {chosen.seed}: {counts}")
    say(f"fuzz: the slowest took {slowest:.2f} s, the largest process {peak / 1e6:.0f} MB")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""Run a stage like `python -m pipeline`, adding a byte to a file for each view it computes.

    python -m benchmarks.counted FILE STAGE

So it is known what a killed run had computed, whether it was kept or not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Set

from pipeline.__main__ import main as pipeline
from pipeline.engines import Outputs
from pipeline.frozen import rows
from pipeline.frozen.network import FrozenNetwork, Part
from pipeline.images.pictures import Job

Row = tuple[int, Outputs]


def main(words: list[str]) -> int:
    """Count what `frozen_rows` computes; written at once, a byte outlives the process."""
    counter = os.open(words[0], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    ready = rows._ready

    def counting(
        network: FrozenNetwork, parts: Set[Part]
    ) -> Callable[[Iterable[Job]], Iterator[Row]]:
        run = ready(network, parts)

        def counted(wanted: Iterable[Job]) -> Iterator[Row]:
            for row in run(wanted):
                os.write(counter, b".")
                yield row

        return counted

    rows._ready = counting
    return pipeline(words[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Run a stage like `python -m pipeline`, adding a byte to a file for each view it computes.

    python -m benchmarks.counted FILE STAGE

So it is known what a killed run had computed, whether it was kept or not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from pipeline.__main__ import main as pipeline
from pipeline.engines import Outputs
from pipeline.frozen import rows
from pipeline.frozen.network import FrozenNetwork
from pipeline.images.pictures import Job


def main(words: list[str]) -> int:
    """Count what `frozen_rows` computes; written at once, a byte outlives the process."""
    counter = os.open(words[0], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    computed = rows._computed

    def counted(network: FrozenNetwork, wanted: Iterable[Job]) -> Iterator[tuple[int, Outputs]]:
        for row in computed(network, wanted):
            os.write(counter, b".")
            yield row

    rows._computed = counted
    return pipeline(words[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

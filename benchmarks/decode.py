"""Decoding as `ingest` does it, and plain Pillow in as many processes on the same files.

Plain Pillow opens, loads and converts to RGB, in a pool that is given the files
in a few pieces.  Ingest also checks limits, checksums and orientation, and
survives its processes; then it computes the pixels' SHA-256, which tells images
apart, and measures them.  So there are two comparisons: decoding alone, and all
that `ingest` does beside Pillow with a digest.  Start-up counts everywhere; ways
are taken in turns.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.resources import as_file, files
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks import report
from benchmarks.plain_pillow import decoded, plain, with_digest
from benchmarks.project import require
from pipeline.errors import RejectedImage
from pipeline.images.decode import Limits
from pipeline.images.examine import examine_all
from pipeline.images.isolated import METHOD, map_isolated
from pipeline.images.worker import Died
from pipeline.sources.place import Place

TIMEOUT_S = 60.0
SHARES = 4  # of the files, for each of plain Pillow's processes


def main(words: Sequence[str] | None = None) -> int:
    """Time both on the demonstration's images and on made ones."""
    options = report.parser("decode", __doc__)
    options.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], help="of each side (default: 1 2)"
    )
    options.add_argument("--rounds", type=int, default=5, help="medians are shown (default 5)")
    options.add_argument("--small", type=int, default=20_000, help="tiny files of each kind")
    options.add_argument("--photos", type=int, default=400, help="JPEGs of 1280 x 960")
    chosen = report.parse(options, words)
    context = get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(["benchmarks.plain_pillow", "pipeline.images.examine"])
    rows = []
    with (
        tempfile.TemporaryDirectory(dir=chosen.folder) as folder,
        as_file(files("elpv_dataset") / "data" / "images") as cells,
    ):
        sets = {
            "solar cells, gray PNG, 300 x 300": sorted(cells.glob("*.png")),
            "made PNG, RGB, 32 x 32": make(Path(folder), "PNG", chosen.small, (32, 32)),
            "made JPEG, 32 x 32": make(Path(folder), "JPEG", chosen.small, (32, 32)),
            "made JPEG, 1280 x 960": make(Path(folder), "JPEG", chosen.photos, (1280, 960)),
        }
        for processes in chosen.processes:
            for name, paths in sets.items():
                plainly, ours, digesting, whole = in_turns(paths, processes, chosen.rounds)
                apart, both, price = ours / plainly, whole / digesting, whole / plainly
                row = (name, len(paths), processes, plainly, ours, f"{apart:.2f}")
                rows.append((*row, digesting, whole, f"{both:.2f}", f"{price:.2f}"))
    header = (
        *("files", "number", "processes", "Pillow", "ingest, no digest", "**ratio**"),
        *("Pillow, digest", "ingest", "**ratio**", "ingest / Pillow, no digest"),
    )
    report.write(
        chosen,
        "Images a second. Plain Pillow opens, loads and converts to RGB in a pool of so many "
        "processes; `ingest` decodes the same files in as many and checks limits, checksums and "
        "orientation. Then both with the SHA-256 of the pixels, and `ingest` as it runs: it "
        "also measures every picture (perceptual hash, brightness, sharpness), which Pillow's "
        "side does not; the last column is the price of both. Start-up of the processes counts; "
        f"medians of {chosen.rounds} runs in turns, files in the page cache.",
        report.table(header, rows),
    )
    return 0


def make(folder: Path, form: str, count: int, size: tuple[int, int]) -> list[Path]:
    """So many pictures with soft edges and a little noise, as cameras make them."""
    random = np.random.default_rng(1)
    width, height = size
    paths = []
    y, x = np.mgrid[:height, :width] / min(size)
    for number in range(count):
        if number % 200 == 0:  # new pixels now and then: they take longer to make than to read
            waves = [np.sin(random.normal(0, 4) * x + random.normal(0, 4) * y) for _ in range(3)]
            shades = 128 + 90 * np.stack(waves, axis=-1) + random.normal(0, 6, (height, width, 3))
            stream = BytesIO()
            Image.fromarray(shades.clip(0, 255).astype(np.uint8)).save(stream, form)
        paths.append(folder / f"{number} of {width}.{form.lower()}")
        paths[-1].write_bytes(stream.getvalue())
    return paths


def in_turns(paths: list[Path], processes: int, rounds: int) -> list[float]:
    """Images a second of each way, by median seconds; the first round only warms the files."""
    ways: list[Callable[[], Iterable[object]]] = [
        partial(pooled, plain, paths, processes),
        lambda: map_isolated(decoded, map(Place, paths), timeout_s=TIMEOUT_S, processes=processes),
        partial(pooled, with_digest, paths, processes),
        lambda: examine_all(map(Place, paths), Limits(), TIMEOUT_S, processes=processes),
    ]
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds + 1):
        for way, found in zip(ways, seconds, strict=True):
            started = time.perf_counter()
            results = list(way())
            found.append(time.perf_counter() - started)
            bad = [r for r in results if isinstance(r, RejectedImage | Died)]
            require(len(results) == len(paths) and not bad, "every file is read")
    return [len(paths) / median(found[1:]) for found in seconds]


def pooled(function: Callable[[Path], object], paths: list[Path], processes: int) -> list[object]:
    """Call a function in a pool of the standard library's."""
    share = max(1, len(paths) // (SHARES * processes))
    with get_context(METHOD).Pool(processes) as pool:
        return pool.map(function, paths, share)


if __name__ == "__main__":
    raise SystemExit(main())

"""Pack: put labelled images into a few large tar files, as WebDataset has them.

DVC then looks at some files instead of a million, and every stage reads the
images where they lie.  Bytes are copied as they are, so no digest, split, view
or feature changes.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from pipeline.console import progress, say
from pipeline.errors import InputError, RejectedImage
from pipeline.files import replacing
from pipeline.listing.samples import ASIDE, FIELDS, LABEL
from pipeline.listing.sources import list_images
from pipeline.params import load_section
from pipeline.sources.content import content
from pipeline.sources.found import leads_outside
from pipeline.sources.place import in_order
from pipeline.stages.ingest import IngestParams

SHARD_MB = 256


class Sample(NamedTuple):
    """An image's file with what is known of it."""

    name: str
    image: bytes
    label: str
    fields: dict[Any, Any]

    def members(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents, as WebDataset has them."""
        key = self.name.rpartition(".")[0]
        yield self.name, self.image
        end = "\r\n" if self.label.endswith(("\r", "\n")) else ""  # whoever reads takes off one
        mark = self.label[:1] if self.label.startswith("\ufeff") else ""  # and one byte order mark
        yield f"{key}.cls", f"{mark}{self.label}{end}".encode()
        if self.fields:
            text = json.dumps(self.fields, ensure_ascii=False, sort_keys=True)
            yield f"{key}.json", text.encode()


def main(words: list[str]) -> int:
    """Write the shards; return 1 when something could not be packed."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline pack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="FOLDER", help="to write, new or empty")
    parser.add_argument("--raw", type=Path, default=Path("data/raw"), help="default: data/raw")
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        metavar="FILE",
        help="whose section ingest says what to list (default: params.yaml)",
    )
    parser.add_argument(
        "--shard-mb",
        type=int,
        default=SHARD_MB,
        metavar="N",
        help=f"of a file, in 10^6 bytes, about (default: {SHARD_MB})",
    )
    chosen = parser.parse_args(words)
    if chosen.shard_mb < 1:
        raise InputError("pack --shard-mb", f"{chosen.shard_mb} is no size", "give 1 or more")
    if chosen.out.exists() and not (chosen.out.is_dir() and not any(chosen.out.iterdir())):
        raise InputError(chosen.out, "is not an empty folder", "name a new one")
    params = load_section(chosen.params, "ingest", IngestParams)
    for source in (chosen.raw / name for name in params.sources):
        if not leads_outside(source, str(chosen.out.resolve())):
            reason = f"lies in {source}, so that its images would be there twice"
            raise InputError(chosen.out, reason, "name a folder beside it")
    listing = list_images(chosen.raw, params.sources, params.folder_labels)
    bad = [f"{item.path}: {item.reason}: {item.detail}" for item in listing.rejected]
    unnamed = [f"{path}: no table names it" for path in listing.unlisted]
    order = in_order(listing.places)
    names = sample_names(listing.images["path"])
    fields = columns_of_samples(listing.images)

    def samples() -> Iterator[Sample]:
        with progress("pack", len(order), "image") as bar:
            for row in order:
                path, label = listing.images["path"][row], listing.images["label"][row]
                try:
                    image = content(listing.places[row], params.max_bytes)
                except RejectedImage as rejection:
                    bad.append(f"{path}: {rejection}")
                else:
                    yield Sample(names[row], image, label, fields[row])
                bar()

    with replacing(chosen.out) as partial:
        shards = write_shards(samples(), partial, chosen.shard_mb * 1_000_000)
    for line in [*bad, *unnamed]:
        say(f"pack: left out {line}")
    packed = len(order) + len(listing.rejected) - len(bad)
    print(f"{packed} files, none of them decoded, in {shards} shards in {chosen.out}")
    return 1 if bad or unnamed else 0


def sample_names(paths: pd.Series) -> list[str]:
    """A name for each image, unique without its ending, in which only the ending has a dot."""
    names: list[str] = []
    taken: dict[str, int] = {}  # and the number to go on with
    for path in paths:
        pure = PurePosixPath(path)
        folders = ("_" + part[1:] if part[0] == "." else part for part in pure.parts[:-1])
        key = stem = "/".join([*folders, pure.stem.replace(".", "_")])
        while key in taken:
            taken[stem] += 1
            key = f"{stem}_{taken[stem]}"
        taken[key] = 1
        ending = pure.suffix.lower()
        names.append(key + (".image" if ending[1:] in {"", LABEL, FIELDS, *ASIDE} else ending))
    return names


def columns_of_samples(images: pd.DataFrame) -> list[dict[Any, Any]]:
    """Of each image the columns besides path and label that say something."""
    others = images.drop(columns=["path", "label"])
    plain = {"weight": 1.0, "group": "", "split": ""}  # what a table without them says
    kept = others[[n for n in others if n not in plain or (others[n] != plain[n]).any()]]
    return kept.to_dict("records")


def write_shards(samples: Iterator[Sample], folder: Path, size: int) -> int:
    """Write tar files of about a size, in order; equal samples make equal bytes.

    Returns:
        How many there are.
    """
    folder.mkdir()
    count = 0
    for first in samples:
        with tarfile.open(folder / f"shard-{count:06}.tar", "x", format=tarfile.PAX_FORMAT) as tar:
            sample: Sample | None = first
            while sample:
                for name, data in sample.members():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
                tar.members = []  # type: ignore[attr-defined]  # or it remembers every one
                sample = next(samples, None) if tar.offset < size else None
        count += 1
    return count

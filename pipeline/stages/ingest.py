"""Ingest: decode every image once and write down which can be used, and what is odd.

What cannot be used is named in the rejected table with a reason, and the run
goes on.  The user's files are only read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.console import progress, say
from pipeline.errors import InputError
from pipeline.files import Reads, Writes, write_json
from pipeline.findings.find import find
from pipeline.findings.near_pairs import MAX_DISTANCE
from pipeline.findings.terminal import show_findings, show_rejected
from pipeline.images.decode import RejectedImage, decode, pixel_digest
from pipeline.images.gray_copy import gray_copy
from pipeline.images.measures import Measures, measure
from pipeline.images.pictures import map_ahead
from pipeline.listing import Listing, Rejected, list_images
from pipeline.params import Section
from pipeline.tables import MANIFEST_COLUMNS, MEASURE_COLUMNS, extra_columns, write_table

BATCH = 16  # images that a thread decodes before it measures them together


class IngestParams(Section):
    """Where the labels are, and how much of the data may be bad."""

    table: str | None  # its file name in the raw folder; None: the only one there, if any
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]  # of all files or rows
    missing_files: Literal["error", "reject"]  # when the table names a file that is not there
    near_duplicate_distance: Annotated[int, Field(ge=0, le=MAX_DISTANCE)]  # bits of 64


class Decoded(NamedTuple):
    """What a usable image's pixels say."""

    digest: str
    width: int
    height: int
    measures: Measures


class Unmeasured(NamedTuple):
    """A usable image before it is measured; `copy` is what `gray_copy` made of it."""

    digest: str
    width: int
    height: int
    copy: NDArray[np.uint8]


def run(
    params: IngestParams,
    *,
    raw: Reads = Path("data/raw"),
    manifest: Writes = Path("data/manifest.csv"),
    rejected: Writes = Path("data/rejected.csv"),
    measures: Writes = Path("data/measures.csv"),
    report: Writes = Path("reports/ingest.json"),
) -> None:
    """Write the manifest of usable images, their measures, the rejected ones and the findings.

    Raises:
        InputError: There is nothing to ingest, too much of it is bad, a table
            names absent files, or a class is left without an image.
    """
    listing = list_images(raw, params.table)
    results = decode_all([raw / path for path in listing.images["path"]])
    bad = [*listing.rejected]
    for path, result in zip(listing.images["path"], results, strict=True):
        if isinstance(result, RejectedImage):
            bad.append(Rejected(path, result.reason, result.detail))
    good = [isinstance(result, Decoded) for result in results]
    images = listing.images.loc[np.array(good, dtype=bool)].reset_index(drop=True)
    decoded = pd.DataFrame(
        [result for result in results if isinstance(result, Decoded)], columns=Decoded._fields
    )
    images = pd.concat([images, decoded[["digest", "width", "height"]]], axis="columns")

    table_of_bad = pd.DataFrame(sorted(bad), columns=Rejected._fields)
    write_table(rejected, table_of_bad)
    show_rejected(table_of_bad, rejected)
    check(params, listing, images, bad, raw=raw, rejected=rejected)
    images = images.sort_values(["path", "label"], kind="stable")
    write_table(manifest, images[[*MANIFEST_COLUMNS, *extra_columns(images)]])
    measured = measures_of(decoded)
    write_table(measures, measured)
    found = find(images, measured, params.near_duplicate_distance)
    documents = [finding.document() for finding in found]
    counts = summary(images, bad)
    write_json(report, {**counts, "unlisted": listing.unlisted, "findings": documents})
    if listing.unlisted:
        say(f"ingest: {listing.unlisted} files are not named by the table and are left out")
    show_findings(found, report)


def decode_all(files: Sequence[Path]) -> list[Decoded | RejectedImage]:
    """Decode images in threads, in the given order."""
    results = []
    batches = (files[start : start + BATCH] for start in range(0, len(files), BATCH))
    with progress("ingest", len(files), "image") as bar:
        for batch in map_ahead(decode_batch, batches):
            results += batch
            bar(len(batch))
    return results


def decode_batch(files: Sequence[Path]) -> list[Decoded | RejectedImage]:
    """Decode a few images, or say why one cannot be used, and measure them together."""
    results = [decode_one(file) for file in files]
    copies = [result.copy for result in results if isinstance(result, Unmeasured)]
    measured = iter(measure(copies))
    return [
        Decoded(result.digest, result.width, result.height, next(measured))
        if isinstance(result, Unmeasured)
        else result
        for result in results
    ]


def decode_one(file: Path) -> Unmeasured | RejectedImage:
    """Decode one image, or say why it cannot be used."""
    try:
        pixels = decode(file)
    except RejectedImage as rejection:
        return rejection
    height, width, _ = pixels.shape
    return Unmeasured(pixel_digest(pixels), width, height, gray_copy(pixels))


def measures_of(decoded: pd.DataFrame) -> pd.DataFrame:
    """The measures of each distinct picture, ordered by digest."""
    table = pd.DataFrame(decoded["measures"].tolist(), columns=Measures._fields)
    table = table.assign(digest=decoded["digest"]).drop_duplicates("digest")
    return table.sort_values("digest", ignore_index=True)[[*MEASURE_COLUMNS]]


def check(
    params: IngestParams,
    listing: Listing,
    images: pd.DataFrame,
    bad: Sequence[Rejected],
    *,
    raw: Path,
    rejected: Path,
) -> None:
    """Refuse data that no model should be trained on.

    Raises:
        InputError: See `run`.
    """
    examples = "; ".join(f"{item.path} ({item.reason})" for item in sorted(bad)[:3])
    missing = sorted(item.path for item in bad if item.reason == "missing")
    if missing and params.missing_files == "error":
        reason = f"{len(missing)} named files do not exist, such as {', '.join(missing[:3])}"
        fix = f"add them, or set ingest.missing_files to reject; all are in {rejected}"
        raise InputError(raw, reason, fix)
    fraction = len(bad) / (len(bad) + len(images))
    if fraction > params.max_rejected_fraction:
        reason = (
            f"{len(bad)} of {len(bad) + len(images)} images cannot be used ({fraction:.1%}, "
            f"more than ingest.max_rejected_fraction {params.max_rejected_fraction:g}): {examples}"
        )
        raise InputError(raw, reason, f"see {rejected}, and mend or remove them")
    empty = sorted(set(listing.classes) - set(images["label"]))
    if empty:
        reason = f"class {empty[0]!r} has no usable image"
        raise InputError(raw, reason, f"add images to it or remove it; see {rejected}")
    labels = sorted(set(images["label"]))
    if len(labels) < 2:
        reason = f"holds one class only, {labels[0]!r}" if labels else "holds no usable image"
        raise InputError(raw, reason, "add images so that there are two classes or more")


def summary(images: pd.DataFrame, bad: Sequence[Rejected]) -> dict[str, object]:
    """The counts that people and `dvc metrics` compare."""
    return {
        "images": len(images),
        "distinct_images": int(images["digest"].nunique()),
        "classes": images["label"].value_counts().to_dict(),
        "rejected": dict(Counter(item.reason for item in bad)),
    }

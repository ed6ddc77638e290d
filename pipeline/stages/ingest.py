"""Ingest: decode every image once and write down which can be used.

What cannot be used is named in the rejected table with a reason, and the run
goes on.  The user's files are only read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field

from pipeline.console import progress, say
from pipeline.errors import InputError
from pipeline.files import Reads, Writes, write_json
from pipeline.images.examine import Decoded, examine_all
from pipeline.images.rejection import Limits, RejectedImage
from pipeline.listing import Listing, Rejected, list_images
from pipeline.params import Section
from pipeline.tables import MANIFEST_COLUMNS, extra_columns, write_table


class LimitParams(Section):
    """The part of section `ingest` that bounds what one image may cost."""

    model_config = ConfigDict(extra="ignore")

    max_pixels: Annotated[int, Field(ge=1)]  # of the first frame
    max_bytes: Annotated[int, Field(ge=1)]  # of the file
    max_frames: Annotated[int, Field(ge=1)]  # or pages; only the first is used

    def limits(self) -> Limits:
        """As the decoder takes them."""
        return Limits(self.max_pixels, self.max_bytes, self.max_frames)


class IngestParams(LimitParams):
    """Where the labels are, how much of the data may be bad, and what an image may cost."""

    model_config = ConfigDict(extra="forbid")

    table: str | None  # its file name in the raw folder; None: the only one there, if any
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]  # of all files or rows
    missing_files: Literal["error", "reject"]  # when the table names a file that is not there
    decode_timeout_s: Annotated[float, Field(ge=1, le=86_400)]  # of processor time, for one image


def run(
    params: IngestParams,
    *,
    raw: Reads = Path("data/raw"),
    manifest: Writes = Path("data/manifest.csv"),
    rejected: Writes = Path("data/rejected.csv"),
    report: Writes = Path("reports/ingest.json"),
) -> None:
    """Write the manifest of usable images, the table of rejected ones and the counts.

    Raises:
        InputError: There is nothing to ingest, too much of it is bad, a table
            names absent files, or a class is left without an image.
    """
    listing = list_images(raw, params.table)
    results = decode_all([raw / path for path in listing.images["path"]], params)
    bad = [*listing.rejected]
    for path, result in zip(listing.images["path"], results, strict=True):
        if isinstance(result, RejectedImage):
            bad.append(Rejected(path, result.reason, result.detail))
    good = [isinstance(result, Decoded) for result in results]
    images = listing.images.loc[np.array(good, dtype=bool)].reset_index(drop=True)
    decoded = pd.DataFrame(
        [result for result in results if isinstance(result, Decoded)], columns=Decoded._fields
    )
    images = pd.concat([images, decoded], axis="columns")

    write_table(rejected, pd.DataFrame(sorted(bad), columns=Rejected._fields))
    check(params, listing, images, bad, raw=raw, rejected=rejected)
    images = images.sort_values(["path", "label"], kind="stable")
    write_table(manifest, images[[*MANIFEST_COLUMNS, *extra_columns(images)]])
    write_json(report, {**summary(images, bad), "unlisted": listing.unlisted})
    if listing.unlisted:
        say(f"ingest: {listing.unlisted} files are not named by the table and are left out")
    if bad:
        counts = Counter(item.reason for item in bad).most_common()
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts)
        say(f"ingest: {len(bad)} rejected, listed in {rejected}: {reasons}")


def decode_all(files: Sequence[Path], params: IngestParams) -> list[Decoded | RejectedImage]:
    """Decode images in processes of their own, in the given order."""
    results = []
    found = examine_all(files, params.limits(), params.decode_timeout_s)
    with progress("ingest", len(files), "image") as bar, closing(found):
        for result in found:
            results.append(result)
            bar()
    return results


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

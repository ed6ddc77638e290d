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
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from pipeline.console import progress, say
from pipeline.errors import InputError, RejectedImage
from pipeline.files import Reads, Writes, write_json
from pipeline.findings.find import find
from pipeline.findings.terminal import show_findings, show_rejected
from pipeline.images.decode import Limits
from pipeline.images.examine import examine_all
from pipeline.images.known import Known, Rows
from pipeline.images.places import write_places
from pipeline.listing.folders import FolderLabels
from pipeline.listing.listing import Listing, Rejected
from pipeline.listing.remembered import Remembered
from pipeline.listing.settled import changed, marks
from pipeline.listing.sources import list_images
from pipeline.near import MAX_DISTANCE
from pipeline.params import Section
from pipeline.sources.place import Place, in_order
from pipeline.store.access import Store, open_store
from pipeline.tables import (
    MANIFEST_COLUMNS,
    MEASURE_COLUMNS,
    PLACE_COLUMNS,
    extra_columns,
    write_table,
)

ROUNDS = 3  # of reading all, while files change
SHOWN = 3  # files that a table does not name, or names in vain


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

    # folders, archives and tables in the raw folder; "." is the folder itself
    sources: Annotated[list[Annotated[str, Field(pattern=r"^[^\x00]+$")]], Field(min_length=1)]
    folder_labels: FolderLabels  # nested folders: the first is the label, or all, joined by "/"
    max_rejected_fraction: Annotated[float, Field(ge=0, le=1)]  # of all files or rows
    missing_files: Literal["error", "reject"]  # when the table names a file that is not there
    decode_timeout_s: Annotated[float, Field(ge=1, le=86_400)]  # of processor time, for one image
    near_duplicate_distance: Annotated[int, Field(ge=0, le=MAX_DISTANCE)]  # bits of 64


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

    All is done anew, `ROUNDS` times at most, where a file changed or came meanwhile:
    DVC would take what it finds afterwards for what was read.

    Raises:
        InputError: There is nothing to ingest, too much of it is bad, a table
            names absent files, a class is left without an image, or files go on
            changing.
    """
    for _ in range(ROUNDS):
        before = marks(raw, params.sources)
        bad = ingest(
            params,
            raw,
            manifest=manifest,
            rejected=rejected,
            measures=measures,
            report=report,
        )
        other = changed(before, marks(raw, params.sources), {item.path for item in bad})
        if not other:
            return
        say(f"ingest: {raw / other} changed, or came or went, meanwhile: looking again")
    reason = f"changed each of {ROUNDS} times that ingest read all"
    fix = "rerun once all files are there; move them in, rather than copy"
    raise InputError(raw / other, reason, fix)


def ingest(
    params: IngestParams,
    raw: Path,
    *,
    manifest: Path,
    rejected: Path,
    measures: Path,
    report: Path,
) -> list[Rejected]:
    """Do as `run` does, once; return what cannot be used."""
    listing, images, measured, bad = take_in(params, raw)
    table_of_bad = pd.DataFrame(sorted(bad), columns=Rejected._fields)
    write_table(rejected, table_of_bad)
    show_rejected(table_of_bad, rejected)
    check(params, listing, images, bad, raw=raw, rejected=rejected)
    write_table(manifest, images)
    write_table(measures, measured)
    found = find(images, measured, params.near_duplicate_distance)
    documents = [finding.document() for finding in found]
    counts = summary(images, bad)
    write_json(report, {**counts, "unlisted": len(listing.unlisted), "findings": documents})
    if listing.unlisted:
        examples = ", ".join(listing.unlisted[:SHOWN])
        say(f"ingest: left out, for no table names them: {len(listing.unlisted)} ({examples})")
    show_findings(found, report)
    return bad


def take_in(
    params: IngestParams, raw: Path
) -> tuple[Listing, pd.DataFrame, pd.DataFrame, list[Rejected]]:
    """List and decode everything.

    Returns:
        The listing without its images, which would be in memory twice; the
        manifest of the usable ones; the measures of each picture; the others.
    """
    with closing(open_store("ingest")) as store:
        remembered = Remembered(store)
        listing = list_images(raw, params.sources, params.folder_labels, remembered)
        rows, rejections = decode_all(listing.places, params, store)
    paths = listing.images["path"]
    bad = [*listing.rejected]
    bad += [Rejected(paths[number], why.reason, why.detail) for number, why in rejections.items()]
    images = manifest_of(listing, rows, raw)
    listing = listing._replace(images=images[:0].copy(), places=[])
    return listing, images, measures_of(rows), bad


def manifest_of(listing: Listing, rows: Rows, raw: Path) -> pd.DataFrame:
    """What is listed and could be decoded, in order of path."""
    good = rows["digest"] != b""
    places = [place for place, use in zip(listing.places, good, strict=True) if use]
    images = listing.images.loc[good].reset_index(drop=True)
    images = images.assign(**columns_of(rows[good], ("digest", "width", "height")))
    images = write_places(images, places, raw)
    where = [name for name in PLACE_COLUMNS if name in images]
    images = images[[*MANIFEST_COLUMNS, *extra_columns(images), *where]]
    return images.sort_values(["path", "label"], kind="stable")


def measures_of(rows: Rows) -> pd.DataFrame:
    """The measures of each distinct picture, ordered by digest."""
    _, first = np.unique(rows["digest"], return_index=True)
    seen = rows[first]
    return pd.DataFrame(columns_of(seen[seen["digest"] != b""], MEASURE_COLUMNS))


def columns_of(rows: Rows, names: Sequence[str]) -> dict[str, NDArray[np.generic] | pd.Series]:
    """What was found out of images; bytes become text."""
    return {
        name: pd.Series([value.decode() for value in rows[name].tolist()], dtype="str")
        if rows.dtype[name].kind == "S"
        else rows[name]
        for name in names
    }


def decode_all(
    places: Sequence[Place], params: IngestParams, store: Store
) -> tuple[Rows, dict[int, RejectedImage]]:
    """Decode and measure images in processes of their own, but for those that are known.

    Returns:
        (place,) what was found out, and why what lies at other places cannot be used.
    """
    limits = params.limits()
    with (
        closing(Known(store, places, limits)) as known,
        progress("ingest", len(places), "image") as bar,
    ):
        known.recall()
        unseen = np.flatnonzero(known.rows["digest"] == b"").tolist()
        left = [number for number in unseen if number not in known.rejections]
        fresh = [left[at] for at in in_order([places[number] for number in left])]
        bar(len(places) - len(fresh))
        found = examine_all((places[n] for n in fresh), limits, params.decode_timeout_s)
        with closing(found):
            for number, result in zip(fresh, found, strict=True):
                known.add(number, result)
                bar()
    say(f"ingest: {len(places) - len(fresh)} images known and unchanged, {len(fresh)} decoded")
    return known.rows, known.rejections


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
    named = [f"{item.path or item.detail} ({item.reason})" for item in sorted(bad)[:3]]
    examples = "; ".join(named)
    lost = [item for item in bad if item.reason in {"missing", "linked_nowhere"}]
    missing = [item for item in sorted(lost) if item.path in listing.absent]
    if missing and params.missing_files == "error":
        such = "; ".join(f"{item.path}: {item.detail}" for item in missing[:SHOWN])
        reason = f"{len(missing)} named files do not exist, such as {such}"
        fix = f"add them, or set ingest.missing_files to reject; all are in {rejected}"
        raise InputError(raw, reason, fix)
    fraction = len(bad) / (len(bad) + len(images))
    if fraction > params.max_rejected_fraction:
        reason = (
            f"{len(bad)} of {len(bad) + len(images)} images cannot be used ({fraction:.1%}, "
            f"more than ingest.max_rejected_fraction {params.max_rejected_fraction:g}): {examples}"
        )
        raise InputError(raw, reason, f"see {rejected}, and mend or remove them")
    labels = sorted(images["label"].unique())
    empty = sorted(set(listing.classes) - set(labels))
    if empty:
        reason = f"class {empty[0]!r} has no usable image"
        raise InputError(raw, reason, f"add images to it or remove it; see {rejected}")
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

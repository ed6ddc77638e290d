"""Inspect: show what ingest and split found, a contact sheet a finding and all on one page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipeline.console import say
from pipeline.errors import InputError
from pipeline.files import replacing
from pipeline.findings.finding import Example, Finding, Picture
from pipeline.findings.page import page
from pipeline.images.contact_sheet import Tile, framed_sheet
from pipeline.images.places import read_places
from pipeline.images.tiles import tile_of, unseen_lines
from pipeline.sources.place import Place
from pipeline.tables import read_manifest, read_measures, read_rejected

RAW = Path("data/raw")
MANIFEST = Path("data/manifest.csv")
MEASURES = Path("data/measures.csv")
REJECTED = Path("data/rejected.csv")
REPORT = Path("reports/ingest.json")
LEAKAGE = Path("reports/leakage.json")
OUT = Path("reports/inspect")

Known = dict[str, tuple[Place, str]]


def main(words: list[str]) -> int:
    """Write the sheets and the page, and say where they are."""
    parser = argparse.ArgumentParser(prog="python -m pipeline inspect", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help=f"default: {OUT}")
    out: Path = parser.parse_args(words).out
    if out.exists() and not out.is_dir():
        raise InputError(out, "is no folder", "name another with --out")

    findings = read_findings(REPORT)
    if LEAKAGE.exists():
        findings.append(read_leakage(LEAKAGE))
    else:
        say(f"inspect: no {LEAKAGE} yet: `dvc repro split` looks for pictures alike across splits")
    manifest = read_manifest(MANIFEST)
    places = read_places(manifest, RAW)
    known = dict(zip(manifest["path"], zip(places, manifest["digest"], strict=True), strict=True))
    sheets: dict[str, bytes] = {}
    unseen: dict[str, str] = {}
    for finding in findings:
        file = out / f"{finding.code}.png"
        if not finding.count:
            file.unlink(missing_ok=True)  # of an earlier run
            continue
        sheets[finding.code] = draw(finding, known, unseen)
        with replacing(file) as partial:
            partial.write_bytes(sheets[finding.code])
    html = page(
        findings,
        manifest,
        read_measures(MEASURES),
        read_rejected(REJECTED),
        sheets=sheets,
        unseen=sorted(unseen.items()),
    )
    with replacing(out / "index.html") as partial:
        partial.write_text(html, encoding="utf-8", newline="\n")
    for line in unseen_lines(sorted(unseen.items())):
        say(f"inspect: {line}")
    print(f"{len(sheets)} findings with pictures: {out / 'index.html'}")
    return 0


def read_findings(report: Path) -> list[Finding]:
    """Read the findings from the report of `ingest`.

    Raises:
        InputError: The file is absent or is no such report.
    """
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
        return [
            Finding(
                code=Path(found["code"]).name,
                sentence=str(found["sentence"]),
                count=int(found["count"]),
                examples=[
                    Example(str(example["note"]), [Picture(**p) for p in example["pictures"]])
                    for example in found["examples"]
                ],
            )
            for found in document["findings"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(report, f"cannot be read: {error!r}", "run `dvc repro ingest`") from error


def read_leakage(report: Path) -> Finding:
    """Read the nearest pairs across splits from the report of `split`, as a finding.

    Raises:
        InputError: The file is no such report.
    """
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
        counts = {str(name): int(number) for name, number in document["pictures"].items()}
        examples = [
            Example(
                f"{int(pair['distance'])} of 64 bits apart: {one['split']} near {other['split']}",
                [Picture(str(side["path"]), str(side["label"])) for side in (one, other)],
            )
            for pair in document["nearest"]
            for one, other in [(pair["one"], pair["other"])]
        ]
        words = ", ".join(f"{number} of {name}" for name, number in counts.items())
        sentence = (
            "pictures that look like one of another split: at most "
            f"{int(document['near_distance'])} of 64 bits apart ({words})"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(report, f"cannot be read: {error!r}", "run `dvc repro split`") from error
    return Finding("leakage", sentence, sum(counts.values()), examples)


def draw(finding: Finding, known: Known, unseen: dict[str, str]) -> bytes:
    """Draw a finding's contact sheet as PNG.

    Args:
        known: By path, where the picture lies and the digest that ingest saw.
        unseen: Takes up why, by path, a picture cannot be shown.
    """
    frames = [
        [tile(picture, example.note, known, unseen) for picture in example.pictures]
        for example in finding.examples
    ]
    return framed_sheet(frames)


def tile(picture: Picture, note: str, known: Known, unseen: dict[str, str]) -> Tile:
    """A picture with its path, label and note; or what became of it since ingest."""
    path, label = picture
    place, digest = known.get(path, (Place(RAW / path), ""))
    found, why = tile_of(place, digest, (path, label, note))
    if why:
        unseen[path] = why
        return Tile(None, (path, label, why))
    return found

"""docs/benchmarks.md: a section for each benchmark, each replaced by its benchmark's next run."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.project import ROOT
from pipeline.files import replacing

FILE = ROOT / "docs/benchmarks.md"
SECTIONS = {  # module and title, in the document's order
    "cold": "A first run, and one with nothing to do",
    "intake": "Many small images",
    "stock_keras": "The Keras guide's way and this pipeline",
    "flow": "A flow with nothing to do",
    "retune": "Other heads, rates and layers",
    "decode": "Decoding, and plain Pillow",
    "changes": "Images added and removed, augmentation changed",
    "engine": "Images a second",
    "train_step": "A training step",
    "which_epoch": "Which epoch is kept",
    "scale": "Memory and time by the number of rows",
    "dask_workers": "One Dask worker and two",
    "kills": "Killed at any moment",
    "imbalance": "One class rare: what helps",
    "store_database": "LMDB and SQLite",
}
PREFACE = """# Benchmarks

Each section is written by the command in it, in one run on one machine; `make bench` runs
them with their defaults, but for store_database and the variants named after a colon.
Read ratios: seconds differ between machines, and on a busy one from run to run.
"""


def parser(name: str, words: str) -> argparse.ArgumentParser:
    """Options of the benchmark `name`, with those that every benchmark has."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=words,
        parents=[_places()],
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse(options: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """Parse, and note what is about to be measured, where and how."""
    given = sys.argv[1:] if words is None else list(words)
    chosen = options.parse_args(given)
    chosen.name = options.prog.rpartition(".")[2]
    chosen.made_by = f"`{command(chosen.name, given)}`, {conditions()}."
    return chosen


def command(name: str, words: Sequence[str]) -> str:
    """The command as it was given, but for what names a place on this machine."""
    _, rest = _places().parse_known_args(words)
    shown = [Path(word).name if Path(word).is_absolute() else word for word in rest]
    return shlex.join(["python", "-m", f"benchmarks.{name}", *shown])


def conditions() -> str:
    """Processor, software, day and commit."""
    releases = ", ".join(
        f"{name} {_version(name)}" for name in ("tensorflow", "keras", "openvino", "pillow")
    )
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", f":!{FILE.relative_to(ROOT)}")
    state = " with uncommitted changes" if changed else ""
    cores = os.cpu_count()
    day = datetime.now(UTC).date()
    return f"{cores} cores of {_processor()}, {releases}, {day}, commit {commit}{state}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers get as many digits as a reader wants of a measurement."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def write(chosen: argparse.Namespace, *parts: str, variant: str = "") -> None:
    """Show a benchmark's results and put them into its section, or into that of a variant."""
    title = ": ".join(filter(None, [SECTIONS[chosen.name], variant]))
    section = "\n\n".join([f"## {title}", chosen.made_by, *parts])
    print(section)
    old = chosen.report.read_text(encoding="utf-8") if chosen.report.exists() else PREFACE
    with replacing(chosen.report) as partial:
        partial.write_text(replaced(old, section), encoding="utf-8", newline="\n")


def replaced(document: str, section: str) -> str:
    """The document with one section, title included, in its place among the others."""
    preface, *others = re.split(r"^(?=## )", document, flags=re.MULTILINE)
    sections = {_title(other): other.strip() for other in others} | {_title(section): section}
    ranked = sorted(sections, key=_rank)
    return "\n\n".join([preface.strip(), *(sections[title] for title in ranked)]) + "\n"


def _rank(title: str) -> tuple[int, str]:
    """The document's order; a variant comes after what it varies, others come last."""
    order = [*SECTIONS.values()]
    near = (n for n, own in enumerate(order) if title == own or title.startswith(f"{own}: "))
    rank = next(near, len(order))
    return rank, title if rank < len(order) else ""


def _places() -> argparse.ArgumentParser:
    places = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    places.add_argument("--folder", type=Path, help="for what is thrown away (default: TMPDIR)")
    places.add_argument(
        "--report", type=Path, default=FILE, help="file to write (default: docs/benchmarks.md)"
    )
    return places


def _title(section: str) -> str:
    return section.partition("\n")[0].removeprefix("## ").strip()


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def has_avx512() -> bool:
    """Whether the processor says so; TensorFlow uses oneDNN by itself only on such ones."""
    return bool(re.search(r"^flags\s*:.*\bavx512f\b", _cpuinfo(), re.MULTILINE))


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", _cpuinfo(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "an unknown processor"


def _cpuinfo() -> str:
    listing = Path("/proc/cpuinfo")
    return listing.read_text() if listing.is_file() else ""


def _version(name: str) -> str:
    for package in (name, f"{name}-cpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "absent"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()

"""The findings as one page of HTML: no scripts, nothing loaded, every name escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from pipeline.findings.finding import Finding
from pipeline.findings.rejected import by_reason
from pipeline.markup import document, heading, image, table, text
from pipeline.tables import MEASURED, REJECTED_COLUMNS

REJECTED_ROWS = 1000
QUANTILES = {"lowest": 0.0, "1%": 0.01, "median": 0.5, "99%": 0.99, "highest": 1.0}


def page(
    findings: Sequence[Finding],
    manifest: pd.DataFrame,
    measures: pd.DataFrame,
    rejected: pd.DataFrame,
    *,
    sheets: Mapping[str, bytes],
    unseen: Sequence[tuple[str, str]],
) -> str:
    """Write the page.

    Args:
        sheets: The PNG of each finding's contact sheet, by its code.
        unseen: (path, why) of pictures that could not be shown.
    """
    files = manifest["label"].value_counts().sort_index()
    pictures = manifest.drop_duplicates(["digest", "label"])["label"].value_counts().sort_index()
    labels = [
        (str(label), f"{count}", f"{distinct}")
        for label, count, distinct in zip(files.index, files, pictures, strict=True)
    ]
    overview = [(found.code, f"{found.count}", found.sentence) for found in findings]
    parts = [
        f"<p>{len(manifest)} images, {len(measures)} distinct; {len(rejected)} rejected.</p>",
        heading("Findings"),
        table(("finding", "count", "what"), overview),
        *(_section(found, sheets) for found in findings if found.count),
        *([heading("Not shown"), table(("picture", "why"), unseen)] if unseen else []),
        heading("Classes"),
        table(("label", "files", "distinct pictures"), labels),
        heading("Measures"),
        table(("measure", *QUANTILES), _quantiles(measures)),
        heading("Rejected files"),
        *_rejected(rejected),
    ]
    body = "\n".join(parts)
    return document("What ingest found", body)


def _section(found: Finding, sheets: Mapping[str, bytes]) -> str:
    rows = [
        (example.note, [f"{path} ({label})" for path, label in example.pictures])
        for example in found.examples
    ]
    more = f"{len(rows)} of {found.count} shown" if found.count > len(rows) else ""
    picture = image(sheets[found.code], found.code) if found.code in sheets else ""
    return "\n".join(
        [
            heading(found.code),
            f"<p>{text(found.sentence)}: {found.count}. {more}</p>",
            picture,
            table(("what", "pictures (and labels)"), rows),
        ]
    )


def _quantiles(measures: pd.DataFrame) -> list[tuple[str, ...]]:
    return [
        (name, *(f"{measures[name].quantile(part):.1f}" for part in QUANTILES.values()))
        for name in MEASURED
    ]


def _rejected(rejected: pd.DataFrame) -> Iterable[str]:
    if rejected.empty:
        yield "<p>None.</p>"
        return
    reasons = [
        (code, f"{files}", paths)
        for code, files, paths in by_reason(zip(rejected["path"], rejected["reason"], strict=True))
    ]
    yield table(("reason", "files", "such as"), reasons)
    first = rejected.sort_values(["path", "reason"], kind="stable").head(REJECTED_ROWS)
    if len(first) < len(rejected):
        yield f"<p>The first {len(first)}; data/rejected.csv has them all.</p>"
    yield table(REJECTED_COLUMNS, first[[*REJECTED_COLUMNS]].itertuples(index=False, name=None))

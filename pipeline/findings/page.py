"""The findings as one page of HTML: no scripts, nothing loaded, every name escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import pandas as pd

from pipeline.console import printable
from pipeline.findings.finding import Finding
from pipeline.findings.rejected import by_reason
from pipeline.tables import MEASURED, REJECTED_COLUMNS

REJECTED_ROWS = 1000
QUANTILES = {"lowest": 0.0, "1%": 0.01, "median": 0.5, "99%": 0.99, "highest": 1.0}
STYLE = (
    "body{font:15px sans-serif;max-width:1160px;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere}img{max-width:100%}"
)


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
        _heading("Findings"),
        _table(("finding", "count", "what"), overview),
        *(_section(found, sheets) for found in findings if found.count),
        *([_heading("Not shown"), _table(("picture", "why"), unseen)] if unseen else []),
        _heading("Classes"),
        _table(("label", "files", "distinct pictures"), labels),
        _heading("Measures"),
        _table(("measure", *QUANTILES), _quantiles(measures)),
        _heading("Rejected files"),
        *_rejected(rejected),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>What ingest found</title><style>{STYLE}</style></head><body>\n"
        f"<h1>What ingest found</h1>\n{body}\n</body></html>\n"
    )


def _section(found: Finding, sheets: Mapping[str, bytes]) -> str:
    rows = [
        (example.note, [f"{path} ({label})" for path, label in example.pictures])
        for example in found.examples
    ]
    more = f"{len(rows)} of {found.count} shown" if found.count > len(rows) else ""
    picture = ""
    if found.code in sheets:
        content = base64.b64encode(sheets[found.code]).decode()
        picture = f'<p><img alt="{_text(found.code)}" src="data:image/png;base64,{content}"></p>'
    return "\n".join(
        [
            _heading(found.code),
            f"<p>{_text(found.sentence)}: {found.count}. {more}</p>",
            picture,
            _table(("what", "pictures (and labels)"), rows),
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
    reasons = [(code, f"{files}", paths) for code, files, paths in by_reason(rejected)]
    yield _table(("reason", "files", "such as"), reasons)
    first = rejected.sort_values(["path", "reason"], kind="stable").head(REJECTED_ROWS)
    if len(first) < len(rejected):
        yield f"<p>The first {len(first)}; data/rejected.csv has them all.</p>"
    yield _table(REJECTED_COLUMNS, first[[*REJECTED_COLUMNS]].itertuples(index=False, name=None))


def _heading(text: str) -> str:
    return f"<h2>{_text(text)}</h2>"


def _table(columns: Iterable[str], rows: Iterable[Sequence[str | list[str]]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _text(text: str) -> str:
    """Escaped, and of letters that show: a name may hold a line break or a mark of direction."""
    return escape(printable(text), quote=True)


def _cell(cell: str | list[str]) -> str:
    """Text, or several lines of it."""
    return _text(cell) if isinstance(cell, str) else "<br>".join(map(_text, cell))

"""Parts of a page of HTML: no scripts, nothing loaded, every name escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from pipeline.console import printable

STYLE = (
    "body{font:15px sans-serif;max-width:1160px;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere}img{max-width:100%}"
)


def document(title: str, body: str) -> str:
    """A whole page, which may show embedded pictures and do nothing else."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{text(title)}</h1>\n{body}\n</body></html>\n"
    )


def heading(words: str) -> str:
    """A heading of a section."""
    return f"<h2>{text(words)}</h2>"


def table(columns: Iterable[str], rows: Iterable[Sequence[str | list[str]]]) -> str:
    """A table; a cell that is a list has a line for each."""
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def image(png: bytes, instead: str) -> str:
    """An embedded PNG, and the words that stand for it."""
    content = base64.b64encode(png).decode()
    return f'<p><img alt="{text(instead)}" src="data:image/png;base64,{content}"></p>'


def text(words: str) -> str:
    """Escaped, and of letters that show: a name may hold a line break or a mark of direction."""
    return escape(printable(words), quote=True)


def _cell(cell: str | list[str]) -> str:
    return text(cell) if isinstance(cell, str) else "<br>".join(map(text, cell))

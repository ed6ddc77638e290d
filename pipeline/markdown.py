"""Parts of Markdown, for Prefect and for pull requests: no name in it is markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from pipeline.console import printable

SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~:$^=]|(?<=www)\.)", re.IGNORECASE)
MENTION = "@<!-- -->"  # a mark between keeps a name from being called


def plain(text: str) -> str:
    """Text in which nothing is markup: no HTML, table cell, link, mention or emphasis."""
    return SPECIAL.sub(r"\\\1", in_html(text)).replace("@", MENTION)


def in_html(text: str) -> str:
    """Text between tags of HTML, where Markdown has no markup."""
    return escape(printable(text), quote=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain cells."""
    lines = [map(plain, columns), ["---"] * len(columns), *(map(plain, row) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

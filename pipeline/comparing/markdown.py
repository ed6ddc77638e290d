"""A comparison as Markdown for a pull request: no name in it is markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from pipeline.comparing.account import Part
from pipeline.console import printable

SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~:$^=])")
MENTION = "@<!-- -->"  # a mark between keeps a name from being called


def markdown(title: str, parts: Sequence[Part]) -> str:
    """Write the parts, those after the second folded away."""
    lines = [f"## {plain(title)}", ""]
    for number, part in enumerate(parts):
        folded = number > 1 and part.rows
        lines += _opened(part) if folded else [f"### {plain(part.title)}", ""]
        lines += [line for sentence in part.sentences for line in (plain(sentence), "")]
        lines += _table(part)
        lines += ["</details>", ""] if folded else []
    return "\n".join(lines)


def plain(text: str) -> str:
    """Text in which nothing is markup: no HTML, table cell, link, mention or emphasis."""
    escaped = SPECIAL.sub(r"\\\1", escape(printable(text), quote=False))
    return escaped.replace("@", MENTION)


def _opened(part: Part) -> list[str]:
    title = escape(printable(part.title)).replace("@", MENTION)
    return [f"<details><summary>{title}</summary>", ""]


def _table(part: Part) -> Iterator[str]:
    if not part.rows:
        return
    yield f"| {' | '.join(map(plain, part.columns))} |"
    yield f"|{'---|' * len(part.columns)}"
    for row in part.rows:
        yield f"| {' | '.join(map(plain, row))} |"
    yield ""

"""A comparison as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.comparing.account import Part
from pipeline.markdown import MENTION, in_html, plain, table


def markdown(title: str, parts: Sequence[Part]) -> str:
    """Write the parts, those after the second folded away."""
    lines = [f"## {plain(title)}", ""]
    for number, part in enumerate(parts):
        folded = number > 1 and part.rows
        lines += _opened(part) if folded else [f"### {plain(part.title)}", ""]
        lines += [line for sentence in part.sentences for line in (plain(sentence), "")]
        lines += [table(part.columns, part.rows), ""] if part.rows else []
        lines += ["</details>", ""] if folded else []
    return "\n".join(lines)


def _opened(part: Part) -> list[str]:
    title = in_html(part.title).replace("@", MENTION)
    return [f"<details><summary>{title}</summary>", ""]

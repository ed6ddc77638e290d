"""A comparison as one page of HTML, its contact sheets embedded."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.comparing.account import Part
from pipeline.markup import document, heading, image, table, text


def page(title: str, parts: Sequence[Part], sheet: bytes | None, unseen: Sequence[str]) -> str:
    """Write the page.

    Args:
        sheet: PNG of the pictures that turned from right to wrong and back.
        unseen: Why pictures could not be shown.
    """
    body = [_section(part) for part in parts]
    if sheet is not None:
        shown = [heading("Pictures that changed"), image(sheet, "pictures that changed")]
        shown += [f"<p>{text(line)}</p>" for line in unseen]
        body.insert(2, "\n".join(shown))
    return document(title, "\n".join(body))


def _section(part: Part) -> str:
    lines = [heading(part.title), *(f"<p>{text(sentence)}</p>" for sentence in part.sentences)]
    return "\n".join([*lines, table(part.columns, part.rows)] if part.rows else lines)

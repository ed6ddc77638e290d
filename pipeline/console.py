"""What a stage says on stderr: a line now and then, a progress bar when someone is looking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} {task.fields['unit']}/s")


def say(text: str) -> None:
    """Write a line for the user, as it is: names from files are not markup."""
    Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False, emoji=False)


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """Show how far a loop has come.

    Yields:
        A function to call with the number of units done, by default one; its
        keyword `note` replaces the text before the bar.
    """
    terminal = Console(stderr=True)
    watched = terminal.is_terminal and sys.stdout.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal, disable=not watched) as bar:
        task = bar.add_task(what, total=total, unit=unit)

        def advance(units: int = 1, *, note: str = "") -> None:
            bar.update(task, advance=units, description=f"{what} {note}".rstrip())

        yield advance

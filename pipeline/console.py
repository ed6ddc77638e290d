"""What a stage says on stderr: a line now and then, a progress bar when someone is looking."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from rich.table import Table
from rich.text import Text

PIPED = 160  # letters of a line, where no terminal says how many it has
LOG_EVERY_S = 20.0  # where nobody is looking: a line so often


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} {task.fields['unit']}/s")


def say(text: str) -> None:
    """Write a line for the user: names from files are not markup, and move no cursor."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(printable(text), markup=False, highlight=False, emoji=False)


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """Show how far a loop has come: as a bar on a terminal, as lines now and then in a log.

    Yields:
        A function to call with the number of units done, by default one; its
        keyword `note` stands before the bar from then on.
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
        said = time.monotonic()

        def advance(units: int = 1, *, note: str = "") -> None:
            nonlocal said
            bar.update(task, advance=units)
            if note:
                bar.update(task, description=f"{what} {note}")
            if not watched and time.monotonic() - said > LOG_EVERY_S:
                said = time.monotonic()
                say(_in_words(bar.tasks[task]))

        yield advance


def _in_words(task: Task) -> str:
    left = "" if task.time_remaining is None else f", {task.time_remaining:.0f} s left"
    speed = f", {task.speed:.1f} a second" if task.speed else ""  # not known at first
    done = f"{task.completed:.0f} of {task.total:.0f} {task.fields['unit']}s"
    return f"{task.description}: {done}{speed}{left}"


def sized(count: float) -> str:
    """A number of bytes in the largest unit of which it has a tenth."""
    for unit, scale, digits in (("GB", 1e9, 2), ("MB", 1e6, 1), ("kB", 1e3, 1)):
        if count >= scale / 10:
            return f"{count / scale:.{digits}f} {unit}"
    return f"{count:.0f} bytes"


def printable(text: str) -> str:
    """Text without what would move the cursor, break a line or be no text at all."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def wide_console() -> Console:
    """What prints tables on stdout, into a pipe in lines that hold them."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, PIPED)
    return console


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Show a table on stderr, as `say` says a line; its cells are not markup."""
    say(title)  # as Rich's own title it would be folded to the table's width
    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    Console(stderr=True).print(table)

"""Image transfer learning, from labelled images to an evaluated model file.

`dvc repro` runs the stages below in order, and only those that are stale.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import os
import sys
from io import TextIOWrapper
from pathlib import Path

from pipeline.errors import InputError
from pipeline.stages import STAGES

COMMANDS = (
    "predict",
    "summary",
    "inspect",
    "compare",
    "history",
    "pack",
    "cache",
    "run",
    "serve-flows",
    "orchestrate",
)
UNNAMED = "where the output goes, or the disk of this folder or of TMPDIR"


def main(words: list[str] | None = None) -> int:
    """Run a stage or a command; return 0, or 1 after printing what the user must mend."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description=__doc__,
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=[*STAGES, *COMMANDS], help="see below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see: NAME --help")
    chosen = parser.parse_args(words)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where it is not UTF-8
    try:
        if chosen.name in COMMANDS:
            return _run_command(chosen.name, chosen.rest)
        from pipeline.commands.stage import main as run_stage  # noqa: PLC0415

        return run_stage(chosen.name, chosen.rest)
    except InputError as error:
        print(f"error: {_shown(error)}", file=sys.stderr)
    except BrokenPipeError:  # whoever read our output has gone
        _drop_output()
    except OSError as error:
        if not error.filename:
            _drop_output()
        what = "what it names" if error.filename else UNNAMED
        print(f"error: {error}\n  fix: free or allow {what}, then rerun", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 1


def _run_command(name: str, words: list[str]) -> int:
    if sys.stdout is None:
        raise InputError("standard output", "is closed", "leave it open, or send it to a file")
    command = importlib.import_module(f"pipeline.commands.{module_of(name)}")
    status = int(command.main(words))
    sys.stdout.flush()
    return status


def _drop_output() -> None:
    """Write what is left of the output, if it can be, and no more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _shown(error: InputError) -> str:
    """An error without what names from files would do to a terminal."""
    from pipeline.console import printable  # noqa: PLC0415  # slow to import

    reason = "\n".join(printable(line) for line in error.reason.split("\n"))
    return f"{printable(str(error.file))}: {reason}\n  fix: {printable(error.fix)}"


def _overview() -> str:
    lines = ["stages:", *(_line("stages", name) for name in STAGES)]
    return "\n".join([*lines, "", "commands:", *(_line("commands", name) for name in COMMANDS)])


def module_of(command: str) -> str:
    """The module of a command, in pipeline.commands."""
    return command.replace("-", "_")


def _line(package: str, name: str) -> str:
    """A module's first sentence, read without importing what the module imports."""
    file = Path(__file__).parent / package / f"{module_of(name)}.py"
    source = file.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return f"  {name:<12}{docstring.splitlines()[0].partition(': ')[2]}"


if __name__ == "__main__":
    ended = main()
    gc.freeze()  # or Python looks at every object of every library once more: a second or two
    sys.exit(ended)

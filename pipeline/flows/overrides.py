"""Give keys of params.yaml other values, as `dvc exp run -S` does; the rest of it stays."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.errors import InputError
from pipeline.files import replacing
from pipeline.params import parse_yaml, read_params, section_of, unknown


def override(file: Path, assignments: Sequence[str], stages: Sequence[str]) -> None:
    """Write all of the values, or none.

    Args:
        assignments: As "train_head.epochs=5"; what follows the sign is YAML.
        stages: That are to run with them; others that read what is given count, too.

    Raises:
        InputError: The file has no such key, or a value is not YAML or not what a
            stage, or the gate of `retrain`, takes.
    """
    text = overridden(file, assignments, stages)
    newline = "\r\n" if b"\r\n" in file.read_bytes() else "\n"
    with replacing(file.resolve()) as partial:  # a link stays one
        partial.write_text(text, encoding="utf-8", newline=newline)


def overridden(file: Path, assignments: Sequence[str], stages: Sequence[str]) -> str:
    """What `override` would write.

    Raises:
        InputError: See `override`.
    """
    from pipeline.comparing.gate import PromotionParams  # noqa: PLC0415  # slow to import
    from pipeline.signatures import check_params  # noqa: PLC0415

    read_params(file)  # for its errors
    form = _form()
    document = form.load(file.read_text(encoding="utf-8"))
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        if not sign or not key.strip():
            raise InputError(repr(assignment), "is no assignment", "write section.key=value")
        *above, last = key.strip().split(".")
        section: Any = document
        for part in above:
            section = _known(section, part, key, file)[part]
        if isinstance(_known(section, last, key, file)[last], dict):
            raise InputError(repr(assignment), "would replace a whole section", "name one key")
        section[last] = parse_yaml(repr(assignment), value.encode(errors="replace"))
    text = StringIO()
    form.dump(document, text)
    told = parse_yaml(file, text.getvalue().encode())
    name = f"{file} with {', '.join(assignments)}"
    given = {assignment.partition(".")[0].strip() for assignment in assignments}
    check_params(told, stages, name, sections=given)
    if "promotion" in told:
        section_of(told, "promotion", PromotionParams, name)
    return text.getvalue()


def _form() -> YAML:
    form = YAML()
    form.preserve_quotes, form.width = True, 4096
    form.representer.add_representer(type(None), _null)  # which would be left empty
    return form


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _known(section: Any, name: str, key: str, file: Path) -> dict[str, Any]:
    if not isinstance(section, dict):
        reason = f"{key.strip()!r} goes beyond a key, whose value is {section!r}"
        raise InputError(file, reason, f"leave out .{name} and what follows it")
    if name not in section:
        names = [other for other in section if isinstance(other, str)]
        raise InputError(file, *unknown(key.strip(), tuple(names), "key", name))
    found: dict[str, Any] = section
    return found

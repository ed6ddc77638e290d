"""Everything that lies below a folder or in an archive, archives opened, in order of name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.sources import compressed, tars, zips
from pipeline.sources.place import Place, parts_of

Members = Callable[[Path], Iterator[tuple[Place, str]]]
"""Lists an archive: every member but folders, with why it cannot be used, or ""."""
Opener = Callable[[Members, Path], Iterator[tuple[Place, str]]]
"""Gives what a function finds in an archive, be it by asking that or by remembering."""

ARCHIVES: dict[str, Members] = {
    **dict.fromkeys(tars.ENDINGS, tars.members),
    **dict.fromkeys(zips.ENDINGS, zips.members),
    **dict.fromkeys(compressed.ENDINGS, compressed.members),
}
FOREIGN = (".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.lz4", ".7z", ".rar")
IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif")


class Found(NamedTuple):
    """A file, or a member of an archive.

    `path` names it, relative to the folder that was looked through, an archive
    counting as a folder; `parts` are its folders and name, archives left out;
    `fault` is why it cannot be used, as a stable code, or "".
    """

    path: str
    parts: tuple[str, ...]
    place: Place
    fault: str = ""

    @property
    def key(self) -> str:
        """The path up to the first dot of the name, which files of one sample share."""
        folder, slash, name = self.path.rpartition("/")
        return folder + slash + name.partition(".")[0]


def look_through(root: Path, below: Path, open_archive: Opener) -> Iterator[Found]:
    """All that is to be found below `below`, a folder, an archive or a file in `root`.

    What is hidden by a leading dot is left out.  A link to a folder is not
    followed, but named.

    Raises:
        InputError: An archive cannot be read.
    """
    for file in visible_files(below) if below.is_dir() else [below]:
        path = file.relative_to(root).as_posix()
        parts = file.relative_to(below).parts
        if fault := _fault_of_file(root, file, path):
            yield Found(as_text(path), parts, Place(file), fault)
        elif (members := _members_of(file)) and not file.is_file():
            yield Found(path, parts, Place(file), "not_a_file")
        elif file.name.lower().endswith(FOREIGN) and file.is_file():
            reason = f"is an archive of a kind that is not read, only {', '.join(ARCHIVES)}"
            raise InputError(file, reason, "pack its images anew, or unpack it and take it away")
        elif members:
            yield from _in_archive(open_archive(members, file), path, parts[:-1])
        else:
            yield Found(path, parts, Place(file))


def visible_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder in order of name, but for those hidden by a leading dot.

    Named like files are links to folders, which are not followed, and empty
    folders that are called as images are.

    Raises:
        InputError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(str(error.filename), str(error.strerror), "allow it, or take it out")

    for parent, subfolders, names in os.walk(folder, onerror=refuse):
        if names and not _enterable(parent):
            raise InputError(parent, "may be listed and not entered", "allow it, or take it out")
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        links = [name for name in subfolders if Path(parent, name).is_symlink()]
        for name in sorted([*names, *links]):
            if not name.startswith("."):
                yield Path(parent, name)
        empty = not names and not subfolders and parent != str(folder)
        if empty and parent.lower().endswith(IMAGES):
            yield Path(parent)


def leads_outside(root: Path, path: str) -> bool:
    """Whether a path, links followed, ends anywhere but below `root`."""
    target = os.path.realpath(root / path)
    return os.path.commonpath([target, os.path.realpath(root)]) != os.path.realpath(root)


def _enterable(folder: str) -> bool:
    """Whether what a folder lists can be looked at, too."""
    try:
        os.stat(os.path.join(folder, os.curdir))  # noqa: PTH116, PTH118  # a Path drops the dot
    except OSError as error:  # it may have gone
        return not isinstance(error, PermissionError)
    return True


def _members_of(file: Path) -> Members | None:
    name = file.name.lower()
    return next((m for ending, m in ARCHIVES.items() if name.endswith(ending)), None)


def _fault_of_file(root: Path, file: Path, path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        return "name_not_utf8"
    if file.is_dir():
        return "linked_folder" if file.is_symlink() else "not_a_file"
    if not file.is_symlink():
        return ""
    if leads_outside(root, path):
        return "outside"
    return "" if file.exists() else "linked_nowhere"


def _in_archive(
    members: Iterator[tuple[Place, str]], archive: str, folders: tuple[str, ...]
) -> Iterator[Found]:
    seen: set[str] = set()
    for place, fault in members:
        name = place.member.removeprefix("./")
        inner = parts_of(name)
        if any(part.startswith(".") and part != ".." for part in inner):
            continue
        wrong = fault or _fault_of_name(name, inner, seen)
        if not wrong and name.lower().endswith((*ARCHIVES, *FOREIGN)):
            reason = f"{as_text(name)} is an archive within an archive, which is not read"
            raise InputError(archive, reason, "unpack it, and put it beside; or take it out")
        seen.add("/".join(inner))
        shown = name if wrong else "/".join(inner)
        yield Found(as_text(f"{archive}/{shown}"), (*folders, *inner), place, wrong)


def _fault_of_name(name: str, parts: Sequence[str], seen: set[str]) -> str:
    if as_text(name) != name:
        return "name_not_utf8"
    if name.startswith("/") or ".." in parts or "\0" in name or not parts:
        return "outside"
    return "name_twice" if "/".join(parts) in seen else ""


def as_text(path: Path | str) -> str:
    """A path as text that every terminal and file can hold."""
    return str(path).encode("utf-8", "backslashreplace").decode()

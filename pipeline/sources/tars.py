"""Members of a tar archive, each read at its offset."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tarfile import ReadError
from typing import Any

from pipeline.errors import InputError, in_words
from pipeline.sources.place import Place, fix_of, read_span

ENDINGS = (".tar",)
UNREADABLE = (tarfile.TarError, OSError, ValueError, EOFError, RecursionError)
DAMAGED = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined]
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
    tarfile.EmptyHeaderError,  # type: ignore[attr-defined]  # it ends without saying so
)
FIX = "make it again, or unpack it"
MAX_EXTENSION = 2**20  # bytes of a header's own: a long name, say
LONG_NUMBER = re.compile(rb"\d{256}")  # longer than any file's name
RECORD = re.compile(rb"(\d{1,9}) ")  # begins with its own length, and ends with a line break
SKIP = 2**20  # bytes looked at together
GNU = tarfile.GNU_MAGIC  # with it a header has times, no prefix
DUMPED_FOLDER = b"D"  # of `tar -g`; its data name what the folder held
EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class Header(tarfile.TarInfo):
    """A header that is not passed over: tarfile takes a damaged one for the archive's end.

    Newer releases of Python read headers by the functions with an underscore, older by those
    without.
    """

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Header:  # noqa: D102  # as tarfile has it
        return cls._fromtarfile(tarfile)

    @classmethod
    def _fromtarfile(cls, tarfile: Any, **more: Any) -> Header:
        read = getattr(super(), "_fromtarfile", super().fromtarfile)
        try:
            header: Header = read(tarfile, **more)
        except DAMAGED as error:
            raise ReadError(f"{error} at byte {tarfile.offset:,}") from error
        if header.size < 0:  # as a pax header may say: it would lead backwards, for ever
            raise ReadError(f"a member of {header.size:,} bytes")
        return header

    @classmethod
    def frombuf(cls, *arguments: Any) -> Header:  # noqa: D102  # as tarfile has it
        return cls._frombuf(*arguments)

    @classmethod
    def _frombuf(cls, block: bytes, encoding: str, errors: str, **more: Any) -> Header:
        parse = getattr(super(), "_frombuf", super().frombuf)
        header: Header = parse(block, encoding, errors, **more)
        if header.size < 0 or (header.type in EXTENSIONS and header.size > MAX_EXTENSION):
            raise ReadError(f"a header of {header.size:,} bytes")
        if block[257:265] == GNU:  # tarfile takes the times of `tar -g` for folders
            header.name = tarfile.nts(block[:100], encoding, errors)  # type: ignore[attr-defined]
        return header

    def _proc_pax(self, tarfile: Any) -> Header:
        """Refuse what tarfile would read in quadratic time or memory (one is CVE-2024-6232)."""
        body = tarfile.fileobj.read(self._block(self.size))  # type: ignore[attr-defined]
        if LONG_NUMBER.search(body) or not _are_records(body[: self.size]):
            raise ReadError(f"a header that is none, before byte {tarfile.fileobj.tell():,}")
        tarfile.fileobj = _Again(body, tarfile)
        header: Header = super()._proc_pax(tarfile)  # type: ignore[misc]
        return header


def _are_records(body: bytes) -> bool:
    """Whether pax records follow one another, as POSIX.1-2001 has them."""
    at = 0
    while at < len(body):
        begins = RECORD.match(body, at)
        end = at + int(begins[1]) if begins else 0
        if end <= at or body[end - 1 : end] != b"\n":
            return False
        at = end
    return True


class _Again:
    """Gives once more what was read, and lets the archive's own file follow."""

    def __init__(self, body: bytes, archive: Any) -> None:
        self.body, self.archive, self.file = body, archive, archive.fileobj

    def read(self, _size: int) -> bytes:
        self.archive.fileobj = self.file
        return self.body


def members(file: Path) -> Iterator[tuple[Place, str]]:
    """Every member but folders, with what is wrong with it: a reason code, or "".

    Raises:
        InputError: The archive cannot be read.
    """
    try:
        with tarfile.open(file, "r:", tarinfo=Header) as archive:
            yield from found_in(archive, file)
    except UNREADABLE as error:
        reason = f"cannot be read as tar: {in_words(error)}"
        raise InputError(file, reason, fix_of(error, FIX)) from error


def found_in(archive: tarfile.TarFile, file: Path) -> Iterator[tuple[Place, str]]:
    """The members of an open archive, as `members` gives them.

    Raises:
        tarfile.TarError: It is damaged, or another was joined to it, which readers pass over.
    """
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # or all stay in memory
        if not member.isdir() and member.type != DUMPED_FOLDER:
            yield Place(file, member.name, member.offset_data, member.size), _fault(member)
    padding: Any = archive.fileobj
    while behind := padding.read(SKIP):
        if behind.strip(b"\0"):
            raise ReadError("there is more behind its end mark, as where archives were joined")


def _fault(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "linked_member"
    return "" if member.isreg() and not member.issparse() else "not_a_file"


def read(place: Place) -> bytes:
    """The bytes of a member.

    Raises:
        RejectedImage: They are not there.
    """
    return read_span(place.file, place.position, place.size)

"""Members of a zip archive, each read at its offset, stored or deflated."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InputError, RejectedImage, in_words
from pipeline.sources.place import Place, check_size, fix_of, parts_of, read_span

ENDINGS = (".zip",)
FIX = "make it again, or unpack it"
HEADER = struct.Struct("<4s5H3I2H")  # of a member (APPNOTE.TXT 4.3.7)
MAGIC = b"PK\3\4"
DESCRIPTOR = b"PK\7\b"  # may stand before the checksum that follows a member (4.3.9)
END = b"PK\5\6"
MAX_END = 22 + 2**16  # bytes: with the longest comment
ELSEWHERE = 2**16 - 1  # where a number stands in another record (4.4.1.4)
ENCRYPTED, CHECKSUM_FOLLOWS, UTF_8 = 0x1, 0x8, 0x800  # flags
FIELD = struct.Struct("<2H")  # of a header's extra: kind and size (4.5.1)
UNICODE_PATH = 0x7075
WINDOWS = 0  # or MS-DOS, where a member was made


def members(file: Path) -> Iterator[tuple[Place, str]]:
    """Every member but folders, with what is wrong with it: a reason code, or "".

    Raises:
        InputError: The archive cannot be read.
    """
    try:
        with file.open("rb") as stream:
            _check_whole(stream, file)
            with zipfile.ZipFile(stream) as archive:
                found = archive.infolist()
            stream.seek(0)
            begins = stream.read(len(MAGIC))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        reason = f"cannot be read as zip: {in_words(error)}"
        raise InputError(file, reason, fix_of(error, FIX)) from error
    if begins == MAGIC and all(member.header_offset for member in found):
        reason = "its directory does not name its first member, as where archives were joined"
        raise InputError(file, f"cannot be read as zip: {reason}", FIX)
    for member in found:
        if not (name := _name(member)).endswith("/"):
            place = Place(file, name, member.header_offset, member.compress_size)
            yield place, _fault(member)


def _check_whole(stream: BinaryIO, file: Path) -> None:
    """Refuse an end that lies on another disk than the first (4.3.16).

    Raises:
        InputError: See there.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - MAX_END))
    _, found, record = stream.read().rpartition(END)
    if found and int.from_bytes(record[:2], "little") not in {0, ELSEWHERE}:
        join = f"join the parts (zip -s 0 {file.name} --out one.zip) and take them away"
        reason = "is the last part of a split zip"
        raise InputError(file, reason, f"{join}, or make it again as one")


def _name(member: zipfile.ZipInfo) -> str:
    """Of a member; old programs of Windows part folders by backslashes (against 4.4.17)."""
    raw = member.orig_filename.encode("utf-8" if member.flag_bits & UTF_8 else "cp437")
    name = _meant(raw, member.extra)
    return name.replace("\\", "/") if member.create_system == WINDOWS and "/" not in name else name


def _meant(name: bytes, extra: bytes) -> str:
    """What a header's name means: many a program writes UTF-8 and does not say so (4.4.4).

    Args:
        extra: Fields, of which one may hold the name in UTF-8, and a checksum of
            the other that it stands for (4.6.9).
    """
    while len(extra) >= FIELD.size:
        kind, size = FIELD.unpack_from(extra)
        field, extra = extra[FIELD.size : FIELD.size + size], extra[FIELD.size + size :]
        if kind == UNICODE_PATH and field[1:5] == zlib.crc32(name).to_bytes(4, "little"):
            name = field[5:]
    name = name.partition(b"\0")[0]
    try:
        return name.decode()
    except UnicodeError:
        return name.decode("cp437")


def _fault(member: zipfile.ZipInfo) -> str:
    if member.flag_bits & ENCRYPTED:
        return "encrypted"
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "unknown_compression"
    return "linked_member" if (member.external_attr >> 28) == 0xA else ""


def read(place: Place, limit: int | None) -> bytes:
    """The bytes of a member, if no more than `limit`.

    Raises:
        RejectedImage: They are not there, damaged or too many.
    """
    head = read_span(place.file, place.position, HEADER.size)
    magic, _, flags, method, _, _, crc, _, _, name_size, extra_size = HEADER.unpack(head)
    names, start = name_size + extra_size, place.position + HEADER.size
    body = read_span(place.file, start, names + place.size)
    name, content = _meant(body[:name_size], body[name_size:names]), body[names:]
    same = parts_of(name.replace("\\", "/")) == parts_of(place.member.replace("\\", "/"))
    if magic != MAGIC or not same:
        raise RejectedImage("damaged", f"{place.file.name} has no such member there")
    if flags & CHECKSUM_FOLLOWS and not crc:
        behind = read_span(place.file, start + len(body), len(DESCRIPTOR) + 4)
        crc = int.from_bytes(behind.removeprefix(DESCRIPTOR)[:4], "little")
    if method == zipfile.ZIP_DEFLATED:
        content = _inflated(content, limit)
    if zlib.crc32(content) != crc:
        raise RejectedImage("damaged", "its bytes do not have the archive's checksum")
    return content


def _inflated(content: bytes, limit: int | None) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        whole = stream.decompress(content, 0 if limit is None else limit + 1)
    except zlib.error as error:
        raise RejectedImage("damaged", in_words(error)) from error
    check_size(len(whole), limit)
    if not stream.eof:
        raise RejectedImage("damaged", "ends before its data do")
    return whole

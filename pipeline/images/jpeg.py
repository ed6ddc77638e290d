"""Whether a JPEG ends: its decoder does not tell of one whose last part is zeros.

Marks as in annex B of https://www.w3.org/Graphics/JPEG/itu-t81.pdf.
"""

from __future__ import annotations

import re

FIRST_SEGMENT = 2  # behind the mark of the file's beginning
SCAN, END = 0xDA, 0xD9
LONE = {0x00, 0x01, *range(0xD0, END + 1)}  # without a segment
FILL = 0xFF  # before a mark
BETWEEN = {SCAN, 0xC4, 0xCC, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}  # may follow a scan
MARK = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # not what stands for a byte of the pixels


def has_end(encoded: bytes) -> bool:
    """Whether the first picture's last scan comes to an end mark.

    A thumbnail's comes before the scans; another picture's or a film's, after them.
    """
    at = _first_scan(encoded)
    if at < 0:
        return False
    if encoded.find(bytes((FILL, END)), at) == len(encoded) - 2:
        return True  # nothing follows; most files end so, and this is quick
    while found := MARK.search(encoded, at):
        mark = found[1][0]
        if mark not in BETWEEN:
            return mark == END
        at = found.end() + int.from_bytes(encoded[found.end() : found.end() + 2], "big")
    return False


def _first_scan(encoded: bytes) -> int:
    """Where its mark is; -1: nowhere."""
    at = encoded.find(FILL, FIRST_SEGMENT)
    while 0 <= at < len(encoded) - 1:
        mark = encoded[at + 1]
        if mark == SCAN:
            return at
        if mark == FILL:
            at += 1
        elif mark in LONE:
            at += 2
        else:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
        at = encoded.find(FILL, at)
    return -1

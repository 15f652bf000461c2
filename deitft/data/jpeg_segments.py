"""What a JPEG's bytes say before any decoder sees them: its frame, whether its end and all its scans are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

END = b"\xff\xd9"
_END, _SCAN = 0xD9, 0xDA
_COMMON = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Frames: baseline, extended and progressive, by Huffman; the latter two by arithmetic coding."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, 0xD8, _END})
"""Markers without a segment."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Not a stuffed byte, a restart or filling."""


class Segment(NamedTuple):
    """A marker, where it stands, and where what belongs to it ends; that may be beyond the file's end."""

    marker: int
    start: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """One after the other, to the end marker. What lies between two, as the coded data of a scan does, is
    passed over.
    """
    at = 2
    while found := _MARKER.search(data, at):
        marker, start = data[found.start() + 1], found.start()
        at = start + 2
        if marker not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
        yield Segment(marker, start, at)
        if marker == _END:
            return


class Frame(NamedTuple):
    """What a JPEG says of its picture: how it is coded (the marker), bits a value, pixels."""

    coding: int
    bits: int
    height: int
    width: int

    @property
    def is_common(self) -> bool:
        """8 bits, and Huffman or arithmetic coding of frequencies: not lossless, which cannot be reduced."""
        return self.bits == 8 and self.coding in _COMMON


def frame_of(data: bytes) -> Frame | None:
    """The frame header of a JPEG; None where anything but whole segments and filling stands before it."""
    at = 2
    for marker, start, end in segments(data):
        if data[at:start].strip(b"\xff") or marker in _ALONE or marker == _SCAN or end < start + 4:
            return None
        if marker in _FRAMES:
            header = data[start + 4 : start + 9]
            if len(header) < 5:
                return None
            return Frame(marker, header[0], int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:], "big"))
        at = end
    return None


def lacks_end(data: bytes) -> bool:
    """Whether a JPEG ends without an end marker; what stands behind one, the film of a phone say, is no matter."""
    return not data.endswith(END) and all(segment.marker != _END for segment in segments(data))


def has_all_scans(data: bytes) -> bool:
    """True where the scans of a JPEG bring every coefficient of every component to its last bit.

    A progressive JPEG cut off between two scans decodes without a word, only coarser.
    """
    missing: set[tuple[int, int]] = set()  # (component, coefficient)
    for marker, start, end in segments(data):
        part = data[start + 4 : end]
        if end > len(data) or (marker == _SCAN and len(part) < 4):
            return False
        if marker in _FRAMES:
            if len(part) < 6 or len(part) < 6 + 3 * part[5]:
                return False
            missing = {(part[6 + 3 * index], place) for index in range(part[5]) for place in range(64)}
        elif marker == _SCAN:
            ids = part[1 : 1 + 2 * part[0] : 2]
            first, last, precision = part[-3:]
            if precision & 15 == 0:
                missing -= {(component, place) for component in ids for place in range(first, last + 1)}
    return not missing

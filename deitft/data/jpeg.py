"""JPEGs by libjpeg-turbo itself: the same pixels as Pillow's, to the last bit, in half the time.

And it says what Pillow keeps to itself: a file damaged inside decodes without an error elsewhere. So one decode
tells both what a JPEG shows and whether it is whole. Whatever is unusual is left to Pillow.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deitft.data.formats import has_all_scans

Pixels = npt.NDArray[np.uint8]

END = b"\xff\xd9"
_COMMON = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Baseline, extended and progressive, by Huffman; the latter two by arithmetic coding."""
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
"""Markers without a segment."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends a scan: not a stuffed byte, a restart or filling."""

_TURNS = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.swapaxes(0, 1),
    6: lambda rgb: np.rot90(rgb, -1),
    7: lambda rgb: rgb[::-1, ::-1].swapaxes(0, 1),
    8: lambda rgb: np.rot90(rgb, 1),
}


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
    """The frame header of a JPEG; None where anything but whole segments stands before it."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fills
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _ALONE or marker == 0xDA or length < 2:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[place : place + 2], "big") for place in (at + 5, at + 7))
            return Frame(marker, data[at + 4], height, width)
        at += 2 + length
    return None


def whole_jpeg(data: bytes, scale: int, colours: str = "RGB") -> tuple[Pixels | None, bool]:
    """(pixels [H, W, 3] as stored, at 1 / ``scale``, or None; whether the decoder told of damage).

    None where the file is damaged, cut off or of a rare kind: Pillow says how. ``colours`` may be "CMYK" [H, W, 4]
    where the file is that inside.
    """
    import simplejpeg  # where nothing is decoded nothing is loaded

    frame = frame_of(data)
    if frame is None or not frame.is_common:
        return None, False
    # It takes the smallest scale that leaves so many pixels.
    height, width = -(-frame.height // scale), -(-frame.width // scale)
    least = {"min_height": height, "min_width": width} if scale > 1 else {}
    try:
        rgb: Pixels = simplejpeg.decode_jpeg(data, colours, **least, strict=True)
    except ValueError as error:
        text = str(error)
        return None, "Corrupt JPEG" in text and "ICC" not in text  # a colour profile is no pixel
    return (rgb if rgb.shape[:2] == (height, width) else None), False


def with_end(data: bytes, colours: str = "RGB") -> bytes | None:
    """A JPEG that has lost its end marker and nothing else, with one; None of any other file.

    libjpeg warns as soon as it needs a bit that is not there, so one decode tells, at the smallest scale.
    """
    body = data.rstrip(b"\xff")  # half of a lost end marker
    if not lacks_end(data) or not has_all_scans(body):
        return None
    whole = body + END
    return whole if whole_jpeg(whole, 8, colours)[0] is not None else None


def turned(rgb: Pixels, orientation: int) -> Pixels:
    """Upright, by an EXIF orientation."""
    turn = _TURNS.get(orientation)
    return rgb if turn is None else np.ascontiguousarray(turn(rgb))


def jpeg_scale(width: int, height: int, at_least: int) -> int:
    """The largest reduction (8, 4, 2, 1) that leaves the shorter side so many pixels."""
    return next((scale for scale in (8, 4, 2) if -(-min(width, height) // scale) >= at_least), 1)


def lacks_end(data: bytes) -> bool:
    """Whether a JPEG ends without an end marker; what stands behind one, the film of a phone say, is no matter."""
    if data.endswith(END):
        return False
    at = 2
    while found := _MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.start()
        if marker == 0xD9:
            return False
        at += 2 if marker in _ALONE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True

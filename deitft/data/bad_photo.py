"""A photo that cannot be used: the error, its words, what to do about it; and how large a photo may be."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from deitft.errors import DataError, UsageError

MAX_PIXELS = 100_000_000
"""A photo must claim fewer: 64-megapixel phones pass, decompression bombs do not (fault D4)."""
_LIMIT = "DEITFT_MAX_PIXELS"


class BadPhotoError(DataError):
    """A photo that cannot be used; ``id`` is D2, D3, D4, D6, D10 or D18, ``reason`` says why, without a path."""

    @property
    def reason(self) -> str:
        """Why, without the path: "file ends early at byte 10380"."""
        return str(self.details.get("reason", self.what))


HINTS = {
    "D2": "restore it from the original or delete it",
    "D3": "delete it",
    "D4": "resize it or raise --max-pixels",
    "D6": "save it as 8-bit RGB",
    "D10": "delete it or find a larger version",
    "D18": 'pip install "deitft[heic]" or convert it to JPEG',
}
"""What to do about one bad photo, by fault id."""


def ways_out(id: str, reason: str, count: int) -> str:
    """What to do about ``count`` bad photos of a folder: "resize it, raise --max-pixels, or add --skip-bad"."""
    ways = ["fix it"] if id == "D2" else [HINTS[id]]
    if id == "D4":
        ways = ["resize it", "raise --max-pixels"] if "claims" in reason else ["resize it"]
    if id == "D18":
        ways = ['pip install "deitft[heic]"', "convert it"] if "HEIC" in reason else ["convert it"]
    ways = [way if count == 1 else way.replace(" it", " them") for way in ways]
    return f"{', '.join(ways)}, or add --skip-bad" if len(ways) > 1 else f"{ways[0]} or add --skip-bad"


def bad_photo_text(id: str, path: str, reason: str) -> str:
    """The sentence about one bad photo that is named by itself."""
    return f"{path} cannot be read ({reason})" if id == "D2" else f"{path} {reason}"


def bad(id: str, reason: str) -> BadPhotoError:
    """The error of a photo whose path is not known here."""
    what = bad_photo_text(id, "a photo", reason)
    return BadPhotoError(what, HINTS[id], id=id, details={"reason": reason})


def max_pixels() -> int:
    """The number of pixels that a photo must claim fewer of, as ``pixel_limit`` or the environment says."""
    text = os.environ.get(_LIMIT, "")
    return int(text) if text.isdecimal() else MAX_PIXELS


def pixel_count(text: str) -> int:
    """A count of pixels as people write it: "150M", "150000000".

    Raises:
        UsageError: not a count (id PIXELS).
    """
    match = re.fullmatch(r"(\d{1,12}(?:\.\d+)?)\s*([Mm]?)", text.strip().replace("_", ""))
    count = round(float(match[1]) * (1_000_000 if match[2] else 1)) if match else 0
    if not 64 <= count <= 4_000_000_000:
        raise UsageError(f'--max-pixels: "{text}" is not a number of pixels', "write 200M", id="PIXELS")
    return count


@contextlib.contextmanager
def pixel_limit(count: int | None) -> Iterator[None]:
    """In this block photos may claim so many pixels, in this process and in those it starts; None: as before.

    The limit travels in the environment: processes that read photos inherit it however they are started.
    """
    before = os.environ.get(_LIMIT)
    if count is not None:
        os.environ[_LIMIT] = str(count)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_LIMIT] = before
        elif count is not None:
            os.environ.pop(_LIMIT, None)

"""What is special about photos that are used: damage read anyway, odd colours, animations, odd shapes, nothing or
nothing sharp on them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import Catalog
from deitft.data.colour import PhotoNote
from deitft.data.decode import MAX_ASPECT
from deitft.data.findings import Finding, about
from deitft.errors import Severity

PLAIN = 1.5
"""Standard deviation of grey (0 to 255) below which a photo is one plain colour."""
BLURRED, BLURRED_SHARE = 20.0, 0.02
"""A photo is blurred where the variance of the Laplacian of grey at 256 px is below the first, and below this
share of grey's own variance: a plain product on a plain ground has few edges, but sharp ones. Of clothing-small's
3,781 photos none is; blurred by a Gaussian of 2 px at that size, 19 in 20 are."""
LONG = 4
"""Longer photos (sides) lose most of themselves in a square crop."""
SMALL_SIDE = 64
NEARLY_ALL = 0.9
"""From this share of small photos on they are what the folder is made of: said so, none of them singled out."""
ODD_AREA = 25
"""A photo with this many times the pixels of the median photo, or as many times fewer, is of an odd size."""

_HEADINGS = {
    PhotoNote.NO_END_MARKER: "read anyway",
    PhotoNote.DAMAGED: "damage that the decoder saw",
    PhotoNote.SIXTEEN_BIT: "16 bits",
    PhotoNote.PLAIN_CMYK: "CMYK",
}
"""What a page adds to the title of a finding where it has others of the same id."""

_NOTED: tuple[tuple[PhotoNote, str, Severity, str, str], ...] = (
    (PhotoNote.NO_END_MARKER, "D2", "warning", "{JPEG} {lack} {their} end marker, read anyway", ""),
    (PhotoNote.DAMAGED, "D2", "warning", "the decoder reported damage in {photo}, first: {first}", "look at them"),
    (PhotoNote.WRONG_EXTENSION, "D3", "info", "{file} {have} an extension that does not match", ""),
    (PhotoNote.BAD_EXIF, "D5", "warning", "{photo} {have} unreadable EXIF, used as stored", ""),
    (PhotoNote.SIXTEEN_BIT, "D6", "warning", "{photo} {are} 16-bit, scaled to 8-bit by value / 257", ""),
    (PhotoNote.PLAIN_CMYK, "D6", "warning", "{photo} {are} CMYK without profile, colours may be off", ""),
    (
        PhotoNote.TRANSPARENT,
        "D7",
        "warning",
        "{photo} {are} fully transparent (a blank square after flattening), first: {first}",
        "",
    ),
    (PhotoNote.ANIMATED, "D8", "warning", "{file} {are animations}, only the first frame is used", ""),
)


def noted_photos(catalog: Catalog, good: npt.NDArray[np.bool_]) -> list[Finding]:
    """What was special about photos that are used."""
    found = []
    for note, id, severity, text, hint in _NOTED:
        rows = np.flatnonzero(good & ((catalog.notes & note) != 0)).tolist()
        if rows:
            heading = {"heading": _HEADINGS[note]} if note in _HEADINGS else None
            found.append(about(catalog, rows, id, severity, text, hint, heading))
    long, short = np.maximum(catalog.widths, catalog.heights), np.minimum(catalog.widths, catalog.heights)
    rows = np.flatnonzero(good & (short > 0) & (long > MAX_ASPECT * short)).tolist()
    if rows:
        text = f"{{photo}} {{are}} longer than {MAX_ASPECT} : 1, {{their}} middle is used, first: {{first}}"
        found.append(about(catalog, rows, "D10", "warning", text, ""))
    return found


def photo_quality(catalog: Catalog, good: npt.NDArray[np.bool_]) -> list[Finding]:
    """Photos with nothing on them (BLANK), nothing sharp (BLUR), of an odd shape (ASPECT) or size (SIZE)."""
    return [*_pictures(catalog, good), *_shapes(catalog, good)]


def _pictures(catalog: Catalog, good: npt.NDArray[np.bool_]) -> list[Finding]:
    if catalog.contrast is None or catalog.sharpness is None:
        return []
    seen = good & ((catalog.notes & PhotoNote.TRANSPARENT) == 0)
    plain = seen & (catalog.contrast < PLAIN)
    blurred = catalog.sharpness < np.minimum(BLURRED, BLURRED_SHARE * catalog.contrast**2)
    found = []
    if (rows := np.flatnonzero(plain).tolist()) != []:
        text = "{photo} {are} one plain colour, first: {first}"
        found.append(about(catalog, rows, "BLANK", "warning", text, "look at them"))
    if (rows := np.flatnonzero(seen & ~plain & blurred).tolist()) != []:
        text = "{photo} {look} blurred, first: {first}"
        found.append(about(catalog, rows, "BLUR", "info", text, "look at them"))
    return found


def _shapes(catalog: Catalog, good: npt.NDArray[np.bool_]) -> list[Finding]:
    wide, high = catalog.widths.astype(np.int64), catalog.heights.astype(np.int64)
    long, short = np.maximum(wide, high), np.minimum(wide, high)
    known = good & (short > 0)
    if not known.any():
        return []
    found = []
    rows = np.flatnonzero(known & (long > LONG * short) & (long <= MAX_ASPECT * short)).tolist()
    if rows:
        text = f"{{photo}} {{are}} longer than {LONG} : 1, first: {{first}}"
        found.append(about(catalog, rows, "ASPECT", "info", text, "image.aspect=pad or squash keeps all of them"))
    rows = np.flatnonzero(known & (short < SMALL_SIDE)).tolist()
    share = len(rows) / int(known.sum())
    if share >= NEARLY_ALL:
        text = f"{_per_cent(share)} of the photos have a side of less than {SMALL_SIDE} pixels and are enlarged"
        found.append(about(catalog, rows, "SIZE", "info", text, details={"share": share}))
    elif rows:
        text = f"{{photo}} {{have}} a side of less than {SMALL_SIDE} pixels and {{are}} enlarged, first: {{first}}"
        found.append(about(catalog, rows, "SIZE", "info", text, details={"heading": "enlarged"}))
    middle = float(np.median((wide * high)[known]))
    odd = (wide * high > ODD_AREA * middle) | (wide * high * ODD_AREA < middle)
    rows = np.flatnonzero(known & odd & (short >= SMALL_SIDE)).tolist()
    if rows:
        text = "{photo} {are} far larger or smaller than the others, first: {first}"
        found.append(about(catalog, rows, "SIZE", "info", text))
    return found


def _per_cent(share: float) -> str:
    return "all" if share == 1 else f"{math.floor(100 * share)} %"

"""What is special about photos that are used: damage read anyway, odd colours, animations, odd shapes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import Catalog
from deitft.data.colour import PhotoNote
from deitft.data.decode import MAX_ASPECT
from deitft.data.findings import Finding, about
from deitft.errors import Severity

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
            found.append(about(catalog, rows, id, severity, text, hint))
    long, short = np.maximum(catalog.widths, catalog.heights), np.minimum(catalog.widths, catalog.heights)
    rows = np.flatnonzero(good & (short > 0) & (long > MAX_ASPECT * short)).tolist()
    if rows:
        text = f"{{photo}} {{are}} longer than {MAX_ASPECT} : 1, {{their}} middle is used, first: {{first}}"
        found.append(about(catalog, rows, "D10", "warning", text, ""))
    return found

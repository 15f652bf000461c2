"""The same photo more than once: under two labels (D13), on two given sides (D11), or harmlessly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import SPLIT_NAMES, TEST, TRAIN, VAL, BadPhoto, Catalog, counted, shown
from deitft.data.findings import Finding, about


def conflicts(catalog: Catalog, contents: npt.NDArray[np.int64], bad: Mapping[int, BadPhoto]) -> dict[int, str]:
    """Photos of the same bytes under two labels (fault D13): row -> what it equals."""
    usable = (contents >= 0) & (catalog.labels >= 0)
    usable[list(bad)] = False
    counts = np.bincount(contents[usable])
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(usable)[counts[contents[usable]] > 1].tolist():
        groups.setdefault(int(contents[row]), []).append(row)
    found: dict[int, str] = {}
    for group in groups.values():
        for row in group:
            other = next((one for one in group if catalog.labels[one] != catalog.labels[row]), None)
            if other is not None:
                found[row] = f"the same picture as {shown(catalog.paths[other])}"
    return dict(sorted(found.items()))


def leaks(catalog: Catalog, contents: npt.NDArray[np.int64], allowed: bool) -> list[Finding]:
    """The same bytes on two given sides (fault D11)."""
    found = []
    for late, early in ((TEST, TRAIN), (VAL, TRAIN), (TEST, VAL)):
        known = contents >= 0
        of_early = np.flatnonzero(known & (catalog.given == early))
        rows = np.flatnonzero(known & (catalog.given == late) & np.isin(contents, contents[of_early])).tolist()
        if not rows:
            continue
        there = {int(contents[row]): int(row) for row in of_early[::-1]}
        first, twin = (shown(catalog.paths[row]) for row in (rows[0], there[int(contents[rows[0]])]))
        photos = counted(len(rows), f"{SPLIT_NAMES[late]} photo")
        verb = "is" if len(rows) == 1 else "are"
        hint = "remove one copy, or --allow-leak to report inflated numbers"
        found.append(
            Finding(
                id="D11",
                severity="warning" if allowed else "error",
                text=f"{photos} {verb} also in {SPLIT_NAMES[early]}, first: {first} = {twin}",
                hint="the numbers are inflated" if allowed else hint,
                paths=tuple(catalog.paths[row] for row in rows),
                details={
                    "split": SPLIT_NAMES[late],
                    "also_in": SPLIT_NAMES[early],
                    "twins": [catalog.paths[there[int(contents[row])]] for row in rows],
                },
            )
        )
    return found


def copies(catalog: Catalog, contents: npt.NDArray[np.int64]) -> list[Finding]:
    """Photos of the same bytes that do no harm: one label, one side."""
    rows = np.flatnonzero(contents >= 0)
    _, first = np.unique(contents[rows] * 4 + catalog.given[rows], return_index=True)
    extra = np.delete(rows, first).tolist()
    if not extra:
        return []
    text = "{photo} {are copies of others}, kept on one side of the split, first: {first}"
    return [about(catalog, extra, "COPIES", "info", text, "")]

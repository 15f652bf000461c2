"""The same photo more than once: under two labels (D13), on two given sides (D11), harmlessly; or almost (D12).

"The same" is by bytes or by decoded pixels; ``contents`` are ``Catalog.pictures``, -1 for an unused photo.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import NONE, SPLIT_NAMES, TEST, TRAIN, VAL, BadPhoto, Catalog, counted, shown
from deitft.data.findings import Finding, about
from deitft.errors import Severity


def conflicts(catalog: Catalog, contents: npt.NDArray[np.int64], bad: Mapping[int, BadPhoto]) -> dict[int, str]:
    """One picture under two labels (fault D13): row -> what it equals."""
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
    """One picture on two given sides (fault D11)."""
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
                    "heading": f"{SPLIT_NAMES[late]} and {SPLIT_NAMES[early]}",
                    "twins": [catalog.paths[there[int(contents[row])]] for row in rows],
                    "pairs": [same_pair(catalog, row, there[int(contents[row])]) for row in rows],
                },
            )
        )
    return found


def copies(catalog: Catalog, contents: npt.NDArray[np.int64]) -> list[Finding]:
    """Copies of a picture that do no harm: one label, one side."""
    rows = np.flatnonzero(contents >= 0)
    _, first, place = np.unique(contents[rows] * 4 + catalog.given[rows], return_index=True, return_inverse=True)
    extra = np.delete(np.arange(len(rows)), first)
    if not len(extra):
        return []
    text = "{photo} {are copies of others}, kept on one side of the split, first: {first}"
    originals = rows[first[place[extra]]].tolist()
    extra = rows[extra].tolist()
    pairs = [same_pair(catalog, *pair) for pair in zip(extra, originals, strict=True)]
    return [about(catalog, extra, "COPIES", "info", text, "", {"pairs": pairs})]


Pair = list[str | float]
"""[path, path, kind, distance] as ``Finding.details["pairs"]`` has them."""


def same_pair(catalog: Catalog, row: int, other: int) -> Pair:
    """Two photos of one picture."""
    kind = "the same file" if catalog.digests[row] == catalog.digests[other] else "the same pixels"
    return [catalog.paths[row], catalog.paths[other], kind, 0.0]


def near_duplicates(catalog: Catalog, good: npt.NDArray[np.bool_]) -> list[Finding]:
    """Photos that are almost the same (fault D12): under two labels, across given splits, or harmlessly."""
    near = catalog.pairs
    usable = good[near.first] & good[near.second]
    one, two = catalog.labels[near.first], catalog.labels[near.second]
    two_labels = usable & (one != two) & (one >= 0) & (two >= 0)
    found = []
    if two_labels.any():
        pairs = _near_pairs(catalog, two_labels)
        rows = sorted({*near.first[two_labels].tolist(), *near.second[two_labels].tolist()})
        count = counted(len(pairs), "pair")
        verb = "carries" if len(pairs) == 1 else "carry"
        text = f"{count} of photos that are almost the same {verb} two labels, first: {_said(pairs[0])}"
        found.append(
            _d12(
                catalog,
                rows,
                "warning",
                text,
                "compare them, one label may be wrong",
                pairs,
                {"heading": "two labels"},
            )
        )
    found += near_leaks(catalog, np.where(good, catalog.given, NONE))
    if near.left:
        text = f"{near.left:,} more pairs of photos look alike and were not compared: the closest ones were"
        found.append(Finding(id="D12", severity="info", text=text, details={"heading": "not compared"}))
    sides = catalog.given[near.first], catalog.given[near.second]
    plain = usable & ~two_labels & (sides[0] == sides[1])
    if plain.any():
        pairs = _near_pairs(catalog, plain)
        rows = sorted({*near.first[plain].tolist(), *near.second[plain].tolist()})
        verb = "is" if len(pairs) == 1 else "are"
        text = f"{counted(len(pairs), 'pair')} of photos {verb} almost the same, first: {_said(pairs[0])}"
        given = (catalog.given != NONE).any()
        hint = "they stand on one side" if given else "they are kept on one side of the split"
        found.append(_d12(catalog, rows, "info", text, hint, pairs, {"heading": "harmless"}))
    return found


def near_leaks(catalog: Catalog, split: npt.NDArray[np.int8]) -> list[Finding]:
    """Photos of one side of a split that are almost the same as photos of another (fault D12)."""
    near, found = catalog.pairs, []
    sides = split[near.first], split[near.second]
    for late, early in ((TEST, TRAIN), (VAL, TRAIN), (TEST, VAL)):
        ahead = (sides[0] == late) & (sides[1] == early)
        across = ahead | ((sides[0] == early) & (sides[1] == late))
        if not across.any():
            continue
        pairs = _near_pairs(catalog, across, swapped=~ahead)
        rows = np.unique(np.where(ahead, near.first, near.second)[across]).tolist()
        verb = "looks" if len(rows) == 1 else "look"
        photos = counted(len(rows), f"{SPLIT_NAMES[late]} photo")
        text = f"{photos} {verb} almost the same as {SPLIT_NAMES[early]} photos, first: {_said(pairs[0])}"
        more: dict[str, object] = {
            "split": SPLIT_NAMES[late],
            "also_in": SPLIT_NAMES[early],
            "heading": f"{SPLIT_NAMES[late]} and {SPLIT_NAMES[early]}",
        }
        found.append(_d12(catalog, rows, "warning", text, "compare before trusting the score", pairs, more))
    return found


def _near_pairs(
    catalog: Catalog, chosen: npt.NDArray[np.bool_], swapped: npt.NDArray[np.bool_] | None = None
) -> list[Pair]:
    near = catalog.pairs
    pairs: list[Pair] = []
    for at in np.flatnonzero(chosen).tolist():
        one, two = catalog.paths[near.first[at]], catalog.paths[near.second[at]]
        if swapped is not None and swapped[at]:
            one, two = two, one
        kind = "almost the same, mirrored" if near.mirrored[at] else "almost the same"
        pairs.append([one, two, kind, round(float(near.distance[at]), 4)])
    return pairs


def _said(pair: Pair) -> str:
    return f"{shown(str(pair[0]))} and {shown(str(pair[1]))}"


def _d12(
    catalog: Catalog,
    rows: list[int],
    severity: Severity,
    text: str,
    hint: str,
    pairs: list[Pair],
    more: Mapping[str, object],
) -> Finding:
    paths = tuple(catalog.paths[row] for row in rows)
    details = {"pairs": pairs, **more}
    return Finding(id="D12", severity=severity, text=text, hint=hint, paths=paths, details=details)

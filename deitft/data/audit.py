"""Catalog -> Findings: what is wrong with the photos, what is done about it, and what a person should know.

A few bad photos do not cost a night: up to 1 % of them are left out by name, never a whole class. More, or
``strict``, is an error. Labels are never changed, files never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from deitft.data.article_numbers import article_finding
from deitft.data.audit_classes import IMBALANCE, class_findings
from deitft.data.audit_quality import noted_photos, photo_quality
from deitft.data.audit_same import conflicts, copies, leaks, near_duplicates, same_pair
from deitft.data.bad_photo import ways_out
from deitft.data.catalog import NONE, TRAIN, BadPhoto, Catalog, counted, shown
from deitft.data.decode import MIN_SIDE
from deitft.data.findings import Finding, Findings, sorted_findings
from deitft.errors import Severity

__all__ = ["IMBALANCE", "LEFT_OUT_SHARE", "Finding", "Findings", "audit"]

LEFT_OUT_SHARE = 0.01
"""Photos that may be left out by name before it is an error, as a share of all; one always may."""


def audit(
    catalog: Catalog,
    *,
    strict: bool = False,
    skip_bad: bool = False,
    allow_leak: bool = False,
    allow_conflicts: bool = False,
) -> Findings:
    """Judge an inspected catalog. What ``scan`` found stands in ``catalog.notices``, not here.

    ``strict``: no photo is left out, each bad one is an error. ``skip_bad``: any number may be left out, but
    never a whole class. ``allow_leak``: the same photo on two given sides is a warning. ``allow_conflicts``:
    photos with two labels are kept.
    """
    contents = catalog.pictures
    bad: dict[int, BadPhoto] = dict(catalog.bad)
    two_labels = conflicts(catalog, contents, bad)
    if not allow_conflicts:
        bad |= {row: BadPhoto("D13", reason) for row, reason in two_labels.items()}
    allowed = len(catalog) if skip_bad else max(1, int(len(catalog) * LEFT_OUT_SHARE))
    refused = strict or len(bad) > allowed
    found = [_with_pairs(finding, catalog, contents) for finding in _bad_findings(catalog, bad, refused)]
    found += _emptied_classes(catalog, bad)
    good = np.ones(len(catalog), np.bool_)
    good[list(bad)] = False
    found += leaks(catalog, np.where(good, contents, -1), allow_leak)
    if allow_conflicts and two_labels:
        kept = _finding_of("D13", catalog, sorted(two_labels), two_labels, "warning", "kept as they are")
        found.append(_with_pairs(kept, catalog, contents))
    found += noted_photos(catalog, good)
    found += photo_quality(catalog, good)
    found += class_findings(catalog, good)
    found += near_duplicates(catalog, good)
    found += article_finding(catalog)
    found += copies(catalog, np.where(good, contents, -1))
    errors = any(finding.severity == "error" for finding in found)
    rows = [] if errors else sorted(bad)
    reasons = tuple((catalog.paths[row], bad[row].id, bad[row].reason) for row in rows)
    return Findings(sorted_findings(found), np.array(rows, np.int64), reasons)


def _bad_findings(catalog: Catalog, bad: Mapping[int, BadPhoto], refused: bool) -> list[Finding]:
    found = []
    for id in sorted({photo.id for photo in bad.values()}, key=lambda id: int(id[1:])):
        rows = sorted(row for row, photo in bad.items() if photo.id == id)
        reasons = {row: bad[row].reason for row in rows}
        way_out = "keep one" if id == "D13" else ways_out(id, reasons[rows[0]], len(rows))
        hint = way_out if refused else "left out by name"
        found.append(_finding_of(id, catalog, rows, reasons, "error" if refused else "warning", hint))
    return found


def _finding_of(
    id: str, catalog: Catalog, rows: Sequence[int], reasons: Mapping[int, str], severity: Severity, hint: str
) -> Finding:
    text = _text_of(id, catalog, rows, reasons)
    paths = tuple(catalog.paths[row] for row in rows)
    return Finding(
        id=id, severity=severity, text=text, hint=hint, paths=paths, details={"reasons": list(reasons.values())}
    )


def _with_pairs(finding: Finding, catalog: Catalog, contents: npt.NDArray[np.int64]) -> Finding:
    """A finding D13 with its photos side by side: each with the first of another label that it equals."""
    if finding.id != "D13":
        return finding
    named = set(finding.paths)
    groups: dict[int, list[int]] = {}
    for row, path in enumerate(catalog.paths):
        if path in named:
            groups.setdefault(int(contents[row]), []).append(row)
    pairs = {}
    for group in groups.values():
        for row in group:
            other = next((one for one in group if catalog.labels[one] != catalog.labels[row]), row)
            one, two = sorted((row, other))
            if one != two:
                pairs[one, two] = same_pair(catalog, one, two)
    # a run's report shows them, too, and has only the photos that were kept
    of = {catalog.paths[row]: catalog.classes[catalog.labels[row]] for group in groups.values() for row in group}
    labels = [of[path] for path in finding.paths]
    more = {"pairs": list(pairs.values()), "labels_left_out": labels}
    return replace(finding, details={**finding.details, **more})


def _text_of(id: str, catalog: Catalog, rows: Sequence[int], reasons: Mapping[int, str]) -> str:
    count, first, reason = len(rows), shown(catalog.paths[rows[0]]), reasons[rows[0]]
    photos = counted(count, "photo")
    if id == "D2":
        return f"{photos} cannot be read, first: {first} ({reason})"
    if id == "D10":
        size = reason[reason.rfind("(") :]
        verb = "is" if count == 1 else "are"
        return f"{photos} {verb} smaller than {MIN_SIDE} x {MIN_SIDE} pixels, first: {first} {size}"
    if id == "D13":
        other = reason.removeprefix("the same picture as ")
        contents = len(set(catalog.pictures[rows].tolist()))
        verb = "carries" if contents == 1 else "carry"
        return f"{counted(contents, 'photo')} {verb} two labels, first: {first} and {other} are the same picture"
    if id == "D18":
        verb = "is" if count == 1 else "are"
        kind = reason.split()[1]
        return f"{count:,} of {len(catalog):,} photos {verb} {kind} and no {kind} reader is installed"
    if count == 1:
        return f"{first} {reason}"
    what = {
        "D3": "files are not images",
        "D4": "photos claim more than a photo should",
        "D6": "photos have pixels that cannot be turned into 8-bit RGB",
    }[id]
    return f"{count:,} {what}, first: {first} {reason}"


def _emptied_classes(catalog: Catalog, bad: Mapping[int, BadPhoto]) -> list[Finding]:
    """A class that would lose all its photos is not left out in silence."""
    size = len(catalog.classes)
    pool = (catalog.labels >= 0) & np.isin(catalog.given, (NONE, TRAIN))
    before = np.bincount(catalog.labels[pool], minlength=size)
    pool[list(bad)] = False
    after = np.bincount(catalog.labels[pool], minlength=size)
    found = []
    for label in np.flatnonzero((before > 0) & (after == 0)).tolist():
        rows = [row for row in sorted(bad) if catalog.labels[row] == label and catalog.given[row] in (NONE, TRAIN)]
        first = rows[0]
        name, reason = shown(catalog.classes[label]), bad[first].reason
        found.append(
            Finding(
                id=bad[first].id,
                severity="error",
                text=f'no photo of "{name}" can be used, first: {shown(catalog.paths[first])} ({reason})',
                hint="restore its photos or remove the class",
                paths=tuple(catalog.paths[row] for row in rows),
            )
        )
    return found

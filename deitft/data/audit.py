"""Catalog -> Findings: what is wrong with the photos, what is done about it, and what a person should know.

A few bad photos do not cost a night: up to 1 % of them are left out by name, never a whole class. More, or
``strict``, is an error. Labels are never changed, files never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import NONE, SPLIT_NAMES, TEST, TRAIN, VAL, BadPhoto, Catalog, counted, shown
from deitft.data.colour import PhotoNote
from deitft.data.decode import HINTS, MAX_ASPECT, MIN_SIDE
from deitft.errors import DataError, Notice, Severity

LEFT_OUT_SHARE = 0.01
"""Photos that may be left out by name before it is an error, as a share of all; one always may."""
IMBALANCE = 10
"""The largest class this many times the smallest is worth a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found, of one or many photos. ``paths`` names all of them."""

    id: str
    severity: Severity
    text: str
    hint: str = ""
    paths: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)

    def notice(self) -> Notice:
        """The same as a notice."""
        return Notice(
            id=self.id,
            severity=self.severity,
            text=self.text,
            hint=self.hint,
            files=self.paths,
            details=self.details,
        )

    def record(self) -> dict[str, object]:
        """The same as plain data."""
        return self.notice().record()


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings, errors first, and the photos left out by name."""

    items: tuple[Finding, ...]
    quarantined: npt.NDArray[np.int64]  # rows of the catalog, ascending
    reasons: tuple[tuple[str, str, str], ...]  # (path, id, reason) of each

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def errors(self) -> list[Finding]:
        """What stops a run."""
        return [item for item in self.items if item.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """What is said on stderr."""
        return [item for item in self.items if item.severity == "warning"]

    def raise_errors(self) -> None:
        """Stop where there is an error.

        Raises:
            DataError: the first error; ``details["errors"]`` holds all.
        """
        errors = self.errors
        if errors:
            first = errors[0]
            rest = f" ({counted(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
            details = {**first.details, "errors": [error.record() for error in errors]}
            raise DataError(first.text, first.hint + rest, id=first.id, files=first.paths, details=details)

    def notices(self) -> list[Notice]:
        """Everything but errors, as notices."""
        return [item.notice() for item in self.items if item.severity != "error"]

    def record(self) -> list[dict[str, object]]:
        """Plain data, for ``check.json``."""
        return [item.record() for item in self.items]

    def quarantine_rows(self) -> list[dict[str, object]]:
        """Rows of ``quarantine.csv``: path, id, reason."""
        return [{"path": path, "id": id, "reason": reason} for path, id, reason in self.reasons]


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
    contents = catalog.contents
    bad: dict[int, BadPhoto] = dict(catalog.bad)
    conflicts = _conflicts(catalog, contents, bad)
    if not allow_conflicts:
        bad |= {row: BadPhoto("D13", reason) for row, reason in conflicts.items()}
    allowed = len(catalog) if skip_bad else max(1, int(len(catalog) * LEFT_OUT_SHARE))
    refused = strict or len(bad) > allowed
    found = _bad_findings(catalog, bad, refused)
    found += _emptied_classes(catalog, bad)
    good = np.ones(len(catalog), np.bool_)
    good[list(bad)] = False
    found += _leaks(catalog, np.where(good, contents, -1), allow_leak)
    if allow_conflicts and conflicts:
        found.append(_finding_of("D13", catalog, sorted(conflicts), conflicts, "warning", "kept as they are"))
    found += _noted(catalog, good)
    found += _class_findings(catalog, good)
    found += _copies(catalog, np.where(good, contents, -1))
    order = {"error": 0, "warning": 1, "info": 2}
    found.sort(key=lambda finding: order[finding.severity])
    errors = any(finding.severity == "error" for finding in found)
    rows = [] if errors else sorted(bad)
    reasons = tuple((catalog.paths[row], bad[row].id, bad[row].reason) for row in rows)
    return Findings(tuple(found), np.array(rows, np.int64), reasons)


def _conflicts(catalog: Catalog, contents: npt.NDArray[np.int64], bad: Mapping[int, BadPhoto]) -> dict[int, str]:
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


def _bad_findings(catalog: Catalog, bad: Mapping[int, BadPhoto], refused: bool) -> list[Finding]:
    found = []
    for id in sorted({photo.id for photo in bad.values()}, key=lambda id: int(id[1:])):
        rows = sorted(row for row, photo in bad.items() if photo.id == id)
        reasons = {row: bad[row].reason for row in rows}
        way_out = "keep one" if id == "D13" else f"{_hint(id, len(rows))} or add --skip-bad"
        hint = way_out if refused else "left out by name"
        found.append(_finding_of(id, catalog, rows, reasons, "error" if refused else "warning", hint))
    return found


def _hint(id: str, count: int) -> str:
    if id == "D2":
        return "fix them" if count > 1 else "fix it"
    return HINTS[id] if count == 1 else HINTS[id].replace(" it", " them")


def _finding_of(
    id: str, catalog: Catalog, rows: Sequence[int], reasons: Mapping[int, str], severity: Severity, hint: str
) -> Finding:
    text = _text_of(id, catalog, rows, reasons)
    paths = tuple(catalog.paths[row] for row in rows)
    return Finding(
        id=id, severity=severity, text=text, hint=hint, paths=paths, details={"reasons": list(reasons.values())}
    )


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
        contents = len({catalog.digests[row] for row in rows})
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


def _leaks(catalog: Catalog, contents: npt.NDArray[np.int64], allowed: bool) -> list[Finding]:
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


def _noted(catalog: Catalog, good: npt.NDArray[np.bool_]) -> list[Finding]:
    """What was special about photos that are used."""
    found = []
    for note, id, severity, text, hint in _NOTED:
        rows = np.flatnonzero(good & ((catalog.notes & note) != 0)).tolist()
        if rows:
            found.append(_about(catalog, rows, id, severity, text, hint))
    long, short = np.maximum(catalog.widths, catalog.heights), np.minimum(catalog.widths, catalog.heights)
    rows = np.flatnonzero(good & (short > 0) & (long > MAX_ASPECT * short)).tolist()
    if rows:
        text = f"{{photo}} {{are}} longer than {MAX_ASPECT} : 1, {{their}} middle is used, first: {{first}}"
        found.append(_about(catalog, rows, "D10", "warning", text, ""))
    return found


_ONE = {
    "have": "has",
    "are": "is",
    "lack": "lacks",
    "their": "its",
    "are animations": "is an animation",
    "are copies of others": "is a copy of another",
}
"""Words of a sentence about many photos, and what they become for one."""


def _about(catalog: Catalog, rows: Sequence[int], id: str, severity: Severity, text: str, hint: str) -> Finding:
    count = len(rows)
    words = {word: counted(count, word) for word in ("photo", "file", "JPEG")}
    words |= {"first": shown(catalog.paths[rows[0]])}
    words |= _ONE if count == 1 else {many: many for many in _ONE}
    paths = tuple(catalog.paths[row] for row in rows)
    return Finding(id=id, severity=severity, text=text.format(**words), hint=hint, paths=paths)


def _class_findings(catalog: Catalog, good: npt.NDArray[np.bool_]) -> list[Finding]:
    """Classes too small to be tested (fault D15), and classes of very different size."""
    pool = good & (catalog.labels >= 0) & np.isin(catalog.given, (NONE, TRAIN))
    counts = np.bincount(catalog.labels[pool], minlength=len(catalog.classes))
    found = []
    tiny = np.flatnonzero((counts > 0) & (counts < 3)).tolist()
    given = set(np.unique(catalog.given).tolist())
    if tiny and not {VAL, TEST} <= given:
        name, count = shown(catalog.classes[tiny[0]]), counted(int(counts[tiny[0]]), "photo")
        if len(tiny) == 1:
            text = f'"{name}" has {count}'
            who = "it stays" if counts[tiny[0]] == 1 else "they stay"
            hint = f"{who} in train and cannot be tested"
        else:
            text = f'{len(tiny)} classes have 1 or 2 photos, first: "{name}" ({count})'
            hint = "these stay in train and cannot be tested"
        names = [catalog.classes[label] for label in tiny]
        found.append(Finding(id="D15", severity="warning", text=text, hint=hint, details={"classes": names}))
    present = np.flatnonzero(counts > 0)
    if len(present):
        large, small = present[np.argmax(counts[present])], present[np.argmin(counts[present])]
        times = counts[large] / counts[small]
        if times >= IMBALANCE:
            names = [f'"{shown(catalog.classes[label])}" ({counts[label]:,})' for label in (large, small)]
            text = f"the largest class has {times:.0f} times the photos of the smallest: {names[0]}, {names[1]}"
            hint = "balanced accuracy and macro F1 count every class alike"
            found.append(Finding(id="IMBALANCE", severity="info", text=text, hint=hint))
    return found


def _copies(catalog: Catalog, contents: npt.NDArray[np.int64]) -> list[Finding]:
    """Photos of the same bytes that do no harm: one label, one side."""
    rows = np.flatnonzero(contents >= 0)
    _, first = np.unique(contents[rows] * 4 + catalog.given[rows], return_index=True)
    extra = np.delete(rows, first).tolist()
    if not extra:
        return []
    text = "{photo} {are copies of others}, kept on one side of the split, first: {first}"
    return [_about(catalog, extra, "COPIES", "info", text, "")]

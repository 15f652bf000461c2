"""``fixes.csv``: labels in doubt as rows that wait for a decision, and decisions as a corrected list of labels.

Nobody but the user decides. A row without a decision changes nothing; one that does not fit the photos as they are
now is an error, all of them at once. Photos are never touched.
"""

from __future__ import annotations

import csv
import io
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from deitft.core.records import csv_text, unguard_cell
from deitft.data.catalog import SPLIT_NAMES, Catalog, counted, normal, shown
from deitft.errors import DataError, MissingInputError, Notice
from deitft.runs.check_album import pairs_of

COLUMNS = ("path", "label", "suggestion", "reason", "decision")
KEEP, DROP = "keep", "drop"
AS_CLASS, AS_WORD = "class:", "photo:"
"""In front of a decision where a class is itself called "keep" or "drop": which of the two is meant."""
LIMIT = 256 * 1024 * 1024
"""Bytes of a file of decisions read at most."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One row: a photo, its label, what it may be instead and why, and what the user decided ("": nothing)."""

    path: str
    label: str
    suggestion: str
    reason: str
    decision: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """A catalog with decisions applied: ``moved`` and ``dropped`` photos, ``kept`` ones, rows without decision."""

    catalog: Catalog
    moved: int
    dropped: int
    kept: int
    undecided: int

    @property
    def line(self) -> str:
        """What was decided, for people."""
        parts = [f"{self.moved:,} moved", f"{self.dropped:,} dropped", f"{self.kept:,} kept"]
        return ", ".join([*parts, f"{self.undecided:,} without decision"])

    def record(self) -> dict[str, int]:
        """The same as plain data."""
        names = ("moved", "dropped", "kept", "undecided")
        return {name: getattr(self, name) for name in names}


def proposals(findings: Iterable[Notice], catalog: Catalog) -> list[Fix]:
    """Every photo whose label is in doubt, once: those of two labels first, then the likeliest errors."""
    rows = {path: row for row, path in enumerate(catalog.paths)}
    found: dict[str, Fix] = {}
    for finding in findings:
        for one, other, kind, _ in pairs_of(finding):
            for path, twin in ((one, other), (other, one)):
                label, instead = _label(catalog, rows.get(path)), _label(catalog, rows.get(twin))
                if label and instead and label != instead:
                    reason = f"{kind or 'looks the same'}: {twin}"
                    found.setdefault(path, Fix(path, label, instead, reason))
    for finding in findings:
        suspects: Any = finding.details.get("suspects") or ()
        for path, label, suggestion, own in suspects:
            reason = f"looks like {suggestion}, its label got {100 * float(own):.1f} %"
            found.setdefault(path, Fix(path, label, suggestion, reason))
    return list(found.values())


def _label(catalog: Catalog, row: int | None) -> str:
    label = -1 if row is None else int(catalog.labels[row])
    return catalog.classes[label] if label >= 0 else ""


def carried(fresh: Sequence[Fix], old: Sequence[Fix]) -> list[Fix]:
    """Fresh rows with the decisions of an earlier file; decided rows that are not among them stay below."""
    decided = {fix.path: fix for fix in old if fix.decision}
    rows = []
    for fix in fresh:
        before = decided.pop(fix.path, None)
        rows.append(replace(fix, decision=before.decision) if before else fix)
    return rows + list(decided.values())


def fixes_text(fixes: Sequence[Fix]) -> str:
    """The file's content."""
    return csv_text([{name: getattr(fix, name) for name in COLUMNS} for fix in fixes], COLUMNS)


def read_fixes(path: Path) -> list[Fix]:
    """The rows of a file, as ``fixes_text`` wrote it or a spreadsheet saved it.

    Raises:
        MissingInputError: there is no such file (id FIXES).
        DataError: it is not one of ours, or names a photo twice (id FIXES).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device may never end, a pipe never begin
            raise _wrong(path, "it is no file")
        if status.st_size > LIMIT:
            raise _wrong(path, "it is too large")
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise MissingInputError(
            f"cannot read {shown(str(path))} ({reason})", "check the path", id="FIXES", files=(str(path),)
        ) from error
    table = _table(path, data)
    header = [cell.strip().lower() for cell in table[0]] if table else []
    missing = [name for name in ("path", "label", "decision") if name not in header]
    if missing:
        raise _wrong(path, f'it has no column "{missing[0]}"')
    fixes, seen = [], set()
    for number, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            raise _wrong(path, f"row {number} has more cells than the first", "put a cell with a comma in quotes")
        row = dict(zip(header, cells, strict=False))
        photo, label, suggestion, reason, decision = (row.get(name, "") for name in COLUMNS)
        fix = Fix(photo, label, suggestion, reason, decision.strip())
        if fix.path in seen:
            raise _wrong(path, f"it names {shown(fix.path)} twice")
        seen.add(fix.path)
        fixes.append(fix)
    return fixes


def _table(path: Path, data: bytes) -> list[list[str]]:
    """Cells of a CSV file, whichever of the usual ways a spreadsheet wrote it."""
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(path, "it is not UTF-8", "save it as CSV UTF-8") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise _wrong(path, str(error)) from error
    return [[unguard_cell(cell) for cell in row] for row in rows]


def _wrong(path: Path, what: str, hint: str = "give the fixes.csv that `deitft check` wrote") -> DataError:
    return DataError(f"{shown(str(path))} is no list of decisions: {what}", hint, id="FIXES", files=(str(path),))


def apply(catalog: Catalog, fixes: Sequence[Fix], name: str) -> Applied:
    """The catalog with every decision applied; ``name`` is the file's, for what is wrong in it.

    Raises:
        DataError: decisions that do not fit these photos (id FIXES); the line names the first, all are listed.
    """
    rows = {path: row for row, path in enumerate(catalog.paths)}
    labels = catalog.labels.copy()
    dropped: list[int] = []
    kept = undecided = moved = 0
    wrong: list[tuple[str, str, str]] = []
    for fix in fixes:
        if not fix.decision:
            undecided += 1
            continue
        row, decision = rows.get(fix.path), _decision(fix.decision, catalog.classes)
        if row is None:
            wrong.append((fix.path, "is not among the photos", "check again, and decide in the new fixes.csv"))
        elif normal(fix.label) != _label(catalog, row):
            now = _label(catalog, row) or "nothing"
            text = f'is labelled "{shown(now)}", not "{shown(fix.label)}"'
            wrong.append((fix.path, text, "check again, and decide in the new fixes.csv"))
        elif isinstance(decision, str) and decision not in (KEEP, DROP):
            wrong.append((fix.path, *_unknown(fix.decision, decision, catalog.classes)))
        elif decision == DROP:
            dropped.append(row)
        elif decision == KEEP:
            kept += 1
        else:
            moved += int(labels[row]) != decision
            labels[row] = decision
    if wrong:
        path, what, hint = wrong[0]
        rest = f" ({counted(len(wrong) - 1, 'more row')} of this kind)" if len(wrong) > 1 else ""
        listed = [f"{path} {what}" for path, what, _ in wrong]
        raise DataError(
            f"{shown(name)}: {shown(path)} {what}{rest}",
            hint,
            id="FIXES",
            files=[path for path, _, _ in wrong],
            details={"rows": listed},
        )
    corrected = replace(catalog, labels=labels).without(dropped)
    return Applied(without_empty_classes(corrected), moved, len(dropped), kept, undecided)


def _decision(text: str, classes: Sequence[str]) -> int | str:
    """A class's number, "keep" or "drop"; "" for what is both, "?" for what is neither."""
    name, word = normal(text), text.casefold()
    if name in classes and word in (KEEP, DROP):
        return ""
    if name in classes:
        return classes.index(name)
    if word.removeprefix(AS_WORD).strip() in (KEEP, DROP):
        return word.removeprefix(AS_WORD).strip()
    name = name.removeprefix(AS_CLASS).strip()
    return classes.index(name) if name in classes else "?"


def _unknown(typed: str, kind: str, classes: Sequence[str]) -> tuple[str, str]:
    """What is wrong with a decision, and what to write."""
    what = f'has the decision "{shown(typed)}"'
    if not kind:
        plain = shown(typed)
        hint = f'write "{AS_CLASS}{plain}" for the class, "{AS_WORD}{plain.casefold()}" for what to do'
        return f"{what}, which is also a class", hint
    near = get_close_matches(typed, [*classes, KEEP, DROP], n=1, cutoff=0.6)
    known = (
        f'"{KEEP}", "{DROP}" or a class: {", ".join(map(shown, classes[:8]))}{" …" if len(classes) > 8 else ""}'
    )
    return what, f'did you mean "{shown(near[0])}"?' if near else f"write {known}"


def labels_text(catalog: Catalog) -> str:
    """A list of labels as CSV: path and label, and side and group where there are any."""
    columns = ["path", "label"]
    sides = (catalog.given >= 0).any()
    columns += ["split"] if sides else []
    columns += ["group"] if catalog.groups is not None else []
    rows = []
    for row, path in enumerate(catalog.paths):
        label, side = int(catalog.labels[row]), int(catalog.given[row])
        cells = {"path": path, "label": catalog.classes[label] if label >= 0 else ""}
        cells["split"] = SPLIT_NAMES[side] if side >= 0 else ""
        cells["group"] = str(catalog.groups[row]) if catalog.groups is not None else ""
        rows.append(cells)
    return csv_text(rows, columns)


def without_empty_classes(catalog: Catalog) -> Catalog:
    """The same photos with the classes that they have: one that lost all of its photos is gone."""
    present = np.bincount(catalog.labels[catalog.labels >= 0], minlength=len(catalog.classes)) > 0
    if present.all():
        return catalog
    number = np.where(present, np.cumsum(present) - 1, -1)
    labels = np.where(catalog.labels >= 0, number[catalog.labels], -1).astype(catalog.labels.dtype)
    names = tuple(name for name, there in zip(catalog.classes, present.tolist(), strict=True) if there)
    return replace(catalog, classes=names, labels=labels)

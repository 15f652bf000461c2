"""The files of a check: where they go, what may be overwritten, and their rows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deitft.core.files import read_json
from deitft.data.source import Source
from deitft.errors import DeitftError, Notice, OutputError
from deitft.runs.check_album import pairs_of
from deitft.runs.folder import check_outside, check_writable

RECORD, DETAILS, PAGE, FIXES, LABELS = "check.json", "findings.csv", "check.html", "fixes.csv", "labels.csv"
COLUMNS = ("id", "severity", "path", "reason", "suggestion", "other", "kind", "distance")
"""Columns of ``findings.csv``: a row for each photo, or pair of photos, of each finding."""


def failure_record(data: Source, error: DeitftError) -> dict[str, Any]:
    """Plain data for ``--json``, and for ``check.json`` where photos and labels could not be read at all.

    The fields are those of ``CheckResult.record``, empty where the check did not come to its end; ``error`` says
    why, with the line that stderr has, too.
    """
    return {
        "version": 1,
        "data": str(data),
        "ok": False,
        "error": {**error.record(), "line": error.line},
        "fingerprint": None,
        "classes": [],
        "photos": 0,
        "splits": {},
        "left_out": [],
        "findings": [error.record()],
        "fixes": {"rows": 0, "undecided": 0},
        "applied": None,
        "files": {},
    }


@contextlib.contextmanager
def place_for(out: Path, data: Source) -> Iterator[None]:
    """``check_place``, and folders made by it that are still empty when the block fails are gone again."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        check_place(out, data)
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def default_out(data: Source) -> Path:
    """Where the files of a check go unless somebody says: here, never inside the photos."""
    names = [path.stem if path.is_file() else path.name for path in data.resolve().paths]
    return Path("check-" + ("-".join(names)[:100] or "photos"))


def check_place(out: Path, data: Source) -> None:
    """Prove that results can be written before a photo is read, and that they replace those of no other data.

    Raises:
        OutputError: inside the photos or not writable (id C5); it holds another check's (id OUT).
    """
    check_outside(out, data, "results folder", "--out")
    others = [name for name in (RECORD, DETAILS, PAGE, FIXES, LABELS) if os.path.lexists(out / name)]
    if others and _data_of(out / RECORD) != data_name(data):
        raise OutputError(f"{out} holds {others[0]} of something else", "choose another --out", id="OUT")
    check_writable(out, "choose another place with --out")


def data_name(data: Source) -> str:
    """What the record of a check knows its photos by."""
    return str(data.resolve())


def _data_of(path: Path) -> str | None:
    try:
        found = read_json(path) if path.is_file() else None
    except (DeitftError, OSError):
        return None
    data = found.get("data") if isinstance(found, dict) else None
    return data if isinstance(data, str) else None


def detail_rows(findings: Sequence[Notice]) -> list[dict[str, object]]:
    """Rows of ``findings.csv``: one a photo or pair; a finding without any has a row of its own."""
    return [row for finding in findings for row in _rows_of(finding)]


def _rows_of(finding: Notice) -> Iterator[dict[str, object]]:
    head: dict[str, object] = {
        "id": finding.id,
        "severity": finding.severity,
        "suggestion": finding.hint,
        "reason": finding.text,
    }
    details: Any = finding.details
    pairs, suspects = pairs_of(finding), details.get("suspects") or ()
    for path, other, kind, distance in pairs:
        reason = f"{kind}: {other}"
        yield {**head, "path": path, "other": other, "kind": kind, "distance": distance, "reason": reason}
    for path, label, suggestion, probability in suspects:
        reason = f"labelled {label}, which got {100 * probability:.1f} %"
        yield {**head, "path": path, "suggestion": suggestion, "reason": reason}
    if pairs or suspects:
        return
    reasons = details.get("reasons") or [finding.text] * len(finding.files)
    for path, reason in zip(finding.files, reasons, strict=True):
        yield {**head, "path": path, "reason": reason}
    if not finding.files:
        yield head

"""What is wrong with photos and labels, and what a run would do about it: findings, and files to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.core.files import read_json, write_json, write_text
from deitft.core.progress import Progress, StopFlag, catch_stop_signals
from deitft.core.records import command_line, csv_text, now
from deitft.core.units import format_bytes
from deitft.data.audit import Findings, audit
from deitft.data.catalog import SPLIT_NAMES, TEST, TRAIN, VAL, Catalog, counted
from deitft.data.source import Source
from deitft.data.splits import Splits, assign
from deitft.errors import DataError, DeitftError, Notice, OutputError
from deitft.reporting.check_data import CheckPage
from deitft.runs.check_album import CHECK, Album, pairs_of, parts_of
from deitft.runs.fixes import Applied, Fix, apply, carried, fixes_text, labels_text, proposals, read_fixes
from deitft.runs.folder import check_writable
from deitft.runs.prepare import read_catalog

RECORD, DETAILS, PAGE, FIXES, LABELS = "check.json", "findings.csv", "check.html", "fixes.csv", "labels.csv"
COLUMNS = ("id", "severity", "path", "reason", "suggestion", "other", "kind", "distance")
"""Columns of ``findings.csv``: a row for each photo, or pair of photos, of each finding."""

SEVERITY_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check found. ``ok`` says whether ``finetune`` would accept these photos."""

    data: Source
    catalog: Catalog
    findings: tuple[Notice, ...]  # errors first
    left_out: tuple[tuple[str, str, str], ...]  # (path, id, reason)
    quarantined: npt.NDArray[np.int64]  # their rows
    splits: Splits | None  # None where there is an error
    out: Path
    fixes: tuple[Fix, ...] = ()
    applied: Applied | None = None
    files: tuple[tuple[str, Path], ...] = ()

    @property
    def ok(self) -> bool:
        """True where these photos can be trained on."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def undecided(self) -> int:
        """Rows of ``fixes.csv`` that wait for a decision."""
        return sum(not fix.decision for fix in self.fixes)

    def raise_errors(self) -> None:
        """Stop where these photos cannot be trained on.

        Raises:
            DataError: the first error; ``details["errors"]`` holds all.
        """
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if errors:
            first = errors[0]
            rest = f" ({counted(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
            details = {**first.details, "errors": [error.record() for error in errors]}
            raise DataError(first.text, first.hint + rest, id=first.id, files=first.files, details=details)

    def counts(self) -> dict[str, int]:
        """Photos per split, by name; empty where nothing was split."""
        if self.splits is None:
            return {}
        return {SPLIT_NAMES[side]: len(self.splits.indices(side)) for side in (TRAIN, VAL, TEST)}

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``check.json``."""
        return {
            "version": 1,
            "data": str(self.data),
            "ok": self.ok,
            "fingerprint": self.catalog.fingerprint,
            "classes": self.catalog.classes,
            "photos": len(self.catalog),
            "splits": self.counts(),
            "left_out": [{"path": path, "id": id, "reason": reason} for path, id, reason in self.left_out],
            "findings": [finding.record() for finding in self.findings],
            "fixes": {"rows": len(self.fixes), "undecided": self.undecided},
            "applied": self.applied and self.applied.record(),
            "files": {name: str(path) for name, path in self.files},
        }

    def summary(self) -> list[tuple[str, str]]:
        """(name, text) rows for people."""
        catalog = self.catalog
        rows = [("Photos", f"{len(catalog):,} of {counted(len(catalog.classes), 'class', 'classes')}")]
        if self.left_out:
            rows.append(("Left out", f"{counted(len(self.left_out), 'photo')}, by name"))
        if self.splits is not None:
            rows.append(("Splits", ", ".join(f"{name} {count:,}" for name, count in self.counts().items())))
        if self.applied is not None:
            rows.append(("Decisions", self.applied.line))
        errors = sum(finding.severity == "error" for finding in self.findings)
        verdict = "can be trained on" if self.ok else f"cannot be trained on: {counted(errors, 'error')}"
        rows.append(("Verdict", verdict))
        if self.undecided:
            rows.append(("To decide", f"{counted(self.undecided, 'photo')} in {FIXES}"))
        return rows + [(name, str(path)) for name, path in self.files]


def check_data(
    data: Source,
    *,
    seed: int,
    strict: bool,
    skip_bad: bool,
    allow_leak: bool,
    workers: int,
    out: Path | None,
    html: bool,
    apply_labels: Path | None,
    progress: Progress,
) -> CheckResult:
    """See ``jobs.check``."""
    place = out or default_out(data)
    check_place(place, data)
    decided = read_fixes(apply_labels or place / FIXES) if apply_labels or (place / FIXES).exists() else []
    stop = StopFlag()
    with catch_stop_signals(stop, progress):
        catalog = read_catalog(data, workers=workers, progress=progress, stop=stop)
        applied = None
        if apply_labels is not None:
            applied = apply(catalog, decided, str(apply_labels))
            catalog = applied.catalog
        findings = audit(catalog, strict=strict, skip_bad=skip_bad, allow_leak=allow_leak)
        result = judged(data, catalog, findings, seed=seed, out=place)
        if applied is None:
            result = replace(result, fixes=tuple(carried(proposals(result.findings, catalog), decided)))
        else:
            result = replace(result, applied=applied)
        return write_result(result, place, html=html, progress=progress)


def judged(data: Source, catalog: Catalog, findings: Findings, *, seed: int, out: Path) -> CheckResult:
    """Everything found, errors first; with the split that a run would make where there is no error."""
    notices = [*(item.notice() for item in findings), *catalog.notices]
    splits = None
    if not findings.errors:
        try:
            splits = assign(catalog.without(findings.quarantined), seed=seed)
            notices += splits.notices
        except DataError as error:
            notices.append(_notice_of(error))
    notices.sort(key=lambda notice: (SEVERITY_ORDER[notice.severity], weight(notice)))
    return CheckResult(
        data=data,
        catalog=catalog,
        findings=tuple(notices),
        left_out=findings.reasons,
        quarantined=findings.quarantined,
        splits=splits,
        out=out,
    )


def weight(notice: Notice) -> int:
    """What comes first among findings of one severity: photos in two places, labels in doubt, then the rest."""
    if notice.id in ("D11", "D13"):
        return 0
    return 1 if pairs_of(notice) else 2 if notice.details.get("suspects") else 3


def _notice_of(error: DeitftError) -> Notice:
    return Notice(
        id=error.id,
        severity="error",
        text=error.what,
        hint=error.hint,
        files=error.files,
        details=error.details,
    )


def default_out(data: Source) -> Path:
    """Where the files of a check go unless somebody says: beside, never inside the photos."""
    return Path(f"check-{data.resolve().name.replace(' and ', '-') or 'photos'}")


def check_place(out: Path, data: Source) -> None:
    """Prove that results can be written before a photo is read, and that they replace those of no other data.

    Raises:
        OutputError: inside the photos or not writable (id C5); another check's (id OUT).
    """
    inside = data.holds(out)
    if inside is not None:
        raise OutputError(
            f"the results folder {out} lies inside the data {inside}",
            "nothing is written into your data; choose another place with --out",
            id="C5",
        )
    others = [name for name in (RECORD, DETAILS, PAGE, FIXES, LABELS) if os.path.lexists(out / name)]
    if others and _data_of(out / RECORD) != str(data.resolve()):
        raise OutputError(f"{out} holds {others[0]} of something else", "choose another --out", id="OUT")
    check_writable(out, "choose another place with --out")


def _data_of(path: Path) -> str | None:
    try:
        found = read_json(path) if path.is_file() else None
    except (DeitftError, OSError):
        return None
    data = found.get("data") if isinstance(found, dict) else None
    return data if isinstance(data, str) else None


def write_result(result: CheckResult, out: Path, *, html: bool, progress: Progress) -> CheckResult:
    """``findings.csv``, ``check.json``, ``fixes.csv`` or ``labels.csv``, the page; the result that names them."""
    write_text(out / DETAILS, csv_text(detail_rows(result.findings), COLUMNS))
    files = [("Findings", out / DETAILS)]
    if result.applied is not None:
        write_text(out / LABELS, labels_text(result.catalog))
        files.append(("Labels", out / LABELS))
    elif result.fixes:
        write_text(out / FIXES, fixes_text(result.fixes))
        files.append(("Fixes", out / FIXES))
    if html:
        from deitft.reporting.check_page import write_check_page

        with progress.task("Opening what was found", unit="photos") as task:
            page = page_of(result, Album(result.catalog, task))
        write_check_page(out / PAGE, page)
        files.append(("Page", out / PAGE))
    result = replace(result, files=tuple(files))
    record = result.record()
    write_json(out / RECORD, {**record, "data": str(result.data.resolve())})
    return result


def detail_rows(findings: Sequence[Notice]) -> list[dict[str, object]]:
    """Rows of ``findings.csv``: one a photo or pair; a finding without any has a row of its own."""
    return [row for finding in findings for row in _rows_of(finding)]


def _rows_of(finding: Notice) -> Iterator[dict[str, object]]:
    head = {"id": finding.id, "severity": finding.severity, "suggestion": finding.hint, "reason": finding.text}
    details: Any = finding.details
    pairs, suspects = pairs_of(finding), details.get("suspects") or ()
    for path, other, kind, distance in pairs:
        yield {**head, "path": path, "other": other, "kind": kind, "distance": distance}
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


def page_of(result: CheckResult, album: Album) -> CheckPage:
    """What the page of a result shows."""
    catalog = result.catalog
    return CheckPage(
        title=result.data.name,
        n=len(catalog),
        classes=catalog.classes,
        ok=result.ok,
        parts=parts_of(result.findings, album, CHECK),
        made=now(),
        fingerprint=catalog.fingerprint,
        left_out=len(result.left_out),
        counts=class_counts(result),
        note=result.splits.note if result.splits is not None else "",
        facts=photo_facts(catalog),
        command=command_line(),
        train_command=train_command(result),
        apply_command=["deitft", "check", *result.data.words(), "--apply-labels", str(result.out / FIXES)],
        fixes=result.undecided,
        fixes_file=str(result.out / FIXES),
    )


def train_command(result: CheckResult) -> list[str]:
    """What to type to train on these photos; nothing where they cannot be trained on."""
    if not result.ok:
        return []
    if result.applied is not None:
        return ["deitft", "finetune", *result.data.relabelled(result.out / LABELS).words()]
    return ["deitft", "finetune", *result.data.words()]


def class_counts(result: CheckResult) -> dict[str, list[int]]:
    """Photos of each class on each side a run would give them; where it would not run, of each class."""
    catalog, splits = result.catalog, result.splits
    size = len(catalog.classes)
    if splits is None:
        known = catalog.labels[catalog.labels >= 0]
        return {"photos": np.bincount(known, minlength=size).tolist()}
    kept = catalog.without(result.quarantined)
    return {
        SPLIT_NAMES[side]: np.bincount(kept.labels[splits.indices(side)], minlength=size).tolist()
        for side in (TRAIN, VAL, TEST)
    }


def photo_facts(catalog: Catalog) -> list[tuple[str, str]]:
    """What the photos are like: how large, in bytes and in pixels."""
    read = np.flatnonzero((catalog.widths > 0) & (catalog.heights > 0))
    facts = [("Size on disk", format_bytes(int(catalog.sizes.sum())))]
    if len(read):
        widths, heights = catalog.widths[read].astype(np.int64), catalog.heights[read].astype(np.int64)
        pixels = widths * heights
        middle, small, large = (int(read[place]) for place in _places(pixels))
        facts += [
            ("Typical photo", _sides(catalog, middle)),
            ("Smallest", _sides(catalog, small)),
            ("Largest", _sides(catalog, large)),
            (
                "Wide, tall, square",
                f"{(widths > heights).sum():,}, {(widths < heights).sum():,}, {(widths == heights).sum():,}",
            ),
        ]
    return facts


def _places(pixels: npt.NDArray[np.int64]) -> tuple[int, int, int]:
    """Where the median, the least and the most are."""
    order = np.argsort(pixels, kind="stable")
    return int(order[len(order) // 2]), int(order[0]), int(order[-1])


def _sides(catalog: Catalog, row: int) -> str:
    return f"{catalog.widths[row]:,} × {catalog.heights[row]:,} pixels"

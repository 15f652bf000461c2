"""What is wrong with photos and labels, and what a run would do about it: findings, and files to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deitft.core.files import read_json, write_json, write_text
from deitft.core.progress import Progress, StopFlag, catch_stop_signals
from deitft.core.records import csv_text
from deitft.data.audit import Findings, audit
from deitft.data.catalog import SPLIT_NAMES, TEST, TRAIN, VAL, Catalog, counted
from deitft.data.inspect import default_cache_dir, inspect
from deitft.data.scan import scan
from deitft.data.splits import Splits, assign
from deitft.errors import DataError, DeitftError, Notice, OutputError
from deitft.runs.folder import check_writable

RECORD, DETAILS, PAGE = "check.json", "findings.csv", "check.html"
COLUMNS = ("id", "severity", "path", "reason", "suggestion", "other", "kind", "distance")
"""Columns of ``findings.csv``: a row for each photo, or pair of photos, of each finding."""

SEVERITY_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check found. ``ok`` says whether ``finetune`` would accept these photos."""

    data: Path
    catalog: Catalog
    findings: tuple[Notice, ...]  # errors first
    left_out: tuple[tuple[str, str, str], ...]  # (path, id, reason)
    splits: Splits | None  # None where there is an error
    out: Path | None
    files: tuple[tuple[str, Path], ...] = field(default=())

    @property
    def ok(self) -> bool:
        """True where these photos can be trained on."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table of findings."""
        return ("id", "severity", "photos", "what", "what to do")

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
        errors = sum(finding.severity == "error" for finding in self.findings)
        verdict = "can be trained on" if self.ok else f"cannot be trained on: {counted(errors, 'error')}"
        rows.append(("Verdict", verdict))
        return rows + [(name, str(path)) for name, path in self.files]


def check_data(
    data: Path,
    *,
    seed: int,
    strict: bool,
    skip_bad: bool,
    allow_leak: bool,
    workers: int,
    out: Path | None,
    html: bool,
    progress: Progress,
) -> CheckResult:
    """See ``jobs.check``."""
    place = out or default_out(data)
    check_place(place, data)
    stop = StopFlag()
    with catch_stop_signals(stop, progress):
        found = scan(data, progress=progress)
        catalog = inspect(found, workers=workers, progress=progress, cache_dir=default_cache_dir(), stop=stop)
        findings = audit(catalog, strict=strict, skip_bad=skip_bad, allow_leak=allow_leak)
        result = judged(data, catalog, findings, seed=seed, out=place)
        return write_result(result, place, html=html, progress=progress)


def judged(data: Path, catalog: Catalog, findings: Findings, *, seed: int, out: Path) -> CheckResult:
    """Everything found, errors first; with the split that a run would make where there is no error."""
    notices = [*(item.notice() for item in findings), *catalog.notices]
    splits = None
    if not findings.errors:
        try:
            splits = assign(catalog.without(findings.quarantined), seed=seed)
            notices += splits.notices
        except DataError as error:
            notices.append(_notice_of(error))
    notices.sort(key=lambda notice: SEVERITY_ORDER[notice.severity])
    return CheckResult(
        data=data,
        catalog=catalog,
        findings=tuple(notices),
        left_out=findings.reasons,
        splits=splits,
        out=out,
    )


def _notice_of(error: DeitftError) -> Notice:
    return Notice(
        id=error.id,
        severity="error",
        text=error.what,
        hint=error.hint,
        files=error.files,
        details=error.details,
    )


def default_out(data: Path) -> Path:
    """Where the files of a check go unless somebody says: beside, never inside the photos."""
    return Path(f"check-{data.resolve().name or 'photos'}")


def check_place(out: Path, data: Path) -> None:
    """Prove that results can be written before a photo is read, and that they replace those of no other data.

    Raises:
        OutputError: inside the photos or not writable (id C5); another check's (id OUT).
    """
    place, inside = out.resolve(), data.resolve()
    if place == inside or inside in place.parents:
        raise OutputError(
            f"the results folder {out} lies inside the data {data}",
            "nothing is written into your data; choose another place with --out",
            id="C5",
        )
    others = [name for name in (RECORD, DETAILS, PAGE) if os.path.lexists(out / name)]
    if others and _data_of(out / RECORD) != str(inside):
        raise OutputError(f"{out} holds {others[0]} of something else", "choose another --out", id="OUT")
    check_writable(out, "choose another place with --out")


def _data_of(path: Path) -> str | None:
    try:
        found = read_json(path) if path.is_file() else None
    except (DeitftError, OSError):
        return None
    data = found.get("data") if isinstance(found, dict) else None
    return str(Path(data).resolve()) if isinstance(data, str) else None


def write_result(result: CheckResult, out: Path, *, html: bool, progress: Progress) -> CheckResult:
    """``findings.csv``, ``check.json`` and, if asked, the page; the result that names them."""
    from dataclasses import replace

    write_text(out / DETAILS, csv_text(detail_rows(result.findings), COLUMNS))
    files = [("Findings", out / DETAILS)]
    if html:
        from deitft.reporting.check_page import write_check_page
        from deitft.runs.check_album import page_of

        with progress.task("Opening what was found", unit="photos") as task:
            page = page_of(result, task)
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
    pairs, suspects = details.get("pairs") or (), details.get("suspects") or ()
    for path, other, kind, distance in pairs:
        yield {**head, "path": path, "other": other, "kind": kind, "distance": distance}
    for path, label, suggestion, probability in suspects:
        reason = f"labelled {label}, which got {100 * probability:.1f} %"
        yield {**head, "path": path, "suggestion": suggestion, "reason": reason}
    if pairs or suspects:
        return
    reasons = details.get("reasons") or [finding.text] * len(finding.files)
    twins = details.get("twins") or [""] * len(finding.files)
    for path, reason, twin in zip(finding.files, reasons, twins, strict=True):
        yield {**head, "path": path, "reason": reason, "other": twin}
    if not finding.files:
        yield head


def kept_rows(catalog: Catalog, left_out: Sequence[tuple[str, str, str]]) -> np.ndarray[Any, Any]:
    """Rows of the catalog that are not left out."""
    names = {path for path, _, _ in left_out}
    return np.array([row for row, path in enumerate(catalog.paths) if path not in names], np.int64)

"""What is wrong with photos and labels, and what a run would do about it: findings, and files to look at."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deitft.core.files import write_json, write_text
from deitft.core.progress import Progress, StopFlag, catch_stop_signals
from deitft.core.records import csv_text
from deitft.data.audit import Findings, audit
from deitft.data.catalog import Catalog, counted
from deitft.data.source import Source
from deitft.errors import DataError, DeitftError, Notice
from deitft.runs.check_album import Album, gravest_first
from deitft.runs.check_files import (
    COLUMNS,
    DETAILS,
    FIXES,
    LABELS,
    PAGE,
    RECORD,
    data_name,
    default_out,
    detail_rows,
    failure_record,
    place_for,
)
from deitft.runs.check_pages import page_of
from deitft.runs.doubts import Looker, doubts
from deitft.runs.fixes import Applied, Fix, apply, carried, fixes_text, labels_text, proposals, read_fixes
from deitft.runs.prepare import Prepared, divide, read_catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """What ``deitft check`` was asked for. Field names are the options' names."""

    data: Source
    splits: Path | None
    strict: bool
    skip_bad: bool
    max_pixels: int | None
    allow_leak: bool
    seed: int
    out: Path | None
    html: bool
    apply_labels: Path | None
    workers: int
    looker: Looker

    def allowed(self) -> tuple[str, ...]:
        """The options that a run needs, too, to accept the same photos."""
        flags = [
            f"--{name.replace('_', '-')}" for name in ("strict", "skip_bad", "allow_leak") if getattr(self, name)
        ]
        if self.max_pixels is not None:
            flags += ["--max-pixels", str(self.max_pixels)]
        if self.splits is not None:
            flags += ["--splits", str(self.splits)]
        return (*flags, *(["--seed", str(self.seed)] if self.seed else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check found. ``ok`` says whether ``finetune`` would accept these photos.

    ``catalog`` has the labels that were checked: with decisions applied, where there are any. ``prepared`` is
    what a run would begin with, None where there is an error. ``files`` are what was written, by name.
    """

    data: Source
    catalog: Catalog
    findings: tuple[Notice, ...]  # errors first
    left_out: tuple[tuple[str, str, str], ...]  # (path, id, reason)
    prepared: Prepared | None
    out: Path
    fixes: tuple[Fix, ...] = ()
    applied: Applied | None = None
    allowed: tuple[str, ...] = ()  # options that a run needs, too, to accept the same
    files: tuple[tuple[str, Path], ...] = ()

    @property
    def errors(self) -> list[Notice]:
        """What stands in the way of a run."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def ok(self) -> bool:
        """True where these photos can be trained on."""
        return not self.errors

    @property
    def undecided(self) -> int:
        """Rows of ``fixes.csv`` that wait for a decision."""
        return sum(not fix.decision for fix in self.fixes)

    @property
    def train_command(self) -> list[str]:
        """What to type to train on these photos; nothing where they cannot be trained on."""
        if not self.ok:
            return []
        source = self.data if self.applied is None else self.data.relabelled(self.out / LABELS)
        return ["deitft", "finetune", *source.words(), *self.allowed]

    def raise_errors(self) -> None:
        """Stop where these photos cannot be trained on.

        Raises:
            DataError: the first error; ``details["errors"]`` holds all.
        """
        if self.ok:
            return
        first, *others = self.errors
        rest = f" ({counted(len(others), 'more error')})" if others else ""
        details = {**first.details, "errors": [error.record() for error in self.errors]}
        raise DataError(first.text, first.hint + rest, id=first.id, files=first.files, details=details)

    def record(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``check.json``."""
        return {
            "version": 1,
            "data": str(self.data),
            "ok": self.ok,
            "error": None,
            "fingerprint": self.catalog.fingerprint,
            "classes": self.catalog.classes,
            "photos": len(self.catalog),
            "splits": self.prepared.counts() if self.prepared is not None else {},
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
        if self.prepared is not None:
            sides = self.prepared.counts().items()
            rows.append(("Splits", ", ".join(f"{name} {count:,}" for name, count in sides)))
        if self.applied is not None:
            rows.append(("Decisions", self.applied.line))
        verdict = f"cannot be trained on: {counted(len(self.errors), 'error')}"
        rows.append(("Verdict", "can be trained on" if self.ok else verdict))
        if self.undecided:
            rows.append(("To decide", f"{counted(self.undecided, 'photo')}, in {FIXES}"))
        rows += [(name, str(path)) for name, path in self.files]
        return rows + ([("Train", shlex.join(self.train_command))] if self.ok and self.applied is not None else [])


def check_data(asked: CheckRequest, progress: Progress) -> CheckResult:
    """See ``jobs.check``."""
    out = asked.out or default_out(asked.data)
    with place_for(out, asked.data):
        decisions = asked.apply_labels or out / FIXES
        decided = read_fixes(decisions) if asked.apply_labels or decisions.exists() else []
        stop = StopFlag()
        with catch_stop_signals(stop, progress):
            catalog = _read(asked, out, progress, stop)
            applied = apply(catalog, decided, str(decisions)) if asked.apply_labels else None
            catalog = catalog if applied is None else applied.catalog
            findings = audit(catalog, strict=asked.strict, skip_bad=asked.skip_bad, allow_leak=asked.allow_leak)
            readable = catalog.without(sorted({*catalog.bad, *findings.quarantined.tolist()}))
            more = doubts(readable, asked.looker, seed=asked.seed, progress=progress, stop=stop)
            result = judged(asked, catalog, findings, more, out)
            if applied is None:
                result = replace(result, fixes=tuple(carried(proposals(result.findings, catalog), decided)))
            else:
                result = replace(result, applied=applied)
            return write_result(result, html=asked.html, progress=progress)


def _read(asked: CheckRequest, out: Path, progress: Progress, stop: StopFlag) -> Catalog:
    """The photos. What is there but cannot be read as photos with labels leaves a record: no older one holds."""
    try:
        return read_catalog(asked.data, workers=asked.workers, progress=progress, stop=stop)
    except DataError as error:
        with contextlib.suppress(OSError):  # what was wrong with the data is what has to be said
            write_json(out / RECORD, {**failure_record(asked.data, error), "data": data_name(asked.data)})
            for older in (DETAILS, PAGE):
                (out / older).unlink(missing_ok=True)
        raise


def judged(
    asked: CheckRequest, catalog: Catalog, findings: Findings, more: Sequence[Notice], out: Path
) -> CheckResult:
    """Everything found, errors first; and what a run would begin with where there is no error."""
    notices = [*(item.notice() for item in findings), *catalog.notices, *more]
    prepared = None
    if not findings.errors:
        try:
            prepared = divide(
                catalog, findings, seed=asked.seed, splits_file=asked.splits, allow_leak=asked.allow_leak
            )
            notices += prepared.splits.notices
        except DataError as error:
            notices.append(_notice_of(error))
    return CheckResult(
        data=asked.data,
        catalog=catalog,
        findings=tuple(gravest_first(notices)),
        left_out=findings.reasons,
        prepared=prepared,
        out=out,
        allowed=asked.allowed(),
    )


def _notice_of(error: DeitftError) -> Notice:
    return Notice(
        id=error.id, severity="error", text=error.what, hint=error.hint, files=error.files, details=error.details
    )


def write_result(result: CheckResult, *, html: bool, progress: Progress) -> CheckResult:
    """``findings.csv``, ``check.json``, ``fixes.csv`` or ``labels.csv``, the page; the result that names them."""
    out = result.out
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
    else:
        (out / PAGE).unlink(missing_ok=True)  # it would show what an earlier look has found
    result = replace(result, files=tuple(files))
    write_json(out / RECORD, {**result.record(), "data": data_name(result.data)})
    return result

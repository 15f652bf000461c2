"""A finished run as the data of its page: its figures, what was found in the data, where all came from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deitft.core.records import now, parse_csv_text
from deitft.data.catalog import SPLIT_NAMES, TEST, TRAIN, VAL, counted
from deitft.errors import Notice
from deitft.evaluation.metrics import Metrics
from deitft.reporting.html import write_report
from deitft.reporting.report_data import (
    Calibration,
    ClassRow,
    ConfusedPair,
    EpochRow,
    Estimate,
    HeadRow,
    History,
    Reliability,
    ReportData,
    SplitTable,
    WeightsReport,
)
from deitft.reporting.selection import select_photos
from deitft.runs.check_album import REPORT, Album, gravest_first, parts_of
from deitft.runs.frozen_probe import probe_record
from deitft.runs.judge import Ending, Judged
from deitft.runs.leak_figures import leak_sentence, session_leaks
from deitft.runs.report_photos import Cases, attention, views
from deitft.runs.session import Session
from deitft.runs.token_figures import TokenFigures, token_part
from deitft.runs.words import HEAD_NAMES
from deitft.training.log import score_column


def write_run_report(session: Session, ending: Ending, judged: Judged, token: TokenFigures | None) -> None:
    """``report.html`` of a finished run."""
    write_report(session.folder.report, report_data(session, ending, judged, token))


def report_data(session: Session, ending: Ending, judged: Judged, token: TokenFigures | None) -> ReportData:
    """Everything the page shows."""
    plan, metrics, record = session.plan, judged.test, session.record
    album = Cases(session, judged)
    chosen = select_photos(album.predictions.labels, album.probabilities)
    both = select_photos(album.both.labels, album.both_probabilities, pairs=0, mistakes=0)
    probe = _probe(session)
    findings = gravest_first(_notice(record) for record in record.findings)
    return ReportData(
        title=session.folder.name,
        classes=plan.classes,
        n=metrics.n,
        top1=_estimate(metrics, "top1"),
        confusion=metrics.confusion,
        verb=record.verb,
        model=plan.short_name or plan.model,
        recipe=plan.recipe,
        data_name=session.request.data.name,
        data_fingerprint=plan.data_fingerprint,
        seed=plan.seed,
        command=record.command,
        made=now(),
        claim_split=judged.claim_split,
        by_teacher=judged.by_teacher,
        banners=_banners(session, judged),
        majority=Estimate(metrics.majority),
        majority_class=plan.classes.index(metrics.majority_class),
        probe=probe,
        probe_note="" if probe else _no_probe(session),
        top5=_estimate(metrics, "top5"),
        macro_f1=_estimate(metrics, "macro_f1"),
        balanced_accuracy=_estimate(metrics, "balanced_accuracy"),
        loss=metrics.nll,
        per_class=_class_rows(metrics),
        heads=_head_rows(metrics),
        head_agreement=metrics.agreement,
        token=token_part(token) if token else None,
        calibration=_calibration(judged),
        history=_history(session, ending),
        untrained=_untrained(session),
        pairs=[
            ConfusedPair(
                label=pair.label,
                predicted=pair.predicted,
                count=pair.count,
                n=pair.n,
                photos=[album.case(row) for row in pair.photos],
            )
            for pair in chosen.pairs
        ],
        mistakes=[album.case(row) for row in chosen.mistakes],
        # where the labels are the teacher's there is nothing to mend in the folders
        label_errors=[] if judged.unlabelled else [album.case(row, both=True) for row in both.label_errors],
        views=views(session, ending.outcome.step),
        attention=attention(session, judged),
        findings=findings,
        found=parts_of(
            findings, Album(session.prepared.catalog, background=plan.preprocessing.background), REPORT
        ),
        splits=_split_table(session),
        weights=_weights(session),
        plan=plan.record(),
        environment=record.environment,
        seconds=record.seconds,
        allowed_changes=record.allowed_changes,
        limits=_limits(judged),
    )


def _estimate(metrics: Metrics, name: str) -> Estimate:
    value = getattr(metrics, name)
    if value is None:
        return Estimate(None, reason=f"with {len(metrics.classes)} classes it says nothing; it needs 6")
    low, high = metrics.intervals[name]
    return Estimate(value, low, high)


def _probe(session: Session) -> Estimate | None:
    stored = probe_record(session)
    if stored is None or "top1" not in stored:
        return None
    low, high = stored["interval"]
    return Estimate(stored["top1"], low, high, reason=stored.get("note", ""))


def _no_probe(session: Session) -> str:
    if "train" in session.plan.unlabelled:
        return "no frozen probe: the train photos have no labels"
    return "no frozen probe: the starting weights are random, or it was switched off"


def _class_rows(metrics: Metrics) -> list[ClassRow]:
    def figure(value: float | None, ends: Any, why: str) -> Estimate:
        return Estimate(None, reason=why) if value is None else Estimate(value, *(ends or (None, None)))

    return [
        ClassRow(
            n=row.n,
            predicted=row.predicted,
            precision=figure(row.precision, row.precision_interval, "never predicted"),
            recall=figure(row.recall, row.recall_interval, "no photos"),
            f1=figure(row.f1, None, "no photos"),
        )
        for row in metrics.per_class
    ]


def _head_rows(metrics: Metrics) -> list[HeadRow]:
    return [
        HeadRow(
            name=HEAD_NAMES[name],
            top1=Estimate(scores.top1, *scores.top1_interval),
            top5=None if scores.top5 is None else Estimate(scores.top5),
            loss=scores.nll,
            calibration_error=scores.calibration_error,
            served=name == "both",
        )
        for name, scores in (metrics.heads or {}).items()
    ]


def _calibration(judged: Judged) -> Calibration:
    test = judged.test
    low, high = test.intervals["calibration_error"]

    return Calibration(
        before=Reliability(
            error=Estimate(test.calibration_error_before), bins=test.reliability_before, loss=test.nll_before
        ),
        after=Reliability(error=Estimate(test.calibration_error, low, high), bins=test.reliability, loss=test.nll),
        temperature=judged.temperature,
        fitted_photos=int((judged.val_predictions.labels >= 0).sum()),
        reason=judged.temperature_note,
    )


def _history(session: Session, ending: Ending) -> History | None:
    path = session.folder.path / "metrics.csv"
    if not path.is_file() or not session.plan.total_steps:
        return None
    # losses are drawn on their own axis; the score beside them is the one people know
    plan = session.plan
    by = plan.select_by if plan.select_by == "balanced_accuracy" else "top1"

    def number(row: dict[str, str], name: str) -> float | None:
        text = row.get(name, "")
        value = float(text) if text else math.nan
        return value if math.isfinite(value) else None

    rows = [
        EpochRow(
            step=int(float(row["step"])),
            epoch=float(row["epoch"]),
            train_loss=number(row, "train_loss"),
            val_loss=number(row, score_column(plan, "raw", "loss")),
            lr=number(row, "lr"),
            val_score=number(row, score_column(plan, "raw", by)),
            val_score_ema=number(row, score_column(plan, "ema", by)),
        )
        for row in parse_csv_text(path.read_text())
    ]
    best = ending.outcome.best
    names = {"top1": "top-1", "balanced_accuracy": "balanced accuracy", "loss": "loss"}
    if "val" in plan.unlabelled:
        names = {"top1": "agreement with the teacher", "balanced_accuracy": "balanced agreement"}
    return History(
        rows=rows,
        best_step=best.step if best else None,
        best_which=best.which if best else "raw",
        score_name=names[by],
        by_teacher="val" in plan.unlabelled,
    )


def _untrained(session: Session) -> str:
    """How a model without a training step came about, in one sentence; "" where there were steps."""
    plan = session.plan
    if plan.total_steps:
        return ""
    probe = probe_record(session)
    if plan.head_start != "probe" or probe is None:
        return "No step was trained: the model is what it started from."
    solved = (
        f"No step was trained: the heads were solved on the frozen features of "
        f"{counted(probe['train_photos'], 'train photo')}, by logistic regression"
    )
    penalties = [f"{c:g}" for c in probe.get("penalty_c", ())]
    if not penalties or not plan.photos["val"]:
        return f"{solved}."
    if len(set(penalties)) == 1:
        return f"{solved}; the penalty C = {penalties[0]} was chosen on val."
    heads = " and ".join(
        f"C = {c} of the {HEAD_NAMES[name]}" for name, c in zip(HEAD_NAMES, penalties, strict=False)
    )
    return f"{solved}; the penalties {heads} were chosen on val."


def _notice(record: dict[str, object]) -> Notice:
    files: Any = record.get("files") or ()
    details: Any = record.get("details") or {}
    severity: Any = record["severity"]
    return Notice(
        id=str(record["id"]),
        severity=severity,
        text=str(record["what"]),
        hint=str(record.get("hint") or ""),
        files=tuple(files),
        details=details,
    )


def _split_table(session: Session) -> SplitTable:
    prepared = session.prepared
    labels, classes = prepared.catalog.labels, len(prepared.catalog.classes)
    counts, unknown = {}, []
    for split in (TRAIN, VAL, TEST):
        here = labels[prepared.splits.indices(split)]
        counts[SPLIT_NAMES[split]] = np.bincount(here[here >= 0], minlength=classes).tolist()
        if (here < 0).any():
            unknown.append(f"{int((here < 0).sum()):,} {SPLIT_NAMES[split]}")
    note = prepared.splits.note + (f"; without a label: {', '.join(unknown)} photos" if unknown else "")
    return SplitTable(counts=counts, note=note, left_out=len(prepared.findings.quarantined))


def _weights(session: Session) -> WeightsReport | None:
    report: Any = session.record.weights
    facts = [(name, str(value)) for name, value in session.plan.weights.items() if value not in (None, "", {})]
    return WeightsReport(facts=facts, **report)


def _banners(session: Session, judged: Judged) -> list[str]:
    leaking = leak_sentence(session_leaks(session, judged), judged.claim_split)
    unknown = ""
    if judged.by_teacher:
        unknown = (
            f"Nobody has labelled the {judged.claim_split} photos: the figures say how often the model agrees "
            "with its teacher, not how often it is right."
        )
    elif "train" in judged.unlabelled:
        unknown = "The train photos have no labels: all that the model knows comes from its teacher."
    return [*([unknown] if unknown else []), *_claim_banners(judged), *([leaking] if leaking else [])]


def _claim_banners(judged: Judged) -> list[str]:
    if judged.claim_split == "test":
        return []
    if judged.claim_split == "train":
        return [
            "No photo was held out, the classes are too small: these figures are of the photos that the model has "
            "learned from, and say nothing of new ones."
        ]
    return ["There are no test photos: these figures are of val, which chose the model, and flatter it."]


def _limits(judged: Judged) -> list[str]:
    if judged.by_teacher:
        return ["Where teacher and model agree, both may be wrong."]
    return [
        "The intervals know nothing of wrong labels: look at the likeliest label errors before a last decision."
    ]

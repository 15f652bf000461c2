"""What leaking photos do to a score: top-1 of all photos, without those seen before, without those almost seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from deitft.data.catalog import TRAIN, VAL, counted
from deitft.data.leaks import Leaks, leaks_from
from deitft.evaluation.predictions import Predictions
from deitft.evaluation.scores import top_k_score
from deitft.evaluation.statistics import wilson_interval
from deitft.runs.judge import Judged
from deitft.runs.session import Session


def leak_figures(predictions: Predictions, leaks: Leaks) -> dict[str, Any] | None:
    """Counts, and top-1 with and without; ``leaks`` has the photos of ``predictions`` in their order.

    None where no photo leaks. A set that leaves no labelled photo has no figure.
    """
    if not (leaks.same.any() or leaks.near.any()):
        return None
    kept = {"all": np.ones(len(leaks.same), np.bool_), "without_same": ~leaks.same}
    kept["without_same_and_near"] = ~(leaks.same | leaks.near)
    figures: dict[str, Any] = {"same": int(leaks.same.sum()), "near": int(leaks.near.sum())}
    for name, rows in kept.items():
        chosen = predictions.rows(np.flatnonzero(rows & (predictions.labels >= 0)))
        count = len(chosen)
        top1 = top_k_score(chosen.logits(), chosen.labels, 1) if count else None
        interval = list(wilson_interval(round(top1 * count), count)) if top1 is not None else None
        figures[name] = {"n": count, "top1": top1, "interval": interval}
    return figures


def session_leaks(session: Session, judged: Judged) -> dict[str, Any] | None:
    """``leak_figures`` of the photos that a run's claims stand on; None where it claims no accuracy."""
    prepared, claim = session.prepared, judged.claim_split
    if claim not in ("test", "val") or judged.by_teacher:
        return None
    seen = (TRAIN, VAL) if claim == "test" else (TRAIN,)
    leaks = leaks_from(prepared.catalog, prepared.splits.split, seen)
    predictions = judged.test_predictions
    return leak_figures(predictions, leaks.select(prepared.catalog.rows_of(predictions.paths)))


def leak_rows(figures: dict[str, Any] | None) -> list[tuple[str, str]]:
    """The same as (name, text) for people."""
    if figures is None:
        return []
    names = {"without_same": "Top-1 without leaks"} if figures["same"] else {}
    if figures["near"]:
        names["without_same_and_near"] = f"Top-1 without near leaks{' too' if figures['same'] else ''}"
    rows = []
    for field, name in names.items():
        row = figures[field]
        if row["top1"] is None:
            rows.append((name, "no photo is left"))
            continue
        low, high = row["interval"]
        rows.append((name, f"{row['top1']:.1%} (95 % interval {low:.1%} to {high:.1%}, {row['n']:,} photos)"))
    return rows


def leak_sentence(figures: dict[str, Any] | None, side: str) -> str:
    """One sentence for a report, "" where nothing leaks."""
    if figures is None:
        return ""
    parts = []
    if figures["same"]:
        verb = "is" if figures["same"] == 1 else "are"
        photos = counted(figures["same"], f"{side} photo")
        parts.append(f"{photos} {verb} also among those the model was trained or chosen on")
    if figures["near"]:
        one = figures["near"] == 1
        photos = counted(figures["near"], f"{side} photo")
        parts.append(f"{photos} {'is' if one else 'are'} almost the same as such {'a photo' if one else 'photos'}")
    clean = figures["without_same_and_near"]
    rest = "none is left without them"
    if clean["top1"] is not None:
        low, high = clean["interval"]
        rest = (
            f"without them top-1 is {clean['top1']:.1%} (95 % interval {low:.1%} to {high:.1%}) "
            f"of {clean['n']:,} photos instead of {figures['all']['top1']:.1%}"
        )
    return f"{' and '.join(parts)}: {rest}."

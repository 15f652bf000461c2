"""Figures in words: what a terminal shows of metrics."""

from __future__ import annotations

from deitft.evaluation.metrics import Metrics
from deitft.reporting.visible import shortened

HEAD_NAMES = {
    "class": "class head",
    "distill": "distillation head",
    "both": "both (mean of logits)",
    "softmax_sum": "both (sum of softmaxes)",
}


ACCURACY = {"top1": "Top-1", "top5": "Top-5", "macro_f1": "Macro-F1", "balanced_accuracy": "Balanced accuracy"}
AGREEMENT = {
    "top1": "Agreement with the teacher",
    "top5": "Teacher's class in the top 5",
    "macro_f1": "Macro-F1 against the teacher",
    "balanced_accuracy": "Balanced agreement",
}
"""The same figures where a teacher's answers stand in the place of labels: nobody knows how often it is right."""


def metric_rows(metrics: Metrics, *, by_teacher: bool = False) -> list[tuple[str, str]]:
    """The figures people ask for first, with their 95 % intervals; below top-1 that of each head.

    ``by_teacher``: there were no labels. Names stay short: with their figures they fit a terminal of 80 columns.
    """
    names = AGREEMENT if by_teacher else ACCURACY
    rows = []
    for field, name in names.items():
        value = getattr(metrics, field)
        if value is None:
            rows.append((name, f"left out: {len(metrics.classes)} classes, it needs 6"))
            continue
        low, high = metrics.intervals[field]
        rows.append((name, f"{value:.1%} (95 % interval {low:.1%} to {high:.1%})"))
        if field == "top1":
            rows += [(f"  {HEAD_NAMES[head]}", f"{one.top1:.1%}") for head, one in (metrics.heads or {}).items()]
    before, after = metrics.calibration_error_before, metrics.calibration_error
    against, of = (" against the teacher", " of the teacher's answers") if by_teacher else ("", "")
    rows.append((f"Calibration error{against}", f"{before:.1%}, {after:.1%} after temperature"))
    rows.append((f'Always "{shortened(metrics.majority_class, 20)}"', f"{metrics.majority:.1%}{of}"))
    return rows

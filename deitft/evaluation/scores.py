"""Scores as formulas: arrays in, a number or a table out. The higher the better.

Legend: N photos, C classes. A class without a photo has no score of its own: it reads n/a, and macro averages
leave it out. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deitft.evaluation.predictions import Ints
from deitft.evaluation.statistics import Interval, wilson_interval


def top_k_score(logits_NC: npt.NDArray[np.floating], labels: Ints, k: int) -> float:
    """Share of N photos whose label is among the ``k`` largest logits (at most C; of equals the first counts)."""
    return float((ranks(logits_NC, labels) < min(k, logits_NC.shape[1])).mean())


def ranks(logits_NC: npt.NDArray[np.floating], labels: Ints) -> Ints:
    """How many classes stand before the label, [N]: 0 is a right answer."""
    own = logits_NC[np.arange(len(labels)), labels][:, None]
    tied_before = (logits_NC == own) & (np.arange(logits_NC.shape[1]) < labels[:, None])
    return np.asarray(((logits_NC > own) | tied_before).sum(axis=1))


def confusion_matrix(labels: Ints, predicted: Ints, num_classes: int) -> Ints:
    """Counts int64 [C, C]: row = label, column = prediction."""
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def _counts(labels: Ints, predicted: Ints, num_classes: int) -> tuple[Ints, Ints, Ints]:
    """Photos right, with this label, with this prediction; each [C]."""
    right = np.bincount(labels[labels == predicted], minlength=num_classes)
    return right, np.bincount(labels, minlength=num_classes), np.bincount(predicted, minlength=num_classes)


def macro_f1_score(labels: Ints, predicted: Ints, num_classes: int) -> float:
    """Mean over the classes present in ``labels`` of F1 = 2 right / (label count + prediction count)."""
    right, true, said = _counts(labels, predicted, num_classes)
    present = true > 0
    return float((2 * right[present] / (true + said)[present]).mean())


def balanced_accuracy_score(labels: Ints, predicted: Ints, num_classes: int) -> float:
    """Mean over the classes present in ``labels`` of the share found (recall)."""
    right, true, _ = _counts(labels, predicted, num_classes)
    present = true > 0
    return float((right[present] / true[present]).mean())


def majority_score(labels: Ints, majority: int) -> float:
    """Share of N photos that one constant answer gets right."""
    return float((labels == majority).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class: ``n`` photos, ``predicted`` times named; None is n/a (no photo, or precision of no answer).

    The intervals are Wilson's; F1 has none.
    """

    name: str
    n: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_interval: Interval | None
    recall_interval: Interval | None


def per_class(labels: Ints, predicted: Ints, classes: Sequence[str]) -> tuple[ClassRow, ...]:
    """A row a class, in class order."""
    rows = []
    for name, *counted in zip(classes, *_counts(labels, predicted, len(classes)), strict=True):
        right, n, said = (int(count) for count in counted)
        rows.append(
            ClassRow(
                name=name,
                n=n,
                predicted=said,
                precision=right / said if n and said else None,
                recall=right / n if n else None,
                f1=2 * right / (n + said) if n else None,
                precision_interval=wilson_interval(right, said) if n and said else None,
                recall_interval=wilson_interval(right, n) if n else None,
            )
        )
    return tuple(rows)

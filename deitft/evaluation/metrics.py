"""How good is it? Every figure of a report, from predictions alone. Names tell direction: ``_score``, ``_error``.

Legend: N photos, C classes. A class without a photo has no figure of its own: it reads n/a, and macro averages
leave it out and say so. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from deitft.errors import DataError, Notice
from deitft.evaluation.calibration import (
    ReliabilityBin,
    calibrated_loss,
    calibration_error,
    calibration_interval,
    confidences,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
)
from deitft.evaluation.mistakes import LISTED, ConfusedPair, Mistake, confused_pairs, mistakes
from deitft.evaluation.model_difference import top_one
from deitft.evaluation.predictions import Floats, Ints, Predictions
from deitft.evaluation.scores import (
    ClassRow,
    balanced_accuracy_score,
    confusion_matrix,
    macro_f1_score,
    majority_score,
    per_class,
    ranks,
    top_k_score,
)
from deitft.evaluation.statistics import DRAWS, Groups, Interval, bootstrap_interval, wilson_interval

__all__ = [
    "HIGHER_IS_BETTER",
    "METRICS_VERSION",
    "ClassRow",
    "ConfusedPair",
    "HeadScores",
    "Metrics",
    "Mistake",
    "balanced_accuracy_score",
    "calibration_error",
    "confusion_matrix",
    "evaluate",
    "fit_temperature",
    "macro_f1_score",
    "majority_score",
    "negative_log_likelihood",
    "per_class",
    "reliability_bins",
    "top_k_score",
    "validation_scores",
]

METRICS_VERSION = 1
"""Of ``Metrics.record()``; grows when a field changes its meaning or goes."""

HIGHER_IS_BETTER: Mapping[str, bool] = MappingProxyType(
    {
        "top1": True,
        "top5": True,
        "macro_f1": True,
        "balanced_accuracy": True,
        "nll": False,
        "calibration_error": False,
    }
)
"""The direction of each figure: the one place that knows."""

TOP_FIVE_FROM = 6
"""Classes below which a top-5 says nothing: with five it is 100 % by definition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadScores:
    """One way to read two heads, all at temperature 1 so that they compare; ``nll`` in nats a photo."""

    top1: float
    top1_interval: Interval
    top5: float | None
    nll: float
    calibration_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """All figures of one set of photos; ``record()`` is its plain form.

    ``present`` classes have photos here. ``nll`` (nats a photo) and ``calibration_error`` are after the
    temperature, ``…_before`` without. ``heads`` (None with one head) are read as "class", "distill", "both" (the
    mean of the logits, what is served) and "softmax_sum"; ``agreement`` is how often the two say the same.
    ``confusion`` is [C, C], rows are labels. ``worst`` are the mistakes of highest confidence, ``label_errors``
    those whose own label the model believes least.
    """

    n: int
    unlabelled: int
    classes: tuple[str, ...]
    present: int
    temperature: float
    top1: float
    top5: float | None
    macro_f1: float
    balanced_accuracy: float
    nll: float
    calibration_error: float
    nll_before: float
    calibration_error_before: float
    intervals: Mapping[str, Interval]
    majority_class: str
    majority: float
    heads: Mapping[str, HeadScores] | None
    agreement: float | None
    per_class: tuple[ClassRow, ...]
    confusion: Ints
    reliability_before: tuple[ReliabilityBin, ...]
    reliability: tuple[ReliabilityBin, ...]
    worst: tuple[Mistake, ...]
    label_errors: tuple[Mistake, ...]
    confused: tuple[ConfusedPair, ...]
    notices: tuple[Notice, ...]

    def record(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``; ``confusion`` as [label, prediction, count] of the cells not 0."""
        record: dict[str, Any] = {"version": METRICS_VERSION}
        record |= {name: getattr(self, name) for name in self.__slots__}
        record |= {name: [asdict(item) for item in getattr(self, name)] for name in _LISTS}
        record["classes"] = list(self.classes)
        record["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        record["heads"] = None if self.heads is None else {name: asdict(row) for name, row in self.heads.items()}
        cells = np.argwhere(self.confusion)
        record["confusion"] = [[int(row), int(column), int(self.confusion[row, column])] for row, column in cells]
        record["notices"] = [notice.record() for notice in self.notices]
        return record


_LISTS = ("per_class", "reliability_before", "reliability", "worst", "label_errors", "confused")


def evaluate(
    predictions: Predictions,
    classes: Sequence[str],
    *,
    temperature: float = 1.0,
    split: str = "test",
    majority_class: int | None = None,
    groups: Groups | None = None,
    contents: Sequence[bytes] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Metrics:
    """Judge predictions of N photos; photos without a label are left out and counted.

    ``classes`` name the C columns. ``majority_class`` is the constant answer to beat: the most frequent class in
    train; without it the most frequent one here, which flatters it. ``groups`` (one a photo) make the intervals
    those of drawing whole groups. The order of the photos changes nothing; with ``contents`` (one a photo,
    as their SHA-256) what they are called does not either, to the last bit.

    Raises:
        DataError: no photo with a label (LABELS), a logit that is not a number (N1), or class names of another
            count than columns (CLASSES).
    """
    judged, order = _judged(predictions, classes, split, contents)
    in_order = None if groups is None else [groups[row] for row in order]
    logits, labels = judged.logits(), judged.labels
    predicted = np.asarray(logits.argmax(axis=1))
    right = predicted == labels
    counts = np.bincount(labels, minlength=len(classes))
    majority = int(counts.argmax()) if majority_class is None else majority_class
    before, after = confidences(logits), confidences(logits, temperature)
    own = judged.probabilities(temperature)[np.arange(len(labels)), labels]
    confusion = confusion_matrix(labels, predicted, len(classes))
    wrong = mistakes(judged, order, classes, predicted, after, own)
    return Metrics(
        n=len(labels),
        unlabelled=len(predictions) - len(labels),
        classes=tuple(classes),
        present=int((counts > 0).sum()),
        temperature=temperature,
        top1=float(right.mean()),
        top5=_top5(logits, labels),
        macro_f1=macro_f1_score(labels, predicted, len(classes)),
        balanced_accuracy=balanced_accuracy_score(labels, predicted, len(classes)),
        nll=negative_log_likelihood(logits, labels, temperature),
        calibration_error=calibration_error(after, right),
        nll_before=negative_log_likelihood(logits, labels),
        calibration_error_before=calibration_error(before, right),
        intervals=_intervals(ranks(logits, labels), labels, predicted, after, len(classes), in_order, seed, draws),
        majority_class=classes[majority],
        majority=majority_score(labels, majority),
        **_heads(judged, in_order),
        per_class=per_class(labels, predicted, classes),
        confusion=confusion,
        reliability_before=tuple(reliability_bins(before, right)),
        reliability=tuple(reliability_bins(after, right)),
        worst=tuple(sorted(wrong, key=lambda row: row.by_confidence)[:LISTED]),
        label_errors=tuple(sorted(wrong, key=lambda row: row.by_own)[:LISTED]),
        confused=confused_pairs(confusion, classes),
        notices=_notices(counts, classes, split, len(predictions) - len(labels)),
    )


def validation_scores(predictions: Predictions) -> dict[str, float]:
    """What a run is steered by, of the val photos: "top1", "balanced_accuracy", "loss" (nats a photo).

    "calibrated_loss" is that of ``calibration.calibrated_loss``; "top5" is there from six classes on.

    Raises:
        DataError: as ``evaluate``.
    """
    judged, _ = _judged(predictions, range(predictions.num_classes), "val")
    logits, labels = judged.logits(), judged.labels
    predicted = np.asarray(logits.argmax(axis=1))
    top5 = _top5(logits, labels)
    return {
        "top1": float((predicted == labels).mean()),
        **({} if top5 is None else {"top5": top5}),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted, predictions.num_classes),
        "loss": negative_log_likelihood(logits, labels),
        "calibrated_loss": calibrated_loss(logits, labels),
    }


def _judged(
    predictions: Predictions, classes: Sequence[object], split: str, contents: Sequence[bytes] | None = None
) -> tuple[Predictions, Ints]:
    """The photos with a label, by content or path, and where each stood."""
    if predictions.num_classes != len(classes):
        raise DataError(
            f"the predictions have {predictions.num_classes} columns for {len(classes)} classes",
            "use the class names that the predictions were made with",
            id="CLASSES",
        )
    known = np.flatnonzero(predictions.labels >= 0)
    if not len(known):
        raise DataError(
            f"no {split} photo has a label", "put photos into class folders to judge them", id="LABELS"
        )
    keys: Sequence[str | bytes] = predictions.paths if contents is None else contents
    order = np.array(sorted(known.tolist(), key=lambda row: (keys[row], predictions.labels[row])), dtype=np.int64)
    return predictions.rows(order), order


def _top5(logits: npt.NDArray[np.floating], labels: Ints) -> float | None:
    return top_k_score(logits, labels, 5) if logits.shape[1] >= TOP_FIVE_FROM else None


def _heads(judged: Predictions, groups: Groups | None) -> dict[str, Any]:
    """``heads`` and ``agreement``: each head, and both ways to fuse them."""
    if judged.distill_logits is None:
        return {"heads": None, "agreement": None}
    readings: dict[str, npt.NDArray[np.floating]] = {
        "class": judged.logits("class"),
        "distill": judged.logits("distill"),
        "both": judged.logits("both"),
        "softmax_sum": np.log(np.maximum(judged.softmax_sum(), np.finfo(np.float64).tiny)),
    }
    rows = {}
    for name, logits in readings.items():
        right = logits.argmax(axis=1) == judged.labels
        rows[name] = HeadScores(
            top1=float(right.mean()),
            top1_interval=_share_interval(right, groups),
            top5=_top5(logits, judged.labels),
            nll=negative_log_likelihood(logits, judged.labels),
            calibration_error=calibration_error(confidences(logits), right),
        )
    agreement = readings["class"].argmax(axis=1) == readings["distill"].argmax(axis=1)
    return {"heads": rows, "agreement": float(agreement.mean())}


def _intervals(
    places: Ints,
    labels: Ints,
    predicted: Ints,
    confidence: Floats,
    num_classes: int,
    groups: Groups | None,
    seed: int,
    draws: int,
) -> dict[str, Interval]:
    """Wilson's for shares of photos, for as many as would be independent; bootstrap for the rest, of groups where
    photos come in groups."""
    options: dict[str, Any] = {"groups": groups, "seed": seed, "draws": draws}
    units = len(labels) if groups is None else len(set(groups))
    shares = {"top1": places < 1} | ({"top5": places < 5} if num_classes >= TOP_FIVE_FROM else {})
    intervals = {name: _share_interval(hits, groups) for name, hits in shares.items()}
    for name, score in (("macro_f1", macro_f1_score), ("balanced_accuracy", balanced_accuracy_score)):
        statistic = partial(score, num_classes=num_classes)
        low, high = bootstrap_interval(statistic, labels, predicted, **options)
        if low == high:  # nothing varied: the bootstrap cannot know what it did not see
            low, high = wilson_interval(round(low * units), units)
        intervals[name] = low, high
    intervals["calibration_error"] = calibration_interval(confidence, predicted == labels, **options)
    return intervals


def _share_interval(hits: npt.NDArray[np.bool_], groups: Groups | None) -> Interval:
    found = top_one(hits, groups)
    return found.low, found.high


def _notices(counts: Ints, classes: Sequence[str], split: str, unlabelled: int) -> tuple[Notice, ...]:
    notices = []
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        text = f'{split} has no photos of "{missing[0]}"{rest}'
        used = f"macro averages use {len(classes) - len(missing)} of {len(classes)} classes"
        row = "its row shows" if len(missing) == 1 else "their rows show"
        notices.append(
            Notice(
                id="D9", severity="warning", text=text, hint=f"{row} n/a and {used}", details={"classes": missing}
            )
        )
    if len(classes) < TOP_FIVE_FROM:
        text = f"top-5 is left out: with {len(classes)} classes it says nothing"
        notices.append(Notice(id="TOP5", severity="info", text=text))
    if unlabelled:
        text = f"{unlabelled} photos without a label are not judged"
        notices.append(Notice(id="LABELS", severity="info", text=text))
    return tuple(notices)

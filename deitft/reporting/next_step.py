"""The one thing to do next, computed from the report's data: the first rule that applies, gravest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deitft.reporting.report_data import ReportData
from deitft.reporting.selection import most_confused
from deitft.reporting.visible import shortened

FEW_PHOTOS = 20
"""Claim photos of a class below which its recall is not worth much: 19 of 20 right is 76 to 99 %."""

RISING = 0.01
"""Gain over the last quarter of the validations that counts as still rising: one point."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """A sentence, and where on the page its evidence stands (an element's id, or "")."""

    text: str
    anchor: str = ""
    link: str = ""


def next_step(data: ReportData) -> NextStep:
    """What to do next. Always one sentence; every figure in it is on the page."""
    rules: tuple[Callable[[ReportData], NextStep | None], ...] = (
        _nothing_measured,
        _leak,
        _nothing_held_out,
        _nobody_knows,
        _no_better_than_majority,
        _probe_is_better,
        _still_rising,
        _one_pair,
        _small_class,
        _label_errors,
        _few_photos,
        _no_mistakes,
    )
    for rule in rules:
        step = rule(data)
        if step is not None:
            return step
    return _worst_class(data)


def plural(count: int, word: str, ending: str = "s") -> str:
    """ "1 photo", "7 photos", "1,200 photos"; "es" for "classes"."""
    return f"{count:,} {word}{ending if count != 1 else ''}"


def _nothing_measured(data: ReportData) -> NextStep | None:
    if data.top1.value is not None and data.n > 0:
        return None
    return NextStep(f"Nothing was measured: give some labelled {data.claim_split} photos.", "data", "See the data")


def _leak(data: ReportData) -> NextStep | None:
    leaks = [notice for notice in data.findings or () if notice.id == "D11"]
    if not leaks:
        return None
    where = f"{data.claim_split} photos that are also in train"
    return NextStep(f"Remove the {where} and measure again: until then the score is too good.", "data", "Which?")


def _nothing_held_out(data: ReportData) -> NextStep | None:
    if data.claim_split != "train":
        return None
    return NextStep(
        "Add photos: from 4 in a class one can be kept apart to judge by, from 10 on val and test have some.",
        "data",
        "See the data",
    )


def _nobody_knows(data: ReportData) -> NextStep | None:
    if not data.by_teacher:
        return None
    return NextStep(
        f"Label some {data.claim_split} photos, or `deitft evaluate` on others with labels: this page knows how "
        "often the model agrees with its teacher, not how often it is right.",
        "limits",
        "What the figures say",
    )


def _no_better_than_majority(data: ReportData) -> NextStep | None:
    base, low = data.majority, data.top1.low
    if base is None or base.value is None or low is None or low > base.value:
        return None
    return NextStep(
        "The model is not surely better than always naming the largest class: check that folders and photos "
        f"belong together, then {'fine-tune (--recipe finetune)' if data.untrained else 'train longer'}.",
        "training",
        "See the training",
    )


def _probe_is_better(data: ReportData) -> NextStep | None:
    probe, top1 = data.probe, data.top1.value
    if probe is None or probe.value is None or top1 is None or probe.value <= top1:
        return None
    return NextStep(
        f"A linear classifier on the frozen features is right more often ({100 * probe.value:.1f} % against "
        f"{100 * top1:.1f} %): lower optim.lr, or use the probe (model.trainable=head).",
        "training",
        "See the training",
    )


def _still_rising(data: ReportData) -> NextStep | None:
    gain = late_gain(data)
    if gain is None or gain < RISING:
        return None
    return NextStep(
        f"The score on {data.select_split} still rose by {100 * gain:.1f} points in the last quarter of the run: "
        "train longer.",
        "training",
        "See the curve",
    )


def late_gain(data: ReportData) -> float | None:
    """Points (as a share) won in the last quarter of the validations; None if too few or it is not the best.

    The best score of the last quarter minus the best one before it, where the best of all stands at the very
    end (the last two validations).
    """
    if data.history is None or not data.history.score_is_share:
        return None
    ema = data.history.best_which == "ema"
    values = [row.val_score_ema if ema else row.val_score for row in data.history.rows]
    scores = [value for value in values if value is not None]
    if len(scores) < 4:
        return None
    cut = len(scores) - max(1, len(scores) // 4)
    if int(np.argmax(scores)) < len(scores) - 2:
        return None
    return max(scores[cut:]) - max(scores[:cut])


def _one_pair(data: ReportData) -> NextStep | None:
    """Two classes make at least three mistakes, a fifth of all, and clearly more than an even share of them."""
    rows, columns = np.nonzero(data.confusion)
    counts = {
        (int(row), int(column)): int(data.confusion[row, column])
        for row, column in zip(rows, columns, strict=True)
        if row != column
    }
    pair = most_confused(counts)
    if pair is None:
        return None
    first, second = pair
    between = counts.get((first, second), 0) + counts.get((second, first), 0)
    even = 2 / (len(data.classes) * (len(data.classes) - 1))
    if between < 3 or between < min(1.0, max(0.2, 1.5 * even)) * data.mistake_count:
        return None
    names = [shortened(data.classes[index], 32) for index in pair]
    shown = sum(len(one.photos) for one in data.pairs if {one.label, one.predicted} == set(pair))
    look = f"these {between} photos" if shown >= between else f"the {shown} surest of them" if shown else "them"
    return NextStep(
        f"Most confused: {names[0]} and {names[1]} ({between} of {plural(data.mistake_count, 'mistake')}). "
        f"Look at {look} and settle where one ends and the other begins.",
        "pairs" if shown else "confusions",
        "Here they are" if shown else "See the matrix",
    )


def _small_class(data: ReportData) -> NextStep | None:
    sizes = data.class_sizes
    small = np.flatnonzero((sizes > 0) & (sizes < FEW_PHOTOS))
    if not len(small):
        return None
    smallest = int(small[np.argmin(sizes[small])])
    name, count = shortened(data.classes[smallest], 32), plural(int(sizes[smallest]), data.claim_split + " photo")
    if len(small) == 1:
        text = f"Only {count} in {name}: add more, its figures hardly mean anything yet."
    else:
        text = (
            f"{len(small)} of {len(sizes)} classes have fewer than {FEW_PHOTOS} {data.claim_split} photos "
            f"({name} has {int(sizes[smallest])}): add more, their figures hardly mean anything yet."
        )
    return NextStep(text, "classes" if data.per_class else "confusions", "See each class")


def _label_errors(data: ReportData) -> NextStep | None:
    if len(data.label_errors) < 3:
        return None
    count = len(data.label_errors)
    return NextStep(
        f"{count} photos look as if their label is wrong: check them, mend the folders, measure again.",
        "label-errors",
        "Look at them",
    )


def _few_photos(data: ReportData) -> NextStep | None:
    low, high = data.top1.low, data.top1.high
    if low is None or high is None or high - low <= 0.1:
        return None
    return NextStep(
        f"{plural(data.n, data.claim_split + ' photo')} leave the score open by {100 * (high - low):.0f} points: "
        "add photos before comparing models.",
        "scores",
        "See the intervals",
    )


def _no_mistakes(data: ReportData) -> NextStep | None:
    if data.mistake_count:
        return None
    low = data.top1.low
    bound = f" (up to {100 * (1 - low):.1f} % errors are still possible)" if low is not None else ""
    return NextStep(
        f"No mistake on {plural(data.n, 'photo')}{bound}: try photos from another camera, shop or season.",
        "limits",
        "What the figure does not say",
    )


def _worst_class(data: ReportData) -> NextStep:
    sizes = data.class_sizes
    recall = np.where(sizes > 0, np.diag(data.confusion) / np.maximum(sizes, 1), np.inf)
    worst = int(np.argmin(recall))
    name = shortened(data.classes[worst], 32)
    return NextStep(
        f"Recognised least: {name} ({int(data.confusion[worst, worst])} of {plural(int(sizes[worst]), 'photo')}). "
        "Add photos of it to train.",
        "classes" if data.per_class else "confusions",
        "See each class",
    )

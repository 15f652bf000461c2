"""Which photos go wrong, which labels look wrong, which classes are taken for each other?

No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deitft.evaluation.predictions import Floats, Ints, Predictions

LISTED = 50
"""Rows kept of each list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A photo answered wrongly: ``confidence`` is of the wrong answer, ``own`` of the photo's label."""

    index: int
    path: str
    label: str
    predicted: str
    confidence: float
    own: float

    @property
    def by_confidence(self) -> tuple[float, str]:
        """Sorts the surest mistakes first."""
        return -self.confidence, self.path

    @property
    def by_own(self) -> tuple[float, str]:
        """Sorts first where the model believes the photo's label least: the label may be the mistake."""
        return self.own, self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedPair:
    """``count`` photos of ``label`` were called ``predicted``: ``share`` of that label's photos."""

    label: str
    predicted: str
    count: int
    share: float


def mistakes(
    judged: Predictions, order: Ints, classes: Sequence[str], predicted: Ints, confidence: Floats, own: Floats
) -> list[Mistake]:
    """All wrong answers. ``order`` [N] gives each row's place in the predictions as they came."""
    return [
        Mistake(
            index=int(order[row]),
            path=judged.paths[row],
            label=classes[judged.labels[row]],
            predicted=classes[predicted[row]],
            confidence=float(confidence[row]),
            own=float(own[row]),
        )
        for row in np.flatnonzero(predicted != judged.labels)
    ]


def confused_pairs(confusion: Ints, classes: Sequence[str]) -> tuple[ConfusedPair, ...]:
    """The cells beside the diagonal of a confusion matrix [C, C], largest first."""
    cells = [(row, column) for row, column in np.argwhere(confusion) if row != column]
    cells.sort(key=lambda cell: (-confusion[cell], cell))
    totals = confusion.sum(axis=1)
    return tuple(
        ConfusedPair(
            label=classes[row],
            predicted=classes[column],
            count=int(confusion[row, column]),
            share=float(confusion[row, column] / totals[row]),
        )
        for row, column in cells[:LISTED]
    )

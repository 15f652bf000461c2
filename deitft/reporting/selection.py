"""Which photos are worth showing: the most confused pairs, the worst mistakes, the likeliest label errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer[Any]]
Probabilities = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class PairChoice:
    """``count`` of ``n`` photos of ``label`` were called ``predicted``; ``photos`` are rows, surest first."""

    label: int
    predicted: int
    count: int
    n: int
    photos: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Row numbers of the photos to decode for the page."""

    pairs: tuple[PairChoice, ...]
    mistakes: tuple[int, ...]
    label_errors: tuple[int, ...]


def select_photos(
    labels: Labels,
    probabilities: Probabilities,
    *,
    pairs: int = 6,
    photos_per_pair: int = 24,
    mistakes: int = 24,
    label_errors: int = 24,
) -> Selection:
    """Choose rows of ``labels`` [N] (-1: none, never chosen) and ``probabilities`` [N, C].

    Mistakes are ranked by the probability of their label, lowest first; what is chosen as a likely label error
    is not shown twice. Ties keep the order of the rows, so the same predictions give the same page.
    """
    labels = np.asarray(labels, dtype=np.int64)
    known = np.flatnonzero(labels >= 0)
    predicted = probabilities.argmax(axis=1) if len(labels) else np.zeros(0, dtype=np.int64)
    wrong = known[predicted[known] != labels[known]]
    order = np.argsort(probabilities[wrong, labels[wrong]], kind="stable")
    suspects = likely_label_errors(labels, probabilities)[:label_errors]
    others = wrong[order][~np.isin(wrong[order], suspects)]
    return Selection(
        pairs=_pairs(labels, predicted, wrong, probabilities, pairs, photos_per_pair),
        mistakes=tuple(int(row) for row in others[:mistakes]),
        label_errors=tuple(int(row) for row in suspects),
    )


def _pairs(
    labels: Labels, predicted: Labels, wrong: Labels, probabilities: Probabilities, limit: int, photos: int
) -> tuple[PairChoice, ...]:
    """The directed pairs of most mistakes; the other direction of the worst two classes is always there."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row in wrong:
        groups.setdefault((int(labels[row]), int(predicted[row])), []).append(int(row))
    ranked = sorted(groups, key=lambda pair: (-len(groups[pair]), pair))
    chosen = ranked[:limit]
    worst = most_confused({pair: len(rows) for pair, rows in groups.items()})
    if worst is not None:
        chosen += [pair for pair in (worst, worst[::-1]) if pair in groups and pair not in chosen]
    return tuple(
        PairChoice(
            label=label,
            predicted=called,
            count=len(groups[label, called]),
            n=int((labels == label).sum()),
            photos=tuple(sorted(groups[label, called], key=lambda row: -probabilities[row, called])[:photos]),
        )
        for label, called in chosen
    )


def most_confused(counts: dict[tuple[int, int], int]) -> tuple[int, int] | None:
    """The two classes with most mistakes between them, both directions together; the larger one first.

    ``counts`` maps (label, predicted) to photos. None without a mistake.
    """
    both: dict[tuple[int, int], int] = {}
    for (label, called), count in counts.items():
        pair = (min(label, called), max(label, called))
        both[pair] = both.get(pair, 0) + count
    if not both or max(both.values()) == 0:
        return None
    first, second = min(both, key=lambda pair: (-both[pair], pair))
    if counts.get((second, first), 0) > counts.get((first, second), 0):
        return second, first
    return first, second


def likely_label_errors(labels: Labels, probabilities: Probabilities) -> npt.NDArray[np.int64]:
    """Rows whose label is likely wrong, likeliest first. The photos must not have been trained on.

    Confident learning (Northcutt, Jiang, Chuang 2021, arXiv 1911.00068): a class's threshold is the mean
    probability it gets on the photos that carry its label. A row is suspect where the likeliest class above
    its threshold is not the label; suspects are ranked by p(label) minus p(that class).
    """
    labels = np.asarray(labels, dtype=np.int64)
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        return known
    given, chance = labels[known], probabilities[known]
    classes = chance.shape[1]
    sizes = np.bincount(given, minlength=classes)
    sums = np.bincount(given, weights=chance[np.arange(len(known)), given], minlength=classes)
    threshold = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    above = np.where(chance >= threshold, chance, -1.0)
    called = above.argmax(axis=1)
    rows = np.arange(len(known))
    suspect = (above[rows, called] >= 0) & (called != given)
    margin = chance[rows, given] - chance[rows, called]
    order = np.argsort(margin[suspect], kind="stable")
    result: npt.NDArray[np.int64] = known[suspect][order]
    return result

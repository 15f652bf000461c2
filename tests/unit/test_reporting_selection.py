from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deitft.reporting.selection import likely_label_errors, most_confused, select_photos


def chances(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def test_pairs_are_the_largest_cells_with_the_surest_photo_first() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    probabilities = chances(
        [[0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]]
    )
    pairs = select_photos(labels, probabilities).pairs
    assert [(pair.label, pair.predicted, pair.count, pair.n) for pair in pairs] == [
        (0, 1, 2, 3),
        (1, 0, 1, 2),
        (2, 1, 1, 1),
    ]
    assert pairs[0].photos == (1, 0)


def test_the_other_direction_of_the_worst_two_classes_is_always_there() -> None:
    labels = np.array([0, 0, 1, 2, 2, 3, 3])
    called = [1, 1, 0, 3, 3, 2, 0]
    probabilities = np.full((7, 4), 0.1)
    probabilities[np.arange(7), called] = 0.7
    chosen = select_photos(labels, probabilities, pairs=2).pairs
    assert [(pair.label, pair.predicted) for pair in chosen] == [(0, 1), (2, 3), (1, 0)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(0, 60))
def test_selection_agrees_with_a_plain_count(seed: int, classes: int, n: int) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.integers(-1, classes, n)
    probabilities = draw.dirichlet(np.ones(classes), n) if n else np.zeros((0, classes))
    chosen = select_photos(labels, probabilities, pairs=100, photos_per_pair=100, mistakes=100, label_errors=100)
    told = [
        (int(label), int(row.argmax())) for label, row in zip(labels, probabilities, strict=True) if label >= 0
    ]
    wrong = Counter(pair for pair in told if pair[0] != pair[1])
    assert {(pair.label, pair.predicted): pair.count for pair in chosen.pairs} == dict(wrong)
    shown = set(chosen.mistakes) | set(chosen.label_errors)
    assert not set(chosen.mistakes) & set(chosen.label_errors)
    rows = {row for row in range(n) if labels[row] >= 0 and probabilities[row].argmax() != labels[row]}
    assert rows <= shown
    kept = [probabilities[row, labels[row]] for row in chosen.mistakes]
    assert kept == sorted(kept)


def slow_label_errors(labels: np.ndarray, probabilities: np.ndarray) -> list[int]:
    """Confident learning as written in the paper's equations 1 and 2, one photo at a time."""
    classes = probabilities.shape[1]
    thresholds = {}
    for c in range(classes):
        own = [probabilities[i, c] for i in range(len(labels)) if labels[i] == c]
        if own:
            thresholds[c] = float(np.mean(own))
    found = []
    for i, label in enumerate(labels):
        if label < 0:
            continue
        above = [c for c in thresholds if probabilities[i, c] >= thresholds[c] - 1e-12]
        if above:
            best = max(above, key=lambda c: probabilities[i, c])
            if best != label:
                found.append((probabilities[i, label] - probabilities[i, best], i))
    return [i for _, i in sorted(found)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_label_errors_agree_with_the_slow_definition(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.integers(-1, 4, 40)
    probabilities = draw.dirichlet(np.full(5, 0.4), 40)
    assert likely_label_errors(labels, probabilities).tolist() == slow_label_errors(labels, probabilities)


def test_a_planted_label_error_comes_first() -> None:
    draw = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), 30)
    probabilities = draw.dirichlet(np.ones(3), 90) * 0.2
    probabilities[np.arange(90), labels] += 0.8
    labels[7] = 2
    probabilities[7] = (0.97, 0.02, 0.01)
    assert likely_label_errors(labels, probabilities)[0] == 7
    assert len(likely_label_errors(np.full(4, -1), np.ones((4, 3)))) == 0


@pytest.mark.parametrize(
    ("counts", "pair"),
    [
        ({}, None),
        ({(0, 1): 0}, None),
        ({(0, 1): 3, (1, 0): 1}, (0, 1)),
        ({(0, 1): 1, (1, 0): 3}, (1, 0)),
        ({(0, 1): 3, (1, 2): 2, (2, 1): 2}, (1, 2)),
        ({(3, 4): 2, (0, 1): 2}, (0, 1)),
    ],
)
def test_most_confused_adds_both_directions(
    counts: dict[tuple[int, int], int], pair: tuple[int, int] | None
) -> None:
    assert most_confused(counts) == pair

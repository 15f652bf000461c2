"""Calibration: against formulas written out slowly, by coverage, and as numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from deitft.evaluation.calibration import (
    calibrated_loss,
    calibration_error,
    calibration_interval,
    confidences,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
)
from deitft.evaluation.predictions import softmax
from deitft.evaluation.statistics import bootstrap_interval


def slow_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    total = 0.0
    for index in range(bins):
        inside = (confidence > index / bins) & (confidence <= (index + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


def test_calibration_error_equals_the_definition() -> None:
    draw = np.random.default_rng(0)
    confidence = draw.uniform(0.1, 1.0, 500)
    correct = draw.random(500) < confidence**2
    assert calibration_error(confidence, correct) == pytest.approx(slow_error(confidence, correct))
    order = draw.permutation(500)
    assert calibration_error(confidence[order], correct[order]) == pytest.approx(slow_error(confidence, correct))


def test_calibration_error_golden() -> None:
    # two bins: 2 photos at 0.95, one right: |0.5 - 0.95|; 2 photos at 0.55, both right: |1 - 0.55|
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, False, True, True])
    assert calibration_error(confidence, correct) == pytest.approx(0.45)
    assert calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0.0
    assert calibration_error(np.ones(3), np.ones(3, dtype=bool)) == 0.0


def test_reliability_bins_hold_every_photo_once() -> None:
    confidence = np.array([0.0, 1 / 15, 0.5, 0.51, 1.0])
    bins = reliability_bins(confidence, np.array([False, False, True, False, True]))
    assert [row.count for row in bins] == [2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1]
    assert bins[1].confidence is None
    assert bins[1].accuracy is None
    assert bins[7].confidence == pytest.approx(0.505)
    assert bins[7].accuracy == 0.5
    assert (bins[0].low, bins[14].high) == (0.0, 1.0)


@pytest.mark.parametrize(("gap", "least"), [(0.0, 0.93), (0.1, 0.88)])
def test_the_interval_covers_also_where_the_model_is_calibrated(gap: float, least: float) -> None:
    draw = np.random.default_rng(1)
    hits = 0
    for seed in range(60):
        confidence = draw.uniform(0.5, 0.99, 200)
        correct = draw.random(200) < confidence - gap
        low, high = calibration_interval(confidence, correct, draws=100, seed=seed)
        assert 0.0 <= low <= high
        hits += low <= gap <= high
    assert hits / 60 >= least


def test_the_lower_end_is_the_upper_one_mirrored_where_the_model_is_not_calibrated() -> None:
    draw = np.random.default_rng(7)
    confidence = draw.uniform(0.5, 0.99, 300)
    correct = draw.random(300) < confidence - 0.15
    error = calibration_error(confidence, correct)
    _, high = bootstrap_interval(calibration_error, confidence, correct, draws=100, seed=1)
    low, same_high = calibration_interval(confidence, correct, draws=100, seed=1)
    assert same_high == high
    assert 0 < low == pytest.approx(2 * error - high)


def test_log_likelihood_equals_sklearn() -> None:
    draw = np.random.default_rng(2)
    logits = draw.normal(0, 3, (80, 7)).astype(np.float32)
    labels = draw.integers(0, 7, 80)
    for temperature in (0.5, 1.0, 3.0):
        reference = log_loss(labels, softmax(logits, temperature), labels=range(7))
        assert negative_log_likelihood(logits, labels, temperature) == pytest.approx(reference, rel=1e-6)
    assert negative_log_likelihood(logits + 100, labels) == pytest.approx(
        negative_log_likelihood(logits, labels), rel=1e-5
    )
    assert negative_log_likelihood(np.zeros((3, 4)), np.array([0, 1, 3])) == pytest.approx(math.log(4))


def drawn(temperature: float, n: int = 4000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose right temperature is known: labels are drawn from the softmax at that temperature."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 2, (n, 5)).astype(np.float32)
    labels = np.array([draw.choice(5, p=row) for row in softmax(logits, temperature)])
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_right_temperature_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    found = fit_temperature(logits, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.note == ""
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 400))
    slow = grid[np.argmin([negative_log_likelihood(logits, labels, value) for value in grid])]
    assert found.temperature == pytest.approx(slow, rel=0.02)
    assert found.nll_after <= found.nll_before
    assert (softmax(logits, found.temperature).argmax(1) == logits.argmax(1)).all()


def test_scaled_logits_have_a_scaled_temperature_and_unknown_labels_do_not_count() -> None:
    logits, labels = drawn(1.5, 400)
    once = fit_temperature(logits, labels).temperature
    assert fit_temperature(2 * logits, labels).temperature == pytest.approx(2 * once, rel=1e-3)
    more = np.concatenate([logits, np.full((50, 5), 9.0, dtype=np.float32)])
    unknown = np.concatenate([labels, np.full(50, -1)])
    assert fit_temperature(more, unknown).temperature == once


def test_the_calibrated_loss_is_the_loss_at_the_best_temperature_whatever_the_scale() -> None:
    draw = np.random.default_rng(5)
    labels = draw.integers(0, 4, 300)
    logits = draw.normal(0, 1, (300, 4)) + 2 * np.eye(4)[labels]
    doubt = 1 / 302
    on_a_grid = min(negative_log_likelihood(logits, labels, t, doubt) for t in np.geomspace(0.2, 5, 2000))
    assert calibrated_loss(logits, labels) == pytest.approx(on_a_grid, abs=1e-6)
    for scale in (0.1, 3.0):
        assert calibrated_loss(scale * logits, labels) == pytest.approx(calibrated_loss(logits, labels), abs=1e-6)
    # one photo of two classes, right: by hand, the least of -(2/3) log p - (1/3) log(1 - p), at p = 2/3
    assert calibrated_loss(np.array([[1.0, 0.0]]), np.array([0])) == pytest.approx(0.6365141682948128, abs=1e-6)
    # two models without a mistake: the one that tells the classes apart more evenly is better
    even, uneven = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 2, 0]] * np.array([[4.0], [1.0], [1.0], [1.0]])
    assert calibrated_loss(even, np.array([0, 1, 2, 0])) < calibrated_loss(uneven, np.array([0, 1, 2, 0]))


def test_few_photos_change_nothing_and_say_so() -> None:
    logits, labels = drawn(2.0, 19)
    found = fit_temperature(logits, labels)
    assert (found.temperature, found.n) == (1.0, 19)
    assert "19 val photos are too few" in found.note
    empty = fit_temperature(logits, np.full(19, -1))
    assert (empty.n, empty.nll_before) == (0, None)
    assert empty.record()["temperature"] == 1.0


@pytest.mark.parametrize("n", [30, 300])
def test_perfect_val_photos_do_not_make_the_model_certain(n: int) -> None:
    draw = np.random.default_rng(4)
    labels = draw.integers(0, 4, n)
    logits = draw.normal(0, 1, (n, 4)).astype(np.float32)
    logits[np.arange(n), labels] += 12
    found = fit_temperature(logits, labels)
    assert "no val photo is wrong" in found.note
    assert 0.05 < found.temperature < 20
    # what n right answers of n can show is about 1 - 1 / (n + 2)
    assert 0.3 / n < 1 - confidences(logits, found.temperature).mean() < 3 / n


def test_a_model_that_knows_nothing_is_told() -> None:
    draw = np.random.default_rng(5)
    logits = draw.normal(0, 5, (400, 4)).astype(np.float32)
    found = fit_temperature(logits, logits.argmin(axis=1))
    assert found.temperature == pytest.approx(20, rel=0.02)
    assert "no better than chance" in found.note

"""Intervals and tests: against scipy and statsmodels, by coverage, by what must not change them, as numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from deitft.errors import DataError
from deitft.evaluation.statistics import (
    _adjusted_wald,
    bootstrap_interval,
    holm,
    mcnemar_exact,
    paired_difference,
    wilson_interval,
)


@given(
    st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from((0.9, 0.95))
)
@settings(max_examples=60, deadline=None)
def test_wilson_equals_scipy(case: tuple[int, int], confidence: float) -> None:
    successes, n = case
    reference = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx(tuple(reference), abs=1e-12)


def test_wilson_mirrors_and_has_a_value_for_no_photos() -> None:
    low, high = wilson_interval(7, 31)
    assert wilson_interval(24, 31) == pytest.approx((1 - high, 1 - low))
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(372, 372)[1] == 1.0


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_golden(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("n", "share"), [(30, 0.9), (100, 0.5), (372, 0.86), (372, 0.99)])
def test_wilson_covers(n: int, share: float) -> None:
    """Exact coverage: the binomial's weight of the counts whose interval holds the true share."""
    covered = [k for k in range(n + 1) if wilson_interval(k, n)[0] <= share <= wilson_interval(k, n)[1]]
    assert 0.92 < stats.binom.pmf(covered, n, share).sum() < 0.98


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def test_bootstrap_covers_and_is_as_wide_as_the_normal_interval() -> None:
    draw = np.random.default_rng(1)
    samples = draw.normal(3.0, 2.0, (150, 80))
    intervals = [bootstrap_interval(mean, row, draws=200, seed=index) for index, row in enumerate(samples)]
    covered = np.mean([low <= 3.0 <= high for low, high in intervals])
    assert 0.88 <= covered <= 0.99
    width = np.mean([high - low for low, high in intervals])
    assert width == pytest.approx(2 * 1.96 * 2.0 / np.sqrt(80), rel=0.1)


def test_bootstrap_by_group_is_wider_where_photos_of_a_group_agree() -> None:
    draw = np.random.default_rng(2)
    values = np.repeat(draw.random(30), 10)
    groups = [f"product {index}" for index in np.repeat(np.arange(30), 10)]
    low, high = bootstrap_interval(mean, values, draws=500)
    group_low, group_high = bootstrap_interval(mean, values, draws=500, groups=groups)
    assert (group_high - group_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.25)
    alone = bootstrap_interval(mean, values[::10], draws=500, groups=groups[::10])
    assert alone == pytest.approx(bootstrap_interval(mean, values[::10], draws=500), abs=0.03)


def test_bootstrap_is_keyed_and_leaves_the_globals_alone() -> None:
    values = np.random.default_rng(3).random(40)
    state = np.random.get_state()[1].tolist()
    first = bootstrap_interval(mean, values, draws=100, seed=5)
    assert np.random.get_state()[1].tolist() == state
    assert first == bootstrap_interval(mean, values, draws=100, seed=5)
    assert first != bootstrap_interval(mean, values, draws=100, seed=6)


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="3 groups for 4 photos"):
        bootstrap_interval(mean, np.ones(4), groups=[1, 2, 3])


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 0), (3, 9), (12, 12), (40, 61), (900, 1000)])
def test_mcnemar_equals_statsmodels(b: int, c: int) -> None:
    reference = mcnemar([[50, b], [c, 50]], exact=True).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(min(1.0, reference), rel=1e-9)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


def test_mcnemar_golden() -> None:
    assert mcnemar_exact(1, 9) == pytest.approx(22 / 1024)


def paired(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models of 90 and 80 % whose mistakes go together: the true difference is 0.1."""
    draw = np.random.default_rng(seed)
    hardness = draw.random(n)
    other = np.where(draw.random(n) < 0.7, hardness, draw.random(n))
    return hardness < 0.9, other < 0.8


def test_paired_difference_covers() -> None:
    found = [paired_difference(*paired(200, seed), draws=200, seed=seed) for seed in range(150)]
    assert 0.91 <= np.mean([row.low <= 0.1 <= row.high for row in found]) <= 1.0
    assert np.mean([row.difference for row in found]) == pytest.approx(0.1, abs=0.01)


def test_paired_p_is_uniform_enough_when_the_models_are_equal() -> None:
    draw = np.random.default_rng(4)
    groups = np.repeat(np.arange(60), 3)
    alone, grouped = [], []
    for seed in range(100):
        hard = np.repeat(draw.random(60), 3)
        right = [hard + draw.normal(0, 0.2, 180) < 0.8 for _ in range(2)]
        alone.append(paired_difference(right[0], right[1], draws=50, seed=seed).p)
        grouped.append(paired_difference(right[0], right[1], groups, draws=50, seed=seed).p)
    assert np.mean(np.array(alone) < 0.05) <= 0.11
    assert np.mean(np.array(grouped) < 0.05) <= 0.11
    assert np.mean(grouped) > 0.4


def test_paired_difference_changes_sign_with_the_models() -> None:
    a, b = paired(300, 5)
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.01)
    assert (one.only_a, one.only_b, one.p) == (other.only_b, other.only_a, other.p)
    assert one.p == mcnemar_exact(one.only_a, one.only_b)
    assert set(one.record()) == {"difference", "low", "high", "p", "n", "only_a", "only_b", "groups"}


def test_models_that_nothing_told_apart_are_not_known_to_be_equal() -> None:
    right = np.ones(50, dtype=bool)
    alone = paired_difference(right, right)
    assert (alone.difference, alone.p) == (0.0, 1.0)
    assert alone.low < -0.02
    assert alone.high > 0.02
    grouped = paired_difference(right, right, np.repeat(np.arange(5), 10))
    assert grouped.high > alone.high
    assert grouped.groups == 5


def test_the_adjusted_interval_golden() -> None:
    """By hand: b = 1, c = 7 of 21, so 2/23 - 8/23, variance (10/23 - (6/23)^2) / 23."""
    low, high = _adjusted_wald(1, 7, 21, 0.95)
    assert (low, high) == pytest.approx((-6 / 23 - 0.247484, -6 / 23 + 0.247484), abs=1e-5)
    a, b = np.zeros(21, dtype=bool), np.zeros(21, dtype=bool)
    a[0] = b[1:8] = True
    found = paired_difference(a, b)
    assert found.low <= low
    assert found.high >= high


def test_ten_copies_of_a_photo_are_one_group_and_prove_no_more() -> None:
    a, b = paired(60, 6)
    groups = np.repeat(np.arange(60), 10)
    once = paired_difference(a, b, np.arange(60))
    copied = paired_difference(np.repeat(a, 10), np.repeat(b, 10), groups)
    assert copied.p == pytest.approx(once.p, abs=0.02)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert paired_difference(np.repeat(a, 10), np.repeat(b, 10)).p < copied.p


def test_models_judged_on_other_photos_are_not_compared() -> None:
    with pytest.raises(DataError, match="3 and 4 photos"):
        paired_difference(np.ones(3, dtype=bool), np.ones(4, dtype=bool))
    with pytest.raises(DataError, match="0 and 0 photos"):
        paired_difference(np.ones(0, dtype=bool), np.ones(0, dtype=bool))


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_holm_equals_statsmodels(count: int) -> None:
    for seed in range(1):
        values = np.random.default_rng(seed).random(count) ** 3
        values[: count // 3] = values[0]  # equals too
        reference = multipletests(values, method="holm")[1]
        assert holm(values.tolist()) == pytest.approx(reference.tolist(), abs=1e-12)


def test_holm_golden_and_order() -> None:
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])

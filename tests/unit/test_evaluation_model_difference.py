"""Top-1 and differences over photos and seeds: coverage, what must not change them, the cases with one seed."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from crossed_kit import Population
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deitft.errors import DataError
from deitft.evaluation.model_difference import ModelDifference, compare_models, top_one
from deitft.evaluation.power import photos_needed
from deitft.evaluation.statistics import paired_difference, score_interval, wilson_interval

TRIALS = 500
GROUPED = np.concatenate([np.repeat(np.arange(40), 7), 40 + np.arange(92) % 46])


@pytest.mark.parametrize(
    ("population", "photos"),
    [
        (Population(top1=(0.9, 0.89)), 372),
        (Population(top1=(0.9, 0.9), shared=0.9, own=0.05), 372),
        (Population(top1=(0.9, 0.89), groups=GROUPED), 372),
    ],
    ids=["photos", "alike", "groups"],
)
def test_intervals_cover_with_three_seeds_and_pooling_them_does_not(population: Population, photos: int) -> None:
    first, second = population.draw(np.random.default_rng(1), TRIALS, 3, photos)
    one, other = population.truth()
    covered = {"difference": 0, "top1": 0, "pooled": 0}
    for a, b in zip(first, second, strict=True):
        found, alone = compare_models(a, b, population.groups), top_one(a, population.groups)
        gain = a.astype(float).ravel() - b.ravel()
        half = 1.96 * gain.std() / np.sqrt(gain.size)
        covered["difference"] += found.low <= one - other <= found.high
        covered["top1"] += alone.low <= one <= alone.high
        covered["pooled"] += abs(gain.mean() - (one - other)) <= half
    assert 0.93 <= covered["difference"] / TRIALS <= 0.98
    assert 0.93 <= covered["top1"] / TRIALS <= 0.98
    assert covered["pooled"] / TRIALS <= 0.88


def test_equal_models_are_called_different_in_five_of_a_hundred_at_most() -> None:
    first, second = Population(top1=(0.9, 0.9)).draw(np.random.default_rng(2), TRIALS, 3, 200)
    p = np.array([compare_models(a, b).p for a, b in zip(first, second, strict=True)])
    assert (p <= 0.05).mean() <= 0.07
    assert 0.4 < p.mean() < 0.7


@st.composite
def two_models(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int] | None]:
    """[S, N] of two models, S at least 2 for one of them; with groups or without."""
    photos = draw(st.integers(2, 14))
    seeds = draw(st.sampled_from(((2, 2), (3, 2), (1, 3), (4, 1))))
    bits = [draw(st.lists(st.booleans(), min_size=s * photos, max_size=s * photos)) for s in seeds]
    groups = draw(st.none() | st.lists(st.integers(0, 4), min_size=photos, max_size=photos))
    a, b = (np.array(row).reshape(s, photos) for row, s in zip(bits, seeds, strict=True))
    return a, b, groups


def ends(found: ModelDifference) -> tuple[float, ...]:
    return found.difference, found.low, found.high, found.p, found.only_a, found.only_b


@given(two_models(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_what_must_hold_of_any_two_models(models: tuple[np.ndarray, np.ndarray, list[int] | None], random) -> None:
    a, b, groups = models
    found, swapped = compare_models(a, b, groups), compare_models(b, a, groups)
    opposite = (-found.difference, -found.high, -found.low, found.p, found.only_b, found.only_a)
    assert ends(swapped) == pytest.approx(opposite, abs=1e-12)
    order = list(range(a.shape[1]))
    random.shuffle(order)
    moved = None if groups is None else [groups[place] for place in order]
    assert ends(compare_models(a[::-1, order], b[:, order], moved)) == pytest.approx(ends(found), abs=1e-9)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.low < found.high
    assert 0 <= found.p <= 1
    if groups is None:
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
        assert ends(compare_models(a, b, list(range(a.shape[1])))) == ends(found)
    alone = top_one(a, groups)
    assert 0 <= alone.low <= alone.top1 <= alone.high <= 1
    assert alone.low < alone.high
    json.dumps([found.record(), alone.record()], allow_nan=False)


def models(seeds_a: int, seeds_b: int, photos: int = 80) -> tuple[np.ndarray, np.ndarray]:
    a, b = Population(top1=(0.9, 0.8), seed_sd=0.08).draw(np.random.default_rng(3), 1, 4, photos)
    return a[0][:seeds_a], b[0][:seeds_b]


def test_with_one_seed_each_it_is_the_paired_test_of_before_and_says_so() -> None:
    a, b = models(1, 1)
    groups = np.arange(80) // 2
    for given_groups in (None, groups):
        found, before = compare_models(a, b, given_groups), paired_difference(a[0], b[0], given_groups)
        assert (found.low, found.high, found.p) == (before.low, before.high, before.p)
        assert (found.only_a, found.only_b) == (before.only_a, before.only_b)
        assert (found.seed_part, found.df, found.seed_sd_a) == ("left out", None, None)
    shuffled = np.random.default_rng(0).permutation(80)
    assert ends(compare_models(a[:, shuffled], b[:, shuffled])) == pytest.approx(ends(compare_models(a, b)))
    alone = top_one(a)
    assert (alone.low, alone.high) == wilson_interval(int(a.sum()), 80)


def test_six_copies_of_each_photo_are_as_many_photos_as_there_were_less_one() -> None:
    right = np.arange(60) < 51
    found = top_one(np.repeat(right, 6), np.repeat(np.arange(60), 6))
    low, high = score_interval(0.85, 59, float(stats.t.ppf(0.975, 59)))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.df, found.groups, found.photos) == (pytest.approx(59), 60, 360)
    alone = top_one(np.repeat(right, 6))
    assert high - low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("size", [2, 6, 10])
@pytest.mark.parametrize("share", [0.75, 0.9])
def test_the_interval_of_one_seed_covers_with_grouped_photos(size: int, share: float) -> None:
    groups = np.repeat(np.arange(40), size)
    population = Population(top1=(share,), seed_sd=0.0, groups=groups)
    (drawn,) = population.draw(np.random.default_rng(11), 1500, 1, len(groups))
    (truth,) = population.truth()
    found = [top_one(one, groups) for one in drawn]
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.97


def test_without_any_difference_between_seeds_it_is_the_t_test_over_photos() -> None:
    a, b = models(1, 1)
    found = compare_models(np.repeat(a, 3, axis=0), np.repeat(b, 2, axis=0))
    reference = stats.ttest_1samp(a[0].astype(float) - b[0], 0.0)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval()))
    assert found.df == pytest.approx(79)
    assert found.seed_part == "counted"


def test_the_variance_of_seeds_is_borrowed_from_the_model_that_has_some() -> None:
    a, b = models(1, 3)
    borrowed = compare_models(a, b)
    assert borrowed.seed_part == "borrowed"
    assert borrowed.sources.between_a == borrowed.sources.between_b > 0
    fixed = compare_models(b, a, fixed_b=True)
    assert (fixed.seed_part, fixed.sources.between_b) == ("counted", 0.0)
    assert fixed.high - fixed.low < borrowed.high - borrowed.low
    assert compare_models(a, b[:1], fixed_b=True).seed_part == "left out"


def test_a_difference_golden() -> None:
    """By hand: seed means 3/4, 1/4 against 1/2, 1/2; the photos' part of 4 is below its floor, 2 / 36."""
    a = np.array([[1, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    b = np.array([[1, 0, 1, 0], [1, 0, 1, 0]], dtype=bool)
    found = compare_models(a, b)
    assert found.difference == 0.0
    photo, seeds = 2 / 36, 0.125 / 2 - 1 / 48
    df = (photo + seeds) ** 2 / (photo**2 / 3 + (0.125 / 2) ** 2 / 1)
    assert found.df == pytest.approx(df)
    assert found.high == pytest.approx(min(1.0, stats.t.ppf(0.975, df) * np.sqrt(photo + seeds)))
    assert (found.only_a, found.only_b) == (0.5, 0.5)


def test_models_that_nothing_tells_apart_are_not_known_to_be_equal() -> None:
    right = np.ones((3, 372), dtype=bool)
    alone, grouped = compare_models(right, right), compare_models(right, right, np.arange(372) // 6)
    assert 0.007 < alone.high < 0.008
    assert 0.04 < grouped.high < 0.05
    assert not alone.not_inferior(0.007)
    assert alone.not_inferior(0.008)
    assert top_one(right).low == pytest.approx(wilson_interval(372, 372)[0])
    assert top_one(right, np.arange(372) // 6).low == pytest.approx(wilson_interval(62, 62)[0])
    single = compare_models(right, right, np.zeros(372))
    assert (single.low, single.high, single.p) == (-1.0, 1.0, 1.0)
    json.dumps([single.record(), top_one(right, np.zeros(372)).record()], allow_nan=False)
    assert photos_needed(dataclasses.replace(single, difference=0.1)).photos > 10_000


def test_other_photos_are_refused() -> None:
    with pytest.raises(DataError, match="on 80 and 79 photos"):
        compare_models(models(2, 2)[0], models(2, 2, 79)[1])

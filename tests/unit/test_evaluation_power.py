"""Photos needed: against published numbers, statsmodels and enumeration, and by simulation."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from crossed_kit import Population
from scipy import stats
from statsmodels.stats.power import TTestPower

from deitft.evaluation.model_difference import ModelDifference, Sources, compare_models
from deitft.evaluation.power import about, connor_photos, difference_power, mcnemar_power, photos_needed
from deitft.evaluation.statistics import mcnemar_exact


def difference(
    value: float, *, seeds: int = 3, between: float = 0.0, photo: float = 0.1, groups: int | None = None
) -> ModelDifference:
    """A difference as it would be found on 372 photos; ``between`` is a variance."""
    return ModelDifference(
        difference=value,
        low=value - 0.05,
        high=value + 0.05,
        p=0.5,
        photos=372,
        groups=groups,
        seeds_a=seeds,
        seeds_b=seeds,
        seed_sd_a=None,
        seed_sd_b=None,
        seed_part="counted" if seeds > 1 else "left out",
        only_a=20.0,
        only_b=10.0,
        df=None,
        sources=Sources(photo=photo, within_a=0.0, within_b=0.0, between_a=between, between_b=between),
    )


@pytest.mark.parametrize(("first", "second", "photos"), [(0.45, 0.05, 23), (0.3, 0.15, 155)])
def test_the_approximate_number_golden(first: float, second: float, photos: int) -> None:
    """Connor 1987, Biometrics 43:207, his formula at 5 % two-sided and 80 %."""
    assert connor_photos(first, second) == connor_photos(second, first) == photos


@pytest.mark.parametrize(("photos", "first", "second"), [(12, 0.4, 0.05), (30, 0.3, 0.1), (40, 0.02, 0.2)])
def test_the_power_of_mcnemar_equals_every_table_enumerated(photos: int, first: float, second: float) -> None:
    power = 0.0
    for b in range(photos + 1):
        for c in range(photos - b + 1):
            if mcnemar_exact(b, c) <= 0.05:
                power += stats.multinomial.pmf([b, c, photos - b - c], photos, [first, second, 1 - first - second])
    assert mcnemar_power(photos, first, second) == pytest.approx(power, abs=1e-9)


def test_the_power_of_mcnemar_with_thousands_of_photos() -> None:
    """The same sum with the critical counts counted."""
    photos, first, second = 4000, 0.06, 0.045
    power = 0.0
    for n in range(300, 560):  # 420 differ on average, with a deviation of 19
        k = int((2 * stats.binom.cdf(np.arange(n // 2), n, 0.5) <= 0.05).sum()) - 1
        rejected = stats.binom.cdf(k, n, 4 / 7) + stats.binom.sf(n - k - 1, n, 4 / 7)
        power += stats.binom.pmf(n, photos, 0.105) * rejected
    assert mcnemar_power(photos, first, second) == pytest.approx(power, abs=1e-6)


def test_the_power_with_three_seeds_is_that_of_drawn_mean_squares() -> None:
    """Normal theory, drawn: most of the seeds' mean squares is here what a seed makes of a photo."""
    found = dataclasses.replace(
        difference(0.04), sources=Sources(photo=0.02, within_a=0.1, within_b=0.1, between_a=1e-4, between_b=1e-4)
    )
    draw, photos, draws = np.random.default_rng(5), 372, 40_000
    inside = 0.1 / photos
    photo = 0.02 / photos + 2 * inside / 3
    squares = (1e-4 + inside) * draw.chisquare(2, (2, draws)) / 2
    estimate = photo + (np.maximum(0, squares - inside) / 3).sum(axis=0)
    df = estimate**2 / (photo**2 / (photos - 1) + ((squares / 3) ** 2 / 2).sum(axis=0))
    seen = 0.04 + np.sqrt(photo + 2e-4 / 3) * draw.standard_normal(draws)
    power = np.mean(np.abs(seen) > stats.t.ppf(0.975, np.maximum(df, 1)) * np.sqrt(estimate))
    assert difference_power(found, photos, 3, 3) == pytest.approx(power, abs=0.01)


def test_photos_needed_with_one_seed_hold_their_power() -> None:
    found = dataclasses.replace(difference(0.03, seeds=1), only_a=372 * 0.06, only_b=372 * 0.03)
    photos = photos_needed(found).photos
    assert photos is not None
    assert connor_photos(0.06, 0.03) < photos < 1.1 * connor_photos(0.06, 0.03)
    tables = np.random.default_rng(0).multinomial(photos, [0.06, 0.03, 0.91], 2000)
    power = np.mean([mcnemar_exact(b, c) <= 0.05 for b, c, _ in tables.tolist()])
    assert power == pytest.approx(0.8, abs=0.03)


def test_without_seeds_it_is_the_power_of_the_paired_t_test() -> None:
    found = difference(0.03, seeds=1, groups=372)
    reference = TTestPower().power(0.03 / np.sqrt(0.1), 800, 0.05)
    assert difference_power(found, 800, 1, 1) == pytest.approx(reference, abs=0.005)
    reference = TTestPower().solve_power(0.03 / np.sqrt(0.1), alpha=0.05, power=0.8)
    assert photos_needed(found).photos == pytest.approx(reference, rel=0.01)


@pytest.mark.parametrize("groups", [None, 6])
def test_photos_needed_with_three_seeds_hold_their_power(groups: int | None) -> None:
    """The sources from one long look at the population, then the test with as many photos as they ask for."""
    draw, true = np.random.default_rng(4), 0.04

    def population(photos: int) -> Population:
        together = None if groups is None else np.arange(photos) // groups
        return Population(top1=(0.9, 0.86), groups=together)

    wide = population(9000)
    a, b = wide.draw(draw, 1, 12, 9000)
    seen = compare_models(a[0], b[0], wide.groups)
    one, other = wide.truth()
    assert one - other == pytest.approx(true, abs=0.002)
    at = 372 if groups is None else 62 * 6
    found = dataclasses.replace(
        seen, difference=one - other, seeds_a=3, seeds_b=3, photos=at, groups=None if groups is None else 62
    )
    # Twelve seeds tell their own variance badly; it is known.
    found = dataclasses.replace(found, sources=dataclasses.replace(seen.sources, between_a=1e-4, between_b=1e-4))
    photos = photos_needed(found).photos
    assert photos is not None
    here = population(photos)
    first, second = here.draw(draw, 400, 3, photos)
    power = np.mean([compare_models(a, b, here.groups).p <= 0.05 for a, b in zip(first, second, strict=True)])
    assert power == pytest.approx(0.8, abs=0.06)


def test_where_seeds_vary_too_much_no_number_of_photos_is_enough() -> None:
    found = difference(0.02, between=0.01**2)
    needed = photos_needed(found)
    assert needed.photos is None
    assert needed.more_seeds is not None
    seeds, photos = needed.more_seeds
    assert difference_power(found, 10**8, 3, 3) < 0.8 <= difference_power(found, photos, seeds, seeds)
    assert difference_power(found, 10 * 372, seeds - 1, seeds - 1) < 0.8
    assert photos_needed(difference(0.0001, between=0.05**2)).more_seeds is None


def test_photos_needed_shrink_with_the_difference_and_end() -> None:
    photos = [photos_needed(difference(value)).photos for value in (0.01, 0.02, 0.04)]
    assert photos == sorted(photos, reverse=True)
    assert photos_needed(difference(0.0)).photos is None
    assert photos_needed(difference(-0.02)).photos == photos[1]
    assert photos_needed(difference(0.0), margin=0.02).photos == photos[1]
    assert photos_needed(difference(-0.05), margin=0.02).photos is None
    began = time.perf_counter()
    photos_needed(difference(1e-6))
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("count", "said"), [(7, 7), (99, 99), (101, 110), (1873, 1900), (1900, 1900), (20100, 21000)]
)
def test_plans_are_rounded_up(count: int, said: int) -> None:
    assert about(count) == said

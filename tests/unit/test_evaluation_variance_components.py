"""Seeds by photos taken apart: against analysis of variance and clustered errors of statsmodels, as numbers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.formula.api import ols

from deitft.errors import DataError
from deitft.evaluation.variance_components import components, judged_photos, satterthwaite, units_of


def answers(seeds: int, photos: int, seed: int = 0) -> np.ndarray:
    """Right or wrong [S, N]; some photos are hard for all seeds."""
    draw = np.random.default_rng(seed)
    return draw.random((seeds, photos)) + draw.random(photos) < 1.3


def test_mean_squares_equal_those_of_two_way_analysis_of_variance() -> None:
    seeds, photos = 4, 15
    correct = answers(seeds, photos)
    table = pd.DataFrame(
        {
            "y": correct.ravel().astype(float),
            "seed": np.repeat(np.arange(seeds), photos),
            "photo": np.tile(np.arange(photos), seeds),
        }
    )
    reference = sm.stats.anova_lm(ols("y ~ C(seed) + C(photo)", table).fit())["mean_sq"]
    units = units_of(None, photos)
    found = components(correct, units)
    assert photos * found.seed_square == pytest.approx(reference["C(seed)"])
    assert photos * found.interaction == pytest.approx(reference["Residual"])
    photo = units.variance_of_mean(found.photo_means - found.top1)
    assert seeds * photos * photo == pytest.approx(reference["C(photo)"])
    assert found.top1 == pytest.approx(correct.mean())


def test_the_variance_by_groups_equals_clustered_errors() -> None:
    values = answers(1, 40)[0].astype(float)
    groups = np.random.default_rng(1).integers(0, 9, 40)
    fit = sm.OLS(values, np.ones(40)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    names = [f"article {group}" for group in groups]
    assert units_of(names, 40).variance_of_mean(values - values.mean()) == pytest.approx(fit.cov_params()[0, 0])


def test_satterthwaite_of_two_means_is_welch() -> None:
    a, b = np.array([0.9, 0.93, 0.88]), np.array([0.85, 0.86, 0.9, 0.7, 0.8])
    terms = [(a.var(ddof=1) / 3, 2.0), (b.var(ddof=1) / 5, 4.0)]
    reference = stats.ttest_ind(a, b, equal_var=False).df
    assert satterthwaite(terms[0][0] + terms[1][0], terms) == pytest.approx(reference)
    assert satterthwaite(0.1, [(1.0, 2)]) == 1.0
    assert satterthwaite(0.0, []) == math.inf


def test_components_golden() -> None:
    """By hand: seed means 3/4 and 1/4; what is left after photos and seeds is a quarter everywhere, up or down."""
    found = components(np.array([[1, 1, 1, 0], [0, 0, 1, 0]], dtype=bool), units_of(None, 4))
    assert found.seed_means.tolist() == [0.75, 0.25]
    assert found.photo_means.tolist() == [0.5, 0.5, 1.0, 0.0]
    assert found.seed_square == pytest.approx(0.125)
    assert found.interaction == pytest.approx(2 * 4 / 16 * 4 / 3 / 16)
    assert found.between_seeds == pytest.approx(0.125 - 1 / 24)
    assert found.seed_sd == pytest.approx(math.sqrt(0.125))


def test_one_seed_has_no_seed_variance_and_equal_seeds_have_none() -> None:
    alone = components(answers(1, 9)[0], units_of(None, 9))
    assert alone.seed_sd is None
    assert math.isnan(alone.between_seeds)
    copied = components(np.repeat(answers(1, 9), 3, axis=0), units_of(None, 9))
    assert (copied.seed_sd, copied.between_seeds, copied.interaction) == (0.0, 0.0, 0.0)


def test_photos_alone_in_their_group_are_no_groups() -> None:
    assert units_of(list("dcba"), 4).numbers is None
    assert units_of(list("ddba"), 4).count == 3
    assert units_of(list("dddd"), 4).variance_of_mean(np.ones(4)) == math.inf
    with pytest.raises(DataError, match="3 groups for 4 photos"):
        units_of(list("abc"), 4)


def test_models_of_other_photos_are_refused() -> None:
    assert judged_photos(np.ones((3, 7), dtype=bool), np.ones(7, dtype=bool)) == 7
    with pytest.raises(DataError, match="on 7 and 6 photos"):
        judged_photos(np.ones((3, 7), dtype=bool), np.ones((2, 6), dtype=bool))
    with pytest.raises(DataError, match="on 0 photos"):
        judged_photos(np.ones((3, 0), dtype=bool))

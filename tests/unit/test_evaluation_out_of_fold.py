"""The probe in parts: each photo judged by the others, groups on one side, planted errors found."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deitft.data.audit_labels import suspects_of
from deitft.evaluation.out_of_fold import LOOSENESS, out_of_fold, parts_of


def blobs(count: int, *, classes: int = 4, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(7).normal(0, 1.2, (classes, 10))
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    return (centres[labels] + draw.normal(0, noise, (count, 10))).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(3))
def test_parts_spread_each_class_and_keep_groups_whole(seed):
    draw = np.random.default_rng(seed)
    groups = draw.integers(0, 150, 400)
    labels = groups % 4
    part = parts_of(labels, groups, seed=seed)
    assert all(len(set(part[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    counts = np.array([np.bincount(part[labels == label], minlength=5) for label in range(4)])
    largest = np.bincount(groups).max()
    assert (counts.max(axis=1) - counts.min(axis=1) <= 2 * largest).all()


def test_parts_of_single_photos_are_even():
    labels = np.repeat([0, 1, 2], [50, 23, 3])
    part = parts_of(labels, np.arange(76))
    counts = np.array([np.bincount(part[labels == label], minlength=5) for label in range(3)])
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    assert np.bincount(part).max() - np.bincount(part).min() <= 1


def test_it_is_sklearns_regression_of_the_other_parts():
    features, labels = blobs(120)
    found = out_of_fold(features, labels, num_classes=4)
    part = parts_of(labels, np.arange(120))
    for number in range(5):
        here = part == number
        model = make_pipeline(StandardScaler(), LogisticRegression(C=LOOSENESS / 120, max_iter=2000))
        model.fit(features[~here].astype(np.float64), labels[~here])
        assert found[here] == pytest.approx(model.predict_proba(features[here].astype(np.float64)), abs=2e-3)
    assert found.sum(axis=1) == pytest.approx(np.ones(120))


def test_nothing_of_a_photo_itself_is_seen():
    """Features without any meaning: who saw his own label would be right, who did not is right by chance."""
    draw = np.random.default_rng(1)
    features, labels = draw.normal(size=(200, 60)).astype(np.float32), draw.integers(0, 2, 200)
    right = (out_of_fold(features, labels, num_classes=2).argmax(axis=1) == labels).mean()
    assert 0.35 < right < 0.65


def test_copies_do_not_tell_each_other():
    """Each photo twice: without groups its copy gives the label away."""
    draw = np.random.default_rng(2)
    features, labels = draw.normal(size=(100, 200)).astype(np.float32), draw.integers(0, 2, 100)
    features, labels, groups = np.tile(features, (2, 1)), np.tile(labels, 2), np.tile(np.arange(100), 2)

    def right(**more: np.ndarray) -> float:
        said = out_of_fold(features, labels, num_classes=2, looseness=1000.0, **more)
        return float((said.argmax(axis=1) == labels).mean())

    assert right() > 0.85
    assert right(groups=groups) < 0.65


def test_a_class_that_the_others_lack_gets_nothing():
    features, labels = blobs(40, classes=3)
    labels[labels == 2] = 0
    labels[5] = 2
    found = out_of_fold(features, labels, num_classes=4)
    assert found[5, 2] == 0
    assert (found[:, 3] == 0).all()
    lonely = out_of_fold(features[:3], np.array([0, 0, 1]), num_classes=2)
    assert lonely[2].tolist() == [1.0, 0.0]


def test_the_seed_deals_and_equal_seeds_deal_alike():
    features, labels = blobs(80)
    one, same, other = (out_of_fold(features, labels, num_classes=4, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_planted_errors_are_among_the_suspects(share):
    features, labels = blobs(600, noise=0.9)
    chosen = np.random.default_rng(9).permutation(600)[: round(share * 600)]
    changed = labels.copy()
    changed[chosen] = (labels[chosen] + 1) % 4
    found = suspects_of(out_of_fold(features, changed, num_classes=4), changed)
    hit = np.isin(found.photos, chosen)
    assert hit.sum() >= 0.7 * len(chosen)
    assert hit.mean() >= 0.8
    assert (found.suggestions[hit] == labels[found.photos[hit]]).mean() > 0.8

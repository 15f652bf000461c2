"""The linear probe on arrays: what it must find, what it must not use."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deitft.errors import DataError
from deitft.evaluation.baselines import GRID, majority_baseline, probe

Split = tuple[np.ndarray, np.ndarray]


def blobs(n: int, seed: int, classes: int = 4, noise: float = 1.5) -> Split:
    """Features [n, 12] float32 around one centre a class, the same centres for every seed."""
    centres = np.random.default_rng(100).normal(0, 1, (classes, 12))
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, n)
    scales = np.geomspace(0.01, 100, 12)
    return ((centres[labels] + draw.normal(0, noise, (n, 12))) * scales).astype(np.float32), labels


def test_the_probe_is_sklearns_with_the_c_that_is_best_on_val() -> None:
    train, val, test = blobs(200, 0), blobs(80, 1), blobs(80, 2)
    found = probe(train, val, test[0], num_classes=4)
    models = {
        c: make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000)).fit(
            train[0].astype(np.float64), train[1]
        )
        for c in GRID
    }
    scores = {c: model.score(val[0].astype(np.float64), val[1]) for c, model in models.items()}
    assert found.c == max(sorted(GRID), key=lambda c: scores[c])
    assert found.val_top1 == pytest.approx(max(scores.values()))
    reference = models[found.c].predict_proba(test[0].astype(np.float64))
    ours = np.exp(found.test_logits) / np.exp(found.test_logits).sum(axis=1, keepdims=True)
    assert ours == pytest.approx(reference, abs=2e-3)
    assert found.note == ""


def test_scaling_a_feature_changes_nothing() -> None:
    train, val, test = blobs(150, 3), blobs(60, 4), blobs(60, 5)
    factors = np.geomspace(1e-3, 1e3, 12).astype(np.float32)
    one = probe(train, val, test[0], num_classes=4)
    other = probe((train[0] * factors, train[1]), (val[0] * factors, val[1]), test[0] * factors, num_classes=4)
    assert (one.test_logits.argmax(1) == other.test_logits.argmax(1)).all()
    assert one.c == other.c


def test_val_chooses_and_test_is_never_looked_at() -> None:
    train, val, test = blobs(150, 6), blobs(60, 7), blobs(60, 8)
    one = probe(train, val, test[0], num_classes=4)
    other = probe(train, val, test[0][::-1] + 5, num_classes=4)
    assert (one.c, one.val_top1) == (other.c, other.val_top1)
    half = probe(train, val, test[0][:30], num_classes=4)
    assert half.test_logits == pytest.approx(one.test_logits[:30])
    # labels of val turned round: what looks best there is what predicts worst
    turned = probe(train, (val[0], (val[1] + 1) % 4), test[0], num_classes=4)
    assert turned.val_top1 < 0.5 < one.val_top1


def test_classes_without_train_photos_are_never_predicted() -> None:
    train, val, test = blobs(150, 9), blobs(60, 10), blobs(60, 11)
    two = train[1] < 2
    shifted: Split = (train[0][two], train[1][two] * 2 + 1)  # classes 1 and 3 of 6
    found = probe(shifted, (val[0], val[1]), test[0], num_classes=6)
    assert found.test_logits.shape == (60, 6)
    assert found.test_logits.dtype == np.float32
    assert set(found.test_logits.argmax(1)) <= {1, 3}
    assert np.isfinite(found.test_logits).all()
    assert (found.test_logits.argmax(1) == np.where(probe_says_three(shifted, test[0], found.c), 3, 1)).all()


def probe_says_three(train: Split, features: np.ndarray, c: float) -> np.ndarray:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
    return model.fit(train[0].astype(np.float64), train[1]).predict(features.astype(np.float64)) == 3


def test_without_val_photos_nothing_is_chosen_and_without_test_photos_nothing_said() -> None:
    train, test = blobs(100, 12), blobs(20, 13)
    nothing = np.zeros((0, 12), np.float32), np.zeros(0, np.int64)
    found = probe(train, nothing, test[0], num_classes=4)
    assert (found.c, found.val_top1) == (0.01, None)
    assert probe(train, test, nothing[0], num_classes=4).test_logits.shape == (0, 4)


def test_a_fit_that_did_not_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deitft.evaluation.baselines.MOST_STEPS", 1)
    found = probe(blobs(100, 14), blobs(40, 15), blobs(20, 16)[0], num_classes=4, grid=[1.0])
    assert found.note == "the fit with C = 1 had not converged"


def test_features_that_are_not_numbers_and_one_class_are_refused() -> None:
    train, val, test = blobs(40, 17), blobs(20, 18), blobs(20, 19)
    bad = test[0].copy()
    bad[3, 3] = np.inf
    with pytest.raises(DataError, match="test features that are not numbers") as caught:
        probe(train, val, bad, num_classes=4)
    assert caught.value.id == "N1"
    with pytest.raises(DataError, match="at least two classes"):
        probe((train[0], np.zeros(40, np.int64)), val, test[0], num_classes=4)


def test_the_majority_is_of_train_and_judged_here() -> None:
    assert majority_baseline([3, 9, 2], np.array([1, 1, 0, 2, -1])) == (1, 0.5)
    assert majority_baseline([3, 9, 2], np.array([-1])) == (1, 0.0)

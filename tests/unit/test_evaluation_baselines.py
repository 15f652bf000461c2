"""The linear probe on arrays: what it must find, what it must not use."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deitft.errors import DataError
from deitft.evaluation.baselines import GRID, majority_baseline, probe
from deitft.evaluation.calibration import calibrated_loss
from deitft.evaluation.predictions import softmax

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
    found = probe(train, val, num_classes=4)
    models = {
        c: make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000)).fit(
            train[0].astype(np.float64), train[1]
        )
        for c in GRID
    }
    losses = {
        c: calibrated_loss(model.decision_function(val[0].astype(np.float64)), val[1])
        for c, model in models.items()
    }
    assert found.c == min(sorted(GRID), key=lambda c: losses[c])
    assert found.val_loss == pytest.approx(min(losses.values()), rel=1e-2)
    assert found.val_top1 == models[found.c].score(val[0].astype(np.float64), val[1])
    reference = models[found.c].predict_proba(test[0].astype(np.float64))
    assert softmax(found.logits(test[0])) == pytest.approx(reference, abs=2e-3)
    assert found.note == ""


def test_its_weights_are_for_features_as_they_are() -> None:
    """They can stand in a model as they are: no scaling is left outside."""
    train, val, test = blobs(200, 0), blobs(80, 1), blobs(80, 2)
    found = probe(train, val, num_classes=4)
    assert (found.weight.shape, found.bias.shape) == ((4, 12), (4,))
    by_hand = test[0].astype(np.float64) @ found.weight.T + found.bias
    assert found.logits(test[0]) == pytest.approx(by_hand, rel=1e-5)
    assert found.logits(test[0]).dtype == np.float32


def test_of_equal_scores_the_most_restrained_is_taken() -> None:
    train, val = blobs(120, 20), blobs(60, 21)
    constant = np.ones_like(train[0]), train[1]  # nothing to learn from: every penalty gives the same
    found = probe(constant, (np.ones_like(val[0]), val[1]), num_classes=4, grid=[10.0, 0.1, 1.0])
    assert found.c == 0.1


def test_an_answer_that_is_sure_and_wrong_costs_more_than_a_score_sees() -> None:
    """Equal top-1 at either penalty: the loss is what tells them apart."""
    train, val = blobs(120, 20, noise=0.4), blobs(60, 21, noise=0.4)
    weak = probe(train, val, num_classes=4, grid=[1.0])
    strong = probe(train, val, num_classes=4, grid=[1e-2])
    assert weak.val_top1 == strong.val_top1 == 1.0
    assert weak.val_loss is not None
    assert strong.val_loss is not None
    assert weak.val_loss < strong.val_loss
    assert probe(train, val, num_classes=4, grid=[1e-2, 1.0]).c == 1.0


def test_scaling_a_feature_changes_nothing() -> None:
    train, val, test = blobs(150, 3), blobs(60, 4), blobs(60, 5)
    factors = np.geomspace(1e-3, 1e3, 12).astype(np.float32)
    one = probe(train, val, num_classes=4)
    other = probe((train[0] * factors, train[1]), (val[0] * factors, val[1]), num_classes=4)
    assert one.c == other.c
    assert one.logits(test[0]) == pytest.approx(other.logits(test[0] * factors), abs=0.01)


def test_val_chooses_the_penalty() -> None:
    train, val = blobs(150, 6), blobs(60, 7)
    one = probe(train, val, num_classes=4)
    # labels of val turned round: what looks best there is what predicts worst
    turned = probe(train, (val[0], (val[1] + 1) % 4), num_classes=4)
    assert one.val_top1 is not None
    assert turned.val_top1 is not None
    assert turned.val_top1 < 0.5 < one.val_top1


def test_classes_without_train_photos_are_not_predicted() -> None:
    train, val, test = blobs(150, 9), blobs(60, 10), blobs(60, 11)
    two = train[1] < 2
    shifted: Split = (train[0][two], train[1][two] * 2 + 1)  # classes 1 and 3 of 6
    found = probe(shifted, val, num_classes=6)
    logits = found.logits(test[0])
    assert logits.shape == (60, 6)
    assert set(logits.argmax(1)) <= {1, 3}
    assert np.isfinite(logits).all()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=found.c, max_iter=5000))
    model.fit(shifted[0].astype(np.float64), shifted[1])
    assert logits.argmax(1).tolist() == model.predict(test[0].astype(np.float64)).tolist()


def test_without_val_photos_nothing_is_chosen_and_without_test_photos_nothing_said() -> None:
    nothing = np.zeros((0, 12), np.float32), np.zeros(0, np.int64)
    found = probe(blobs(100, 12), nothing, num_classes=4)
    assert (found.c, found.val_top1, found.val_loss) == (0.01, None, None)
    assert found.logits(nothing[0]).shape == (0, 4)


def test_a_fit_that_did_not_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deitft.evaluation.baselines.MOST_STEPS", 1)
    found = probe(blobs(100, 14), blobs(40, 15), num_classes=4, grid=[1.0])
    assert found.note == "the fit with C = 1 had not converged"


def test_features_that_are_not_numbers_and_one_class_are_refused() -> None:
    train, val = blobs(40, 17), blobs(20, 18)
    bad = val[0].copy()
    bad[3, 3] = np.inf
    with pytest.raises(DataError, match="val features that are not numbers") as caught:
        probe(train, (bad, val[1]), num_classes=4)
    assert caught.value.id == "N1"
    with pytest.raises(DataError, match="at least two classes"):
        probe((train[0], np.zeros(40, np.int64)), val, num_classes=4)


def test_the_majority_is_of_train_and_judged_here() -> None:
    assert majority_baseline([3, 9, 2], np.array([1, 1, 0, 2, -1])) == (1, 0.5)
    assert majority_baseline([3, 9, 2], np.array([-1])) == (1, 0.0)

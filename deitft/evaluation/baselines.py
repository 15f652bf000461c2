"""What would have been enough? The frozen features with a logistic regression on top, and one constant answer.

Legend: N photos, C classes, D features.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from deitft.core.progress import StopFlag, Task
from deitft.data.stream import EvalStream
from deitft.errors import DataError
from deitft.evaluation.calibration import calibrated_loss
from deitft.evaluation.predict import look
from deitft.evaluation.predictions import Floats, Ints, Logits
from deitft.evaluation.scores import majority_score
from deitft.models.build import Classifier
from deitft.recipe.plan_types import Precision
from deitft.recipe.preprocessing import Preprocessing

GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Inverse strengths of the penalty that are tried, most restrained first."""

C_WITHOUT_VAL = 1e-2

MOST_STEPS = 1000


def frozen_features(
    classifier: Classifier,
    stream: EvalStream,
    *,
    pre: Preprocessing,
    device: str,
    precision: Precision = "fp32",
    channels_last: bool = False,
    task: Task | None = None,
    stop: StopFlag | None = None,
) -> tuple[tuple[Logits, ...], Ints]:
    """What each head of the classifier sees, [N, D] a head, and the labels [N] of the photos that were read."""
    kept, columns = look(
        classifier,
        stream,
        classifier.head_inputs,
        pre=pre,
        device=device,
        precision=precision,
        channels_last=channels_last,
        task=task,
        stop=stop,
    )
    return columns, np.asarray(stream.photos.labels, dtype=np.int64)[kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A linear probe: ``weight`` [C, D] and ``bias`` [C] on features as they are, the penalty chosen on val."""

    c: float
    val_top1: float | None
    val_loss: float | None
    weight: Floats
    bias: Floats
    note: str = ""

    def logits(self, features_ND: npt.NDArray[np.floating]) -> Logits:
        """What the probe says of N photos, [N, C]."""
        return (features_ND.astype(np.float64) @ self.weight.T + self.bias).astype(np.float32)


def probe(
    train: tuple[npt.NDArray[np.floating], Ints],
    val: tuple[npt.NDArray[np.floating], Ints],
    *,
    num_classes: int,
    grid: Sequence[float] = GRID,
) -> Probe:
    """Multinomial logistic regression on standardised features; C by the calibrated loss on val, the smaller of
    equals: top-1 on a few hundred photos jumps by more between neighbouring C than these differ.

    Without val photos C is ``C_WITHOUT_VAL``. ``train`` and ``val`` are (features [N, D], labels [N]); means and
    scales come from train alone and are folded into the weights. A class without a train photo is never
    predicted there.

    Raises:
        DataError: fewer than two classes in train, or a feature that is not a number (id N1).
    """
    for name, features in (("train", train[0]), ("val", val[0])):
        if not np.isfinite(features).all():
            raise DataError(
                f"the model gives {name} features that are not numbers", "the weights are damaged", id="N1"
            )
    if len(np.unique(train[1])) < 2:
        raise DataError("a probe needs train photos of at least two classes", "add photos", id="D1")
    scaler = StandardScaler().fit(train[0].astype(np.float64))
    scaled = (train[0].astype(np.float64) - scaler.mean_) / scaler.scale_
    model = LogisticRegression(max_iter=MOST_STEPS, warm_start=True)
    found: list[Probe] = []
    for c in sorted(grid) if len(val[1]) else (C_WITHOUT_VAL,):
        model.set_params(C=c)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(scaled, train[1])
        weight, bias = _linear(model, scaled, num_classes)
        fitted = Probe(
            c=c,
            val_top1=None,
            val_loss=None,
            weight=weight / scaler.scale_,
            bias=bias - (weight / scaler.scale_) @ scaler.mean_,
            note=f"the fit with C = {c:g} had not converged" if caught else "",
        )
        found.append(_judged(fitted, *val) if len(val[1]) else fitted)
    return min(found, key=lambda probe: probe.val_loss or 0.0)  # the first, most restrained, of equals


def _judged(probe: Probe, features_ND: npt.NDArray[np.floating], labels: Ints) -> Probe:
    """The probe with its scores on val."""
    logits_NC = probe.logits(features_ND)
    top1 = float((logits_NC.argmax(axis=1) == labels).mean())
    return replace(probe, val_top1=top1, val_loss=calibrated_loss(logits_NC, labels))


def _linear(model: LogisticRegression, scaled: Floats, num_classes: int) -> tuple[Floats, Floats]:
    """Weights [C, D] and bias [C] on standardised features; classes never seen stand below the others."""
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two classes: sklearn keeps the difference alone
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    all_weights = np.zeros((num_classes, weight.shape[1]))
    all_biases = np.full(num_classes, float((scaled @ weight.T + bias).min()) - 1.0)
    all_weights[model.classes_], all_biases[model.classes_] = weight, bias
    return all_weights, all_biases


def majority_baseline(train_counts: Sequence[int], labels: Ints) -> tuple[int, float]:
    """The class most frequent in train, and the share of labelled photos that this one answer gets right."""
    majority = int(np.argmax(train_counts))
    known = labels[labels >= 0]
    return majority, majority_score(known, majority) if len(known) else 0.0

"""Is a confidence of 80 % right 80 times in 100? Calibration error, and the one number that mends most of it.

Legend: N photos, C classes. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from deitft.core.keys import generator, key
from deitft.evaluation.predictions import Floats, Ints, softmax
from deitft.evaluation.statistics import DRAWS, Groups, Interval, bootstrap_interval

BINS = 15
TEMPERATURES = (0.05, 20.0)
"""A temperature outside is no calibration any more: val is separated perfectly, or the model knows nothing."""

ENOUGH_PHOTOS = 20
"""Val photos below which one temperature would be chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Photos whose confidence lies in (low, high]; ``confidence`` and ``accuracy`` are means, None where empty."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability_bins(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = BINS) -> list[ReliabilityBin]:
    """Bins of equal width over 0..1 for N photos' confidence and whether the answer was right."""
    places = _places(confidence, bins)
    counts = np.bincount(places, minlength=bins)
    sums = np.bincount(places, weights=confidence, minlength=bins)
    right = np.bincount(places, weights=correct, minlength=bins)
    return [
        ReliabilityBin(
            low=index / bins,
            high=(index + 1) / bins,
            count=int(count),
            confidence=float(sums[index] / count) if count else None,
            accuracy=float(right[index] / count) if count else None,
        )
        for index, count in enumerate(counts)
    ]


def _places(confidence: Floats, bins: int) -> Ints:
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: |accuracy - confidence| of each bin, weighted by its share of the N photos.

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3, with 15 bins of equal width.
    """
    if not len(confidence):
        return 0.0
    gap = np.bincount(_places(confidence, bins), weights=confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def calibration_interval(
    confidence: Floats,
    correct: npt.NDArray[np.bool_],
    *,
    groups: Groups | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """95 % interval of ``calibration_error``, which chance only ever adds to.

    Bootstrap draws lie above the truth, so their upper end is kept and mirrored at the estimate for the lower one
    (Davison and Hinkley 1997, section 5.2). The lower end is 0 where answers drawn with just these confidences
    would look as bad in more than one case of forty (Broecker and Smith 2007, consistency resampling).
    """
    error = calibration_error(confidence, correct)
    low, high = bootstrap_interval(calibration_error, confidence, correct, groups=groups, draws=draws, seed=seed)
    random = generator(key("calibrated", seed, draws))
    by_chance = [calibration_error(confidence, random.random(len(confidence)) < confidence) for _ in range(draws)]
    if error <= float(np.quantile(by_chance, 0.975)):
        return 0.0, high
    return max(0.0, min(low, 2 * error - high)), high


def negative_log_likelihood(
    logits_NC: npt.NDArray[np.floating], labels: Ints, temperature: float = 1.0, doubt: float = 0.0
) -> float:
    """Mean over N photos of -log p(label), in nats, of logits divided by ``temperature``.

    ``doubt`` is the share of each photo that is spread evenly over the classes of the other labels.
    """
    scaled = logits_NC.astype(np.float64) / temperature
    top = scaled.max(axis=1)
    own = scaled[np.arange(len(labels)), labels]
    wanted = own
    if doubt:
        others = (scaled.sum(axis=1) - own) / (scaled.shape[1] - 1)
        wanted = (1 - doubt) * own + doubt * others
    return float((np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top - wanted).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureFit:
    """A temperature, the val NLL without and with it (nats a photo), and why it is not what was hoped for."""

    temperature: float
    n: int
    nll_before: float | None
    nll_after: float | None
    note: str = ""

    def record(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


def _best_temperature(logits_NC: npt.NDArray[np.floating], labels: Ints, doubt: float) -> tuple[float, float]:
    """The temperature of the smallest NLL, and that NLL."""
    low, high = (math.log(limit) for limit in TEMPERATURES)
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits_NC, labels, math.exp(log), doubt),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.clip(math.exp(found.x), *TEMPERATURES)), float(found.fun)


def calibrated_loss(logits_NC: npt.NDArray[np.floating], labels: Ints) -> float:
    """What models are chosen by: the NLL of N labelled photos, in nats, at the temperature that suits them best.

    It tells how well answers are told apart, whatever a penalty, label smoothing or mixing did to the size of the
    logits, and it moves by less than top-1 does on a few hundred photos. Targets are Platt's (see
    ``fit_temperature``), so that two models without a mistake can be told apart.
    """
    return _best_temperature(logits_NC, labels, 1 / (len(labels) + 2))[1]


def fit_temperature(logits_NC: npt.NDArray[np.floating], labels: Ints) -> TemperatureFit:
    """The temperature that minimises the NLL of N val photos, those with a label. It never changes an argmax.

    Where no val photo is wrong the NLL falls for ever as T goes to 0. Then the targets are Platt's,
    (n + 1) / (n + 2) in place of 1: confidences end near what n right answers of n can show.
    Source: Guo et al. 2017, section 4.2; Platt 1999, section 2.2. The NLL has one minimum in log T.
    """
    known = labels >= 0
    logits_NC, labels = logits_NC[known], labels[known]
    n = len(labels)
    if n < ENOUGH_PHOTOS:
        nll = negative_log_likelihood(logits_NC, labels) if n else None
        note = (
            f"{n} val photos are too few for a temperature (at least {ENOUGH_PHOTOS}): confidences are as trained"
        )
        return TemperatureFit(temperature=1.0, n=n, nll_before=nll, nll_after=nll, note=note)
    note, doubt = "", 0.0
    if (logits_NC.argmax(axis=1) == labels).all():
        note, doubt = (
            "no val photo is wrong: the temperature leaves room for one mistake that was not seen",
            1 / (n + 2),
        )
    temperature, _ = _best_temperature(logits_NC, labels, doubt)
    if math.log(TEMPERATURES[1]) - math.log(temperature) < 0.01:
        note = "the model does no better than chance on val: the temperature stands at its upper limit"
    return TemperatureFit(
        temperature=temperature,
        n=n,
        nll_before=negative_log_likelihood(logits_NC, labels),
        nll_after=negative_log_likelihood(logits_NC, labels, temperature),
        note=note,
    )


def confidences(logits_NC: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """The largest probability of each row, float64 [N]."""
    return np.asarray(softmax(logits_NC, temperature).max(axis=1))

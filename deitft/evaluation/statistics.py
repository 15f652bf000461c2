"""How sure are we? Intervals and paired tests, each with its source. Chance is keyed: same input, same interval.

No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtri

from deitft.core.keys import generator, key
from deitft.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Groups = Sequence[object] | npt.NDArray[Any]
Interval = tuple[float, float]

DRAWS = 2000
CONFIDENCE = 0.95

_CELLS = 4_000_000
"""Array cells a block of draws may take: memory stays flat whatever the number of photos."""


def normal_quantile(confidence: float) -> float:
    """The two-sided quantile of the normal distribution: 1.96 for 0.95."""
    return float(ndtri(0.5 + confidence / 2))


def wilson_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of a share of ``n`` independent photos; (0, 1) where there are none.

    Source: Wilson 1927; holds its coverage for small n and shares near 0 and 1 (Brown, Cai, DasGupta 2001).
    """
    if n == 0:
        return 0.0, 1.0
    return score_interval(successes / n, n, normal_quantile(confidence))


def score_interval(share: float, n: float, quantile: float) -> Interval:
    """Wilson's interval of a share for ``n`` > 0 photos (not always a whole number) and any ``quantile``."""
    z = quantile
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return low, high


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: npt.NDArray[Any],
    groups: Groups | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Interval of ``statistic(*arrays)`` by drawing photos (first axis), or whole ``groups``, with replacement.

    Percentiles of the draws; the same value in all of them gives an interval of width 0.
    Source: Efron and Tibshirani 1993, chapter 13.
    """
    n = len(arrays[0])
    members = _members(groups, n)
    random = generator(key("bootstrap", seed, draws))
    values = np.empty(draws)
    for draw in range(draws):
        if members is None:
            chosen = random.integers(0, n, n)
        else:
            chosen = np.concatenate([members[index] for index in random.integers(0, len(members), len(members))])
        values[draw] = statistic(*(array[chosen] for array in arrays))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def group_numbers(groups: Groups | None, n: int) -> Ints | None:
    """Groups as whole numbers from 0, None where every photo is its own."""
    if groups is None:
        return None
    if len(groups) != n:
        raise DataError(f"{len(groups)} groups for {n} photos", "give each photo one group", id="GROUPS")
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def _members(groups: Groups | None, n: int) -> list[Ints] | None:
    numbers = group_numbers(groups, n)
    if numbers is None:
        return None
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided p of McNemar's exact test: ``b`` photos only the one model got right, ``c`` only the other.

    Source: McNemar 1947, with the binomial in place of chi-square: 2 P(X <= min(b, c)), X ~ Bin(b + c, 1/2).
    """
    if b == c:
        return 1.0
    return float(min(1.0, 2 * bdtr(min(b, c), b + c, 0.5)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Top-1 of model A minus that of model B on the same photos, with an interval and a two-sided p.

    ``only_a`` and ``only_b`` count the photos that only one of them got right.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    only_a: int
    only_b: int
    groups: int | None = None

    def record(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


def paired_difference(
    correct_a: npt.NDArray[np.bool_],
    correct_b: npt.NDArray[np.bool_],
    groups: Groups | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> PairedDifference:
    """Compare two models on the same N photos (bool [N] each, in the same order).

    Without groups: interval by bootstrap over photos, p of the exact McNemar test. With groups (photos of one
    product are not independent): interval by bootstrap over groups, p by swapping the models' names in groups.
    The bootstrap knows only what it has seen: where that is narrower than the adjusted Wald interval of Bonett and
    Price 2012 (in the extreme: no photo told the models apart, width 0), the wider end is taken.
    """
    if correct_a.shape != correct_b.shape or not len(correct_a):
        raise DataError(
            f"two models were judged on {len(correct_a)} and {len(correct_b)} photos",
            "judge both on the same photos",
            id="PAIRS",
        )
    n = len(correct_a)
    gain = correct_a.astype(np.int64) - correct_b.astype(np.int64)
    only_a, only_b = int((gain > 0).sum()), int((gain < 0).sum())
    numbers = group_numbers(groups, n)
    sums, sizes = gain.astype(np.float64), np.ones(n)
    if numbers is not None:
        sums = np.bincount(numbers, weights=gain).astype(np.float64)
        sizes = np.bincount(numbers).astype(np.float64)
    low, high = _ratio_interval(sums, sizes, draws, seed, confidence)
    plain_low, plain_high = _adjusted_wald(int((sums > 0).sum()), int((sums < 0).sum()), len(sums), confidence)
    if numbers is None or not sums.any():
        low, high = min(low, plain_low), max(high, plain_high)
    return PairedDifference(
        difference=float(gain.mean()),
        low=max(-1.0, low),
        high=min(1.0, high),
        p=mcnemar_exact(only_a, only_b) if numbers is None else _swap_p(sums, seed),
        n=n,
        only_a=only_a,
        only_b=only_b,
        groups=None if numbers is None else len(sums),
    )


def _ratio_interval(sums: Floats, sizes: Floats, draws: int, seed: int, confidence: float) -> Interval:
    """Percentile bootstrap of sum(sums) / sum(sizes) over units; their order changes nothing."""
    order = np.lexsort((sizes, sums))
    sums, sizes = sums[order], sizes[order]
    random = generator(key("paired", seed, draws))
    values = []
    block = max(1, _CELLS // len(sums))
    for start in range(0, draws, block):
        chosen = random.integers(0, len(sums), (min(block, draws - start), len(sums)))
        values.append(sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1))
    low, high = np.quantile(np.concatenate(values), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _adjusted_wald(b: int, c: int, n: int, confidence: float) -> Interval:
    """Bonett and Price 2012: Wald's interval for paired shares with one photo added to each discordant cell."""
    first, second = (b + 1) / (n + 2), (c + 1) / (n + 2)
    centre = first - second
    half = normal_quantile(confidence) * math.sqrt((first + second - centre**2) / (n + 2))
    return centre - half, centre + half


def _swap_p(sums: Floats, seed: int, draws: int = 9999) -> float:
    """Two-sided p: how often the difference is as large when each group swaps the models' names at random."""
    sums = np.sort(sums)  # the order of the units changes nothing
    random = generator(key("swap", seed, draws))
    seen = abs(float(sums.sum()))
    hits = 0
    block = max(1, _CELLS // len(sums))
    for start in range(0, draws, block):
        signs = random.integers(0, 2, (min(block, draws - start), len(sums))) * 2 - 1
        hits += int((np.abs(signs @ sums) >= seen - 1e-9).sum())
    return (hits + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order; each below alpha is significant with all the others at one error rate.

    Source: Holm 1979, step-down: the i-th smallest of m is multiplied by m - i + 1 and never below its forerunner.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted

"""One model's top-1, and one model's minus another's, with what other photos and another training would change.

Photos are paired (both models saw the same), seeds are not. The methods stand in ``docs/concepts/which-model.md``,
their coverage in ``benchmarks/coverage_of_intervals.py``. Legend: S seeds, N photos. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from deitft.evaluation.statistics import (
    CONFIDENCE,
    DRAWS,
    Groups,
    normal_quantile,
    paired_difference,
    score_interval,
    wilson_interval,
)
from deitft.evaluation.variance_components import (
    Bools,
    Components,
    Units,
    components,
    judged_photos,
    satterthwaite,
    units_of,
)

SeedPart = Literal["counted", "borrowed", "left out"]
"""Is the variance over seeds in the interval? "borrowed": one model has one seed, the other's variance counts for
both. "left out": nobody knows it, so another training may change more than the interval says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopOne:
    """Top-1 of a model, averaged over its seeds, with an interval; ``seed_sd`` is None for one seed.

    ``groups`` is None where each photo is its own. ``df`` are the degrees of freedom, None where no t is used.
    """

    top1: float
    low: float
    high: float
    seed_sd: float | None
    seeds: int
    photos: int
    groups: int | None
    df: float | None

    def record(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the variance of a difference is made of; enough to foretell it for other numbers of photos and seeds.

    Per photo: ``photo`` (what photos do to the difference, whatever the seed), ``within_a`` and ``within_b`` (what
    a seed makes of a photo). Per seed: ``between_a``, ``between_b``. 0 where not known.
    """

    photo: float
    within_a: float
    within_b: float
    between_a: float
    between_b: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifference:
    """Top-1 of model A minus that of model B on the same photos, interval and two-sided p.

    ``only_a`` and ``only_b`` are the photos that only one got right: with several seeds the mean over all pairs of
    a seed of A and a seed of B. ``df`` is None where no t is used (one seed each: exact McNemar, bootstrap).
    """

    difference: float
    low: float
    high: float
    p: float
    photos: int
    groups: int | None
    seeds_a: int
    seeds_b: int
    seed_sd_a: float | None
    seed_sd_b: float | None
    seed_part: SeedPart
    only_a: float
    only_b: float
    df: float | None
    sources: Sources

    def not_inferior(self, margin: float) -> bool:
        """Is A shown not to be worse than B by ``margin``? By the interval's lower end: 2.5 %, one-sided."""
        return self.low > -margin

    def record(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


def top_one(correct: Bools, groups: Groups | None = None, *, confidence: float = CONFIDENCE) -> TopOne:
    """Top-1 (or any share of photos) of one model from ``correct`` [S, N], with the interval for other photos and
    other seeds.

    One seed and photos by themselves: Wilson's interval. Several seeds, or groups: Wilson's with the number of
    independent photos that would have the same variance, and t in place of the normal quantile (Korn and
    Graubard 1998 do so for surveys).

    Raises:
        DataError: no photos (PAIRS), or groups of another length (GROUPS).
    """
    photos = judged_photos(correct)
    units = units_of(groups, photos)
    parts = components(correct, units)
    if parts.seeds == 1 and units.numbers is None:
        (low, high), df = wilson_interval(int(parts.photo_means.sum()), photos, confidence), None
    else:
        low, high, df = _of_variance(parts, units, confidence)
    return TopOne(
        top1=parts.top1,
        low=low,
        high=high,
        seed_sd=parts.seed_sd,
        seeds=parts.seeds,
        photos=photos,
        groups=None if units.numbers is None else units.count,
        df=df,
    )


def _of_variance(parts: Components, units: Units, confidence: float) -> tuple[float, float, float | None]:
    """(low, high, df)."""
    photo = units.variance_of_mean(parts.photo_means - parts.top1)
    terms = [(photo, units.count - 1)]
    variance = photo
    if parts.seeds > 1:
        variance += parts.between_seeds / parts.seeds
        terms.append((parts.seed_square / parts.seeds, parts.seeds - 1))
    if variance == 0 or math.isinf(variance):  # all right, all wrong, or a single group
        return *score_interval(parts.top1, units.count, t_quantile(math.inf, confidence)), None
    df = satterthwaite(variance, terms)
    n = min(parts.top1 * (1 - parts.top1) / variance, units.photos * parts.seeds)
    return *score_interval(parts.top1, n, t_quantile(df, confidence)), df


def t_quantile(df: float, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's t; the normal one for infinite ``df``."""
    return normal_quantile(confidence) if math.isinf(df) else float(stdtrit(min(df, 1e9), 0.5 + confidence / 2))


def compare_models(
    correct_a: Bools,
    correct_b: Bools,
    groups: Groups | None = None,
    *,
    fixed_b: bool = False,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> ModelDifference:
    """Compare two models [S, N] on the same N photos, in the same order; S may differ between them.

    One seed each: the exact McNemar test and the paired bootstrap (``paired_difference``), seeds left out. Else
    t with Satterthwaite's degrees of freedom on the sum of the photos' and both models' seed variance, the part
    that would be counted twice taken out once. With one seed on one side the other's seed variance is borrowed.
    ``fixed_b`` says that B depends on no seed (a frozen probe): it adds no seed variance and borrows none.

    Raises:
        DataError: other photos (PAIRS), or groups of another length (GROUPS).
    """
    photos = judged_photos(correct_a, correct_b)
    units = units_of(groups, photos)
    a, b = components(correct_a, units), components(correct_b, units)
    photo_part = _photo_variance(a, b, units)
    seeds = _SeedVariance.of(a, b, fixed_b)
    difference = a.top1 - b.top1
    if seeds.part == "left out":
        old = paired_difference(
            np.atleast_2d(correct_a)[0],
            np.atleast_2d(correct_b)[0],
            units.numbers,
            draws=DRAWS,
            seed=seed,
            confidence=confidence,
        )
        low, high, p, df = old.low, old.high, old.p, None
    else:
        low, high, p, df = _t_interval(difference, photo_part, seeds, units, confidence)
    return ModelDifference(
        difference=difference,
        low=max(-1.0, low),
        high=min(1.0, high),
        p=p,
        photos=photos,
        groups=None if units.numbers is None else units.count,
        seeds_a=a.seeds,
        seeds_b=b.seeds,
        seed_sd_a=a.seed_sd,
        seed_sd_b=b.seed_sd,
        seed_part=seeds.part,
        only_a=float((a.photo_means * (1 - b.photo_means)).sum()),
        only_b=float((b.photo_means * (1 - a.photo_means)).sum()),
        df=df,
        sources=seeds.sources(a, b, photo_part, photos),
    )


def _photo_variance(a: Components, b: Components, units: Units) -> float:
    """Of the paired difference over photos; never less than if nothing at all had told the models apart.

    That floor is the adjusted interval of Bonett and Price 2012 for no discordant photo, 2 / (n + 2)^2. Where the
    photos come in groups and none tells the models apart, nobody knows how alike those of a group are: n is then
    the number of groups.
    """
    if units.count < 2:
        return 1.0  # the most that a difference between -1 and 1 can have
    gain = a.photo_means - b.photo_means
    independent = units.photos if gain.any() else units.count
    return max(units.variance_of_mean(gain - gain.mean()), 2 / (independent + 2) ** 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SeedVariance:
    """The seeds' part of a difference: its variance, and the mean squares it is made of."""

    part: SeedPart
    variance: float
    terms: tuple[tuple[float, float], ...]
    between_a: float
    between_b: float

    @classmethod
    def of(cls, a: Components, b: Components, fixed_b: bool) -> _SeedVariance:
        share_a, share_b = 1 / a.seeds, 0.0 if fixed_b else 1 / b.seeds
        drawn = [(a, share_a)] if fixed_b else [(a, share_a), (b, share_b)]
        known = [(model, share) for model, share in drawn if model.seeds > 1]
        if not known:
            return cls(part="left out", variance=0.0, terms=(), between_a=0.0, between_b=0.0)
        if len(known) < len(drawn):  # one mean square counts for both
            known = [(known[0][0], share_a + share_b)]
        between_a, between_b = (
            model.between_seeds if model.seeds > 1 else known[0][0].between_seeds for model in (a, b)
        )
        return cls(
            part="counted" if len(known) == len(drawn) else "borrowed",
            variance=sum(share * model.between_seeds for model, share in known),
            terms=tuple((share * model.seed_square, model.seeds - 1) for model, share in known),
            between_a=between_a,
            between_b=0.0 if fixed_b else between_b,
        )

    def sources(self, a: Components, b: Components, photo_part: float, photos: int) -> Sources:
        """Per photo and per seed. What a single seed made of a photo cannot be told from the photo's own part."""
        within_a, within_b = (0.0 if model.seeds == 1 else model.interaction * photos for model in (a, b))
        shared = photo_part * photos - within_a / a.seeds - within_b / b.seeds
        return Sources(
            photo=max(0.0, shared),
            within_a=within_a,
            within_b=within_b,
            between_a=self.between_a,
            between_b=self.between_b,
        )


def _t_interval(
    difference: float, photo_part: float, seeds: _SeedVariance, units: Units, confidence: float
) -> tuple[float, float, float, float]:
    """(low, high, p, df)."""
    if units.count < 2:  # a single group
        return -1.0, 1.0, 1.0, 1.0
    variance = photo_part + seeds.variance
    df = satterthwaite(variance, [(photo_part, units.count - 1), *seeds.terms])
    error = math.sqrt(variance)
    half = t_quantile(df, confidence) * error
    p = 2 * float(stdtr(min(df, 1e9), -abs(difference) / error))
    return difference - half, difference + half, p, df

"""How many photos until a difference is told apart? Power of the tests of ``model_difference``, and its inverse.

A planning figure: it takes the difference that was seen for the true one, which with few photos is uncertain.
Legend: N photos, S seeds. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.special import bdtr, bdtrik, gammaincinv, gammaln, ndtr, ndtri, stdtrit, xlog1py, xlogy

from deitft.evaluation.model_difference import ModelDifference
from deitft.evaluation.statistics import Floats

POWER = 0.8
ALPHA = 0.05

MOST_PHOTOS = 10_000_000
"""What takes more photos than this is not told apart by photos."""

MOST_SEEDS = 50

FAR = 10
"""From so many times the present photos on, more seeds are looked at as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotosNeeded:
    """Photos until the difference that was seen is told apart with ``power`` at a two-sided ``alpha``.

    ``photos`` is None where no number is enough (the seeds' variance stays, or no difference was seen), or where
    it passes ``MOST_PHOTOS``. ``more_seeds`` is then, or where ``photos`` is far off, (seeds a model, photos): the
    fewest seeds with which at most ten times the present photos are enough; None without such a number.
    """

    photos: int | None
    more_seeds: tuple[int, int] | None
    power: float
    alpha: float

    def record(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


def photos_needed(
    found: ModelDifference, *, margin: float | None = None, power: float = POWER, alpha: float = ALPHA
) -> PhotosNeeded:
    """How many photos would be enough for the difference ``found``, with the seeds there are.

    With ``margin``: until A is shown not to be worse than B by it (one-sided, half of ``alpha``). One seed each,
    no groups and no margin: of the exact McNemar test, from the discordant photos. Else of the t test, from the
    sources of variance; photos of groups come in groups as large as now.
    """
    if margin is not None:
        found = replace(found, difference=max(0.0, found.difference + margin))
    if found.difference == 0:
        return PhotosNeeded(photos=None, more_seeds=None, power=power, alpha=alpha)
    if found.seed_part == "left out" and found.groups is None and margin is None:
        first, second = found.only_a / found.photos, found.only_b / found.photos
        start = connor_photos(first, second, power=power, alpha=alpha)
        photos = _least(lambda n: mcnemar_power(n, first, second, alpha) >= power, start // 2)
        return PhotosNeeded(photos=photos, more_seeds=None, power=power, alpha=alpha)

    def enough(photos: int, seeds_a: int, seeds_b: int) -> bool:
        return difference_power(found, photos, seeds_a, seeds_b, alpha) >= power

    photos = _least(lambda n: enough(n, found.seeds_a, found.seeds_b))
    more = None
    far = FAR * found.photos
    if found.seed_part != "left out" and (photos is None or photos > far):
        fewest = max(found.seeds_a, found.seeds_b) + 1
        seeds = next((count for count in range(fewest, MOST_SEEDS + 1) if enough(far, count, count)), None)
        at = None if seeds is None else _least(lambda n: enough(n, seeds, seeds))
        more = None if seeds is None or at is None else (seeds, max(at, found.photos))
    return PhotosNeeded(photos=photos, more_seeds=more, power=power, alpha=alpha)


def difference_power(
    found: ModelDifference, photos: int, seeds_a: int, seeds_b: int, alpha: float = ALPHA
) -> float:
    """Power of the t test of ``compare_models`` with so many photos and seeds, for the difference of ``found``.

    The mean squares of the seeds are drawn from their chi-square distributions (as quantiles, evenly), and the
    test is done with each: with three seeds their spread costs power that a formula for the expected ones does
    not see. The photos' mean square is taken as known.
    """
    parts = found.sources
    units = photos if found.groups is None else photos * found.groups / found.photos
    if units < 2:
        return 0.0
    photo = (parts.photo + parts.within_a / seeds_a + parts.within_b / seeds_b) / photos
    inside_a, inside_b = parts.within_a / photos, parts.within_b / photos
    if found.seed_part == "borrowed":  # one mean square for both models, of the one with seeds
        between, inside, seeds = max(
            (parts.between_a, inside_a, seeds_a), (parts.between_b, inside_b, seeds_b), key=_seeds
        )
        models = [(between, inside, seeds, 1 / seeds_a + 1 / seeds_b)]
    else:
        each = ((parts.between_a, inside_a, seeds_a), (parts.between_b, inside_b, seeds_b))
        models = [(*model, 1 / model[2]) for model in each if found.seed_part == "counted" and model[2] > 1]
    true = photo + sum(between * share for between, _, _, share in models)
    estimate, below = np.array(photo), np.array(photo**2 / (units - 1))
    for axis, (between, inside, seeds, share) in enumerate(models):
        drawn = (between + inside) * _chi_square_quantiles(seeds - 1)
        drawn = drawn.reshape(-1, *[1] * axis)
        estimate = estimate + share * np.maximum(0.0, drawn - inside)
        below = below + (share * drawn) ** 2 / (seeds - 1)
    if not true:
        return 1.0
    critical = stdtrit(np.clip(estimate**2 / below, 1, 1e9), 1 - alpha / 2) * np.sqrt(estimate)
    away, error = abs(found.difference), math.sqrt(true)
    return float((ndtr((away - critical) / error) + ndtr((-away - critical) / error)).mean())


def _seeds(model: tuple[float, float, int]) -> int:
    return model[2]


def _chi_square_quantiles(df: int, count: int = 24) -> Floats:
    """``count`` mid-points of quantiles, which stand for a chi-square variable over its degrees of freedom."""
    middle = (np.arange(count) + 0.5) / count
    return np.asarray(2 * gammaincinv(df / 2, middle) / df)


def connor_photos(first: float, second: float, *, power: float = POWER, alpha: float = ALPHA) -> int:
    """Photos for McNemar's test by the normal approximation (Connor 1987): a start for the exact number.

    ``first`` and ``second`` are the shares of photos that only the one, only the other model gets right.
    """
    discordant, difference = first + second, first - second
    spread = math.sqrt(max(0.0, discordant - difference**2))
    root = float(ndtri(1 - alpha / 2)) * math.sqrt(discordant) + float(ndtri(power)) * spread
    return math.ceil((root / difference) ** 2)


def mcnemar_power(photos: int, first: float, second: float, alpha: float = ALPHA) -> float:
    """Power of the exact two-sided McNemar test: summed over how many of ``photos`` the models may differ on.

    ``first`` and ``second`` as in ``connor_photos``; what lies 9 standard deviations off is left out.
    """
    discordant, share = first + second, first / (first + second)
    middle, reach = photos * discordant, 9 * math.sqrt(photos * discordant * (1 - discordant)) + 1
    counts = np.arange(max(1, math.floor(middle - reach)), min(photos, math.ceil(middle + reach)) + 1)
    # The largest k for which P(X <= k) is at most alpha / 2; -1 where there is none. bdtrik inverts in real
    # numbers, so the whole number beside it is looked at too.
    k = np.floor(np.nan_to_num(bdtrik(alpha / 2, counts, 0.5), nan=-1)) + 1
    for _ in range(2):
        k -= np.where((k >= 0) & (bdtr(np.maximum(k, 0), counts, 0.5) > alpha / 2), 1, 0)
    lower = np.where(k >= 0, bdtr(np.maximum(k, 0), counts, share), 0.0)
    upper = np.where(k >= 0, bdtr(np.maximum(k, 0), counts, 1 - share), 0.0)
    log_weight = gammaln(photos + 1) - gammaln(counts + 1) - gammaln(photos - counts + 1)
    log_weight += xlogy(counts, discordant) + xlog1py(photos - counts, -discordant)
    return float((np.exp(log_weight) * (lower + upper)).sum())


def _least(enough: Callable[[int], bool], start: int = 4) -> int | None:
    """The least number for which ``enough`` holds, by doubling and halving; None up to ``MOST_PHOTOS``."""
    high = max(4, start)
    if enough(high):
        low = 1
    else:
        low = high
        while not enough(high):
            low, high = high, 2 * high
            if low > MOST_PHOTOS:
                return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def about(count: int) -> int:
    """Rounded up to two digits, as a plan should be: 1,873 is 1,900."""
    if count < 100:
        return count
    step = int(10 ** (len(str(count)) - 2))
    return -(-count // step) * step

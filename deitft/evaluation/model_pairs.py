"""All pairs of several models on the same photos: told apart or not, p corrected for many pairs, in plain words.

No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from deitft.evaluation.model_difference import ModelDifference, compare_models
from deitft.evaluation.power import ALPHA, PhotosNeeded, about, photos_needed
from deitft.evaluation.statistics import Groups, holm
from deitft.evaluation.variance_components import Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Model ``a`` (the better one here) against ``b``.

    ``p`` is adjusted for all pairs (Holm). They are told apart where it is below 5 % and the interval, which is
    that of this pair alone, leaves 0 out. ``needed`` is None where they are told apart.
    """

    a: str
    b: str
    found: ModelDifference
    p: float
    told_apart: bool
    needed: PhotosNeeded | None

    @property
    def sentence(self) -> str:
        """One plain sentence, without a full stop."""
        if self.told_apart:
            low, high = points(self.found.low), points(self.found.high)
            return (
                f"{self.a} beats {self.b} by {amount(self.found.difference)} ({low} to {high}, {p_text(self.p)})"
            )
        apart = f"{self.a} and {self.b} cannot be told apart on {self.found.photos:,} photos"
        if self.found.difference == 0:
            return f"{apart}: they got equally many right"
        return f"{apart}; {needed_text(self.found, self.needed)}" if self.needed else apart

    def record(self) -> dict[str, object]:
        """Plain data."""
        return {**asdict(self), "sentence": self.sentence}


def all_pairs(
    models: Mapping[str, Bools], groups: Groups | None = None, *, alpha: float = ALPHA, seed: int = 0
) -> tuple[Pair, ...]:
    """Every pair of ``models`` (name to ``correct`` [S, N], the same photos in the same order), best models first.

    Photos needed are counted at Holm's level for the pairs that are left, ``alpha`` divided by their number.

    Raises:
        DataError: other photos (PAIRS), or groups of another length (GROUPS).
    """
    names = sorted(models, key=lambda name: -float(models[name].mean()))
    found = [(a, b, compare_models(models[a], models[b], groups, seed=seed)) for a, b in combinations(names, 2)]
    pairs = []
    adjusted = holm([row[2].p for row in found])
    left = max(1, sum(p >= alpha for p in adjusted))
    for (a, b, difference), p in zip(found, adjusted, strict=True):
        apart = p < alpha and not difference.low <= 0 <= difference.high
        needed = None if apart else photos_needed(difference, alpha=alpha / left)
        pairs.append(Pair(a=a, b=b, found=difference, p=p, told_apart=apart, needed=needed))
    return tuple(pairs)


def seed_note(found: Sequence[ModelDifference]) -> str | None:
    """What has to be said of seeds beside these differences; None where every one has its own variance in it."""
    parts = {one.seed_part for one in found}
    if "left out" in parts:
        return "With one seed a model, what another training would change is not in the figures"
    if "borrowed" in parts:
        return "For a model with one seed, the variance over seeds is taken from the other one"
    return None


def points(share: float) -> str:
    """A difference in percentage points, "-0.3"; never "-0.0"."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def amount(share: float) -> str:
    """ "1.0 point", "2.1 points"."""
    text = points(share)
    return f"{text} point" if text == "1.0" else f"{text} points"


def p_text(p: float) -> str:
    """ "p = 0.002", "p = 0.03", "p < 0.001"."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.01 else f"p = {p:.2f}"


def needed_text(found: ModelDifference, needed: PhotosNeeded) -> str:
    """ "some 1,900 would be needed", or what else would be."""
    if needed.photos is not None and needed.more_seeds is None:
        return f"some {about(needed.photos):,} would be needed"
    few, many = sorted((found.seeds_a, found.seeds_b))
    now = f"{few} seeds each" if few == many else f"{few} and {many} seeds"
    start = f"with {now} no number of photos would be enough"
    if needed.photos is not None:
        start = f"with {now} some {about(needed.photos):,} would be needed"
    elif found.seed_part == "left out":
        start = "no number of photos would be enough"
    if needed.more_seeds is None:
        return start
    seeds, photos = needed.more_seeds
    return f"{start}, with {seeds} seeds each some {about(photos):,} would"

"""Where does the variance of a top-1 come from? Photos, seeds of training, and what each seed makes of each photo.

S seeds judged on the same N photos are a crossed design with both random: other photos would have changed the
figure, and another training too. Pooling the S x N answers as if they were independent forgets both. The mean
squares are those of two-way analysis of variance; with groups (photos of one article) they are sums over groups,
as in two-way clustered standard errors (Cameron, Gelbach and Miller 2011). Radiology calls the design multi-reader
multi-case: readers are our seeds, cases our photos (Obuchowski and Rockette 1995; Hillis 2014).

Legend: S seeds, N photos, G groups. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deitft.errors import DataError
from deitft.evaluation.statistics import Floats, Groups, Ints, group_numbers

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Units:
    """What is drawn together: single photos (``numbers`` None), or groups, as whole numbers from 0 [N]."""

    photos: int
    numbers: Ints | None
    count: int

    def sums(self, values: Floats) -> Floats:
        """Sums over each unit: [..., N] to [..., G]."""
        if self.numbers is None:
            return values
        rows = values.reshape(-1, self.photos)
        summed = [np.bincount(self.numbers, weights=row, minlength=self.count) for row in rows]
        return np.array(summed, dtype=np.float64).reshape(*values.shape[:-1], self.count)

    def variance_of_mean(self, residuals: Floats) -> float:
        """Variance of the mean over photos, from residuals [N] about it; units are independent of each other.

        G / (G - 1) times the sum of the squared unit sums, over N^2: for single photos the usual variance / N.
        One unit alone says nothing: infinite.
        """
        if self.count < 2:
            return math.inf
        return float((self.sums(residuals) ** 2).sum() * self.count / (self.count - 1) / self.photos**2)


def units_of(groups: Groups | None, photos: int) -> Units:
    """Groups as units; where each photo is alone in its group there are no groups.

    Raises:
        DataError: another number of groups than of photos (GROUPS).
    """
    numbers = group_numbers(groups, photos)
    count = photos if numbers is None else int(numbers.max(initial=-1)) + 1
    return Units(photos, None if count == photos else numbers, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """One model's top-1 taken apart.

    ``photo_means`` [N] is the share of seeds that got a photo right, ``seed_means`` [S] the top-1 of each seed.
    ``seed_square`` is the variance (n - 1) of the seed means. It holds the variance between seeds, and
    ``interaction``: what one seed's mean varies by because seeds differ photo by photo. Both are NaN for one seed.
    """

    top1: float
    photo_means: Floats
    seed_means: Floats
    seed_square: float
    interaction: float

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.seed_means)

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation (n - 1) of the seeds' top-1, as it is; None for one seed."""
        return math.sqrt(self.seed_square) if self.seeds > 1 else None

    @property
    def between_seeds(self) -> float:
        """Variance of one training's true top-1, the photos' part taken out; not below 0. NaN for one seed."""
        return max(0.0, self.seed_square - self.interaction) if self.seeds > 1 else math.nan


def components(correct: Bools, units: Units) -> Components:
    """Take ``correct`` [S, N] apart (a single seed may come as [N])."""
    answers = np.atleast_2d(correct).astype(np.float64)
    seeds = len(answers)
    photo_means, seed_means = answers.mean(axis=0), answers.mean(axis=1)
    top1 = float(seed_means.mean())
    square = interaction = math.nan
    if seeds > 1:
        square = float(seed_means.var(ddof=1))
        rest = answers - photo_means - seed_means[:, None] + top1
        # Of a single group, what a seed makes of it and what the seed is cannot be told apart.
        interaction = sum(units.variance_of_mean(row) for row in rest) / (seeds - 1) if units.count > 1 else 0.0
    return Components(
        top1=top1, photo_means=photo_means, seed_means=seed_means, seed_square=square, interaction=interaction
    )


def judged_photos(*models: Bools) -> int:
    """How many photos all these models [S, N] were judged on.

    Raises:
        DataError: not the same number, or none (PAIRS).
    """
    counts = [np.atleast_2d(correct).shape[1] if correct.size else 0 for correct in models]
    if min(counts) != max(counts) or not counts[0]:
        among = " and ".join(str(count) for count in dict.fromkeys(counts))
        raise DataError(f"models were judged on {among} photos", "judge all on the same photos", id="PAIRS")
    return counts[0]


def satterthwaite(total: float, terms: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a variance made of independent mean squares: total^2 / sum(term^2 / df).

    ``terms`` are (mean square with its coefficient, its degrees of freedom), without those taken off the total.
    Source: Satterthwaite 1946; for this design Hillis 2007. At least 1: fewer would be an artefact of the
    subtraction.
    """
    below = sum(term**2 / df for term, df in terms)
    return max(1.0, total**2 / below) if below > 0 else math.inf

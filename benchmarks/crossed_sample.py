"""Simulated answers of several models, seeds and photos, with the true top-1 known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri


@dataclass(frozen=True, kw_only=True)
class Population:
    """A photo is hard by a latent normal number of variance 1, in three parts; a model is right up to a threshold.

    ``shared`` by all models, ``own`` of a model whatever its seed, and the rest each seed's own. ``seed_sd`` is of
    a training's true top-1, in shares. ``alike`` is what photos of one group have in common of the first two.
    """

    top1: Sequence[float]
    seed_sd: float = 0.01
    shared: float = 0.5
    own: float = 0.2
    groups: npt.NDArray[np.int64] | None = None
    alike: float = 0.6

    def truth(self) -> list[float]:
        """The true top-1 of each model over photos and seeds."""
        return [float(ndtr(ndtri(share) / np.sqrt(1 + self._shift(share) ** 2))) for share in self.top1]

    def _shift(self, share: float) -> float:
        """The seeds' standard deviation on the latent scale: the slope there is the normal density."""
        return self.seed_sd * np.sqrt(2 * np.pi) * np.exp(ndtri(share) ** 2 / 2)

    def draw(self, draw: np.random.Generator, trials: int, seeds: int, photos: int) -> list[npt.NDArray[np.bool_]]:
        """``correct`` [trials, S, N] of each model, the photos of a trial the same for all."""
        shared = self._photos(draw, trials, photos, self.shared)
        found = []
        for share in self.top1:
            photo = shared + self._photos(draw, trials, photos, self.own)
            latent = photo[:, None, :] + ndtri(share)
            latent = latent + self._shift(share) * draw.standard_normal((trials, seeds, 1))
            rest = np.sqrt(1 - self.shared - self.own)
            found.append(latent + rest * draw.standard_normal((trials, seeds, photos)) > 0)
        return found

    def _photos(self, draw: np.random.Generator, trials: int, photos: int, variance: float) -> np.ndarray:
        if self.groups is None:
            return np.sqrt(variance) * draw.standard_normal((trials, photos))
        together = draw.standard_normal((trials, int(self.groups.max()) + 1))[:, self.groups]
        alone = draw.standard_normal((trials, photos))
        return np.sqrt(variance) * (np.sqrt(self.alike) * together + np.sqrt(1 - self.alike) * alone)

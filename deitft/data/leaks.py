"""Which photos of one side of a split the model has seen on another: the same pictures, or almost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Leaks:
    """For each photo of a catalog: whether its picture, or almost its picture, is among those seen before."""

    same: npt.NDArray[np.bool_]  # [N]
    near: npt.NDArray[np.bool_]  # [N] almost the same, and not ``same``

    def select(self, rows: npt.NDArray[np.int64]) -> Leaks:
        """Some photos, in this order."""
        return Leaks(self.same[rows], self.near[rows])


def leaks_from(catalog: Catalog, split: npt.NDArray[np.int8], seen: Sequence[int]) -> Leaks:
    """What the sides ``seen`` (TRAIN, VAL) have in common with the other photos of a split [N]."""
    before = np.isin(split, seen)
    pictures = catalog.pictures
    known = pictures >= 0
    same = known & ~before & np.isin(pictures, pictures[known & before])
    near = np.zeros(len(catalog), np.bool_)
    near[np.isin(pictures, pictures[_beside(catalog, pictures, before)]) & known] = True
    return Leaks(same, near & ~before & ~same)


def _beside(
    catalog: Catalog, pictures: npt.NDArray[np.int64], before: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Rows that are joined to a photo seen before by one near-duplicate after another."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    near = catalog.pairs
    if not len(near):
        return np.zeros(0, np.int64)
    _, unit = np.unique(pictures, return_inverse=True)
    ends = (unit[near.first], unit[near.second])
    nodes = int(unit.max()) + 1
    _, part = connected_components(coo_array((np.ones(len(near), np.int8), ends), shape=(nodes, nodes)), False)
    linked = np.zeros(len(catalog), np.bool_)
    linked[np.concatenate((near.first, near.second))] = True
    touched = np.zeros(int(part.max()) + 1, np.bool_)
    touched[part[unit[before]]] = True
    return np.flatnonzero(linked & touched[part[unit]])

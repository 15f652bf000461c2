"""Rows of a ledger about runs, grouped and compared photo by photo. What ``tables.py`` prints comes from here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deitft.evaluation.statistics import PairedDifference, holm, paired_difference

Row = Mapping[str, Any]
Kind = tuple[str, str, str]
"""(data, model, recipe)."""


def kind_of(row: Row) -> Kind:
    """What a row is a repetition of, with another seed."""
    subject = row["subject"]
    return subject.get("data", ""), subject["model"], subject["recipe"]


def by_kind(rows: Iterable[Row]) -> dict[Kind, dict[int, Row]]:
    """Rows by what they measure, then by seed; the order is that of the ledger."""
    found: dict[Kind, dict[int, Row]] = {}
    for row in rows:
        found.setdefault(kind_of(row), {})[int(row["subject"]["seed"])] = row
    return found


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation over seeds (n - 1; None for a single one)."""

    mean: float
    sd: float | None
    n: int

    def text(self, digits: int, factor: float = 1.0) -> str:
        """ "91.2 ± 0.4"."""
        if self.sd is None:
            return f"{factor * self.mean:.{digits}f}"
        return f"{factor * self.mean:.{digits}f} ± {factor * self.sd:.{digits}f}"


def spread(values: Sequence[float]) -> Spread | None:
    """None of nothing."""
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B on the same photos with the same seeds: over photos, and over seeds."""

    paired: PairedDifference
    seeds: Spread


def compare(first: Mapping[int, Row], second: Mapping[int, Row]) -> Comparison | None:
    """Top-1 of the first minus that of the second; None where no seed is in both.

    The interval is a bootstrap over photos: all seeds of a photo are drawn together, because they are not
    independent of each other. Beside it the spread of the differences seed by seed, which says what another
    training would change.

    Raises:
        ValueError: the two were not judged on the same photos.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    ours, theirs, photos, by_seed = [], [], [], []
    for seed in shared:
        a, b = _right(first[seed]), _right(second[seed])
        if first[seed]["verdicts"]["photos"] != second[seed]["verdicts"]["photos"] or ((a < 0) != (b < 0)).any():
            raise ValueError(f"{kind_of(first[seed])} and {kind_of(second[seed])}: not the same photos")
        judged = np.flatnonzero(a >= 0)
        ours.append(a[judged] == 1)
        theirs.append(b[judged] == 1)
        photos.append(judged)
        by_seed.append(float(ours[-1].mean() - theirs[-1].mean()))
    groups = np.concatenate(photos) if len(shared) > 1 else None
    over_seeds = spread(by_seed)
    assert over_seeds is not None
    return Comparison(paired_difference(np.concatenate(ours), np.concatenate(theirs), groups), over_seeds)


def _right(row: Row) -> np.ndarray[Any, np.dtype[np.int8]]:
    """1 right, 0 wrong, -1 not judged, a photo."""
    marks = {"1": 1, "0": 0, ".": -1}
    return np.array([marks[mark] for mark in row["verdicts"]["right"]], dtype=np.int8)


def against(rows: Iterable[Row], recipe: str) -> list[tuple[Kind, Kind, Comparison, float]]:
    """Every kind of run against the one of ``recipe`` on the same data: of its own model, else the only one there.

    With each the p-value adjusted (Holm) for all comparisons with this recipe.
    """
    kinds = by_kind(rows)
    found = []
    for kind, runs in kinds.items():
        data, model, own = kind
        others = [other for other in kinds if other[0] == data and other[2] == recipe]
        same = [other for other in others if other[1] == model] or (others if len(others) == 1 else [])
        comparison = compare(runs, kinds[same[0]]) if same and own != recipe else None
        if comparison is not None:
            found.append((kind, same[0], comparison))
    adjusted = holm([comparison.paired.p for _, _, comparison in found])
    return [(*entry, p) for entry, p in zip(found, adjusted, strict=True)]

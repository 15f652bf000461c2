"""Where contenders differ: class by class, photo by photo, and over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import Catalog
from deitft.evaluation.predictions import Ints
from deitft.reporting.compare_data import ClassLine, Curve, Disagreement, Said
from deitft.runs.check_album import Album
from deitft.runs.finished import Contender

MOST_SHOWN = 24
"""Photos shown of those that contenders see differently."""


def class_lines(contenders: Sequence[Contender]) -> list[ClassLine]:
    """Each class with the share that each contender gets right, mean over its seeds."""
    labels = contenders[0].first.test.labels
    right = [one.right("test").mean(axis=0) for one in contenders]
    lines = []
    for number, name in enumerate(contenders[0].first.plan.classes):
        here = labels == number
        recalls = [float(each[here].mean()) if here.any() else None for each in right]
        lines.append(ClassLine(name=name, n=int(here.sum()), recalls=recalls))
    return lines


def answers(contenders: Sequence[Contender]) -> Ints:
    """What each contender's first seed names, [K, N]."""
    return np.stack([one.first.test.logits().argmax(axis=1) for one in contenders])


def agreement(contenders: Sequence[Contender]) -> npt.NDArray[np.float64]:
    """How often two contenders' first seeds name the same class, [K, K]."""
    said = answers(contenders)
    return np.asarray((said[:, None] == said[None]).mean(axis=2), np.float64)


def disagreeing(contenders: Sequence[Contender]) -> Ints:
    """Photos [M] that got different answers, the most divided first: by the smaller of the two camps, right and
    wrong, then by how sure the wrong ones are."""
    said, labels = answers(contenders), contenders[0].first.test.labels
    rows = np.flatnonzero((said != said[0]).any(axis=0))
    right = (said[:, rows] == labels[rows]).sum(axis=0)
    divided = np.minimum(right, len(contenders) - right)
    kinds = np.array([len(set(said[:, row].tolist())) for row in rows], np.int64)
    return rows[np.lexsort((rows, -kinds, -divided))]


def shown_photos(contenders: Sequence[Contender], rows: Ints, catalog: Catalog | None) -> list[Disagreement]:
    """The most divided photos with every answer; without a catalog the photos are not at hand."""
    first = contenders[0].first
    album = Album(catalog, background=first.plan.preprocessing.background) if catalog is not None else None
    found = [one.first.test.probabilities(one.first.temperature) for one in contenders]
    shown = []
    for row in rows[:MOST_SHOWN].tolist():
        path = first.test.paths[row]
        said = [
            Said(label=one.label, answer=int(each[row].argmax()), probability=float(each[row].max()))
            for one, each in zip(contenders, found, strict=True)
        ]
        image = album.photo(path).image if album is not None and album.knows(path) else None
        shown.append(Disagreement(path=path, image=image, label=int(first.test.labels[row]), said=said))
    return shown


def curve(one: Contender) -> Curve:
    """Val top-1 of the first seed over seconds of training."""
    rows = [row for row in one.first.history() if "seconds" in row and "raw_top1" in row]
    return Curve(label=one.label, seconds=[row["seconds"] for row in rows], top1=[row["raw_top1"] for row in rows])

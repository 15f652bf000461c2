"""What would be said of each photo by a probe that has not seen it: k parts, each judged by the others.

Legend: N photos, C classes, D features. No torch here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from deitft.core.keys import generator, key
from deitft.evaluation.predictions import Floats, Ints

PARTS = 5
MOST_STEPS = 1000
LOOSENESS = 30.0
"""Inverse strength of the penalty, a photo: restrained, so that a wrong label does not bend the line around it."""


def parts_of(labels: Ints, groups: Ints, *, parts: int = PARTS, seed: int = 0) -> Ints:
    """The part [N] that each photo is in: photos of a group in one, each class spread as evenly as groups allow.

    Groups are dealt in a keyed order, those of the rarest class first, each to the part that has fewest photos of
    its class (of equals, the one with fewest photos).
    """
    _, group_of = np.unique(groups, return_inverse=True)
    order = generator(key("parts", seed)).permutation(group_of.max(initial=-1) + 1)
    _, label_of = np.unique(labels, return_inverse=True)
    sizes = np.bincount(label_of)
    rank = np.full(len(order), len(labels), np.int64)
    np.minimum.at(rank, group_of, sizes[label_of])
    counts = np.bincount(group_of, minlength=len(order))
    first = np.full(len(order), -1, np.int64)
    first[group_of[::-1]] = label_of[::-1]
    part_of_group = np.zeros(len(order), np.int64)
    of_class = np.zeros((len(sizes), parts), np.int64)
    filled = np.zeros(parts, np.int64)
    for group in order[np.argsort(rank[order], kind="stable")].tolist():
        part = int(np.lexsort((filled, of_class[first[group]]))[0])
        part_of_group[group] = part
        of_class[first[group], part] += counts[group]
        filled[part] += counts[group]
    return part_of_group[group_of]


def out_of_fold(
    features_ND: npt.NDArray[np.floating],
    labels: Ints,
    *,
    num_classes: int,
    groups: Ints | None = None,
    parts: int = PARTS,
    looseness: float = LOOSENESS,
    seed: int = 0,
) -> Floats:
    """Probabilities [N, C] of each photo by multinomial logistic regression on the photos of the other parts.

    Features are standardised by the other parts. ``groups`` [N]: photos of one number are never on both sides. A
    class that the other parts do not have gets the probability 0 there. The penalty's inverse strength C is
    ``looseness`` / N.
    """
    part = parts_of(labels, np.arange(len(labels)) if groups is None else groups, parts=parts, seed=seed)
    found = np.zeros((len(labels), num_classes))
    for number in np.unique(part).tolist():
        here, others = part == number, part != number
        seen = np.unique(labels[others])
        if len(seen) < 2:
            found[np.ix_(here, seen)] = 1.0
            continue
        scaler = StandardScaler().fit(features_ND[others].astype(np.float64))
        model = LogisticRegression(C=looseness / len(labels), max_iter=MOST_STEPS)
        model.fit(scaler.transform(features_ND[others].astype(np.float64)), labels[others])
        found[np.ix_(here, seen)] = model.predict_proba(scaler.transform(features_ND[here].astype(np.float64)))
    return found

"""Labels that look wrong, and classes that look like one another, from probabilities of photos that were not seen.

Confident learning (Northcutt et al. 2021, arXiv 1911.00068) says how many labels are wrong: a photo counts for the
class whose probability reaches what that class's own photos have on average, and is in doubt where this is not its
label. Which ones they are is said better by the lowest probability of the own label (measured with planted errors:
benchmarks/label_noise.py), so that many of these are the suspects. Nothing is changed, a person has to look: half
of the suspects in well-known test sets were right (Northcutt et al. 2021, arXiv 2103.14749), in a careful list
most are.

Legend: N photos, C classes. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deitft.data.catalog import Catalog, counted, shown
from deitft.data.findings import Finding

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

LEAST_PHOTOS = 5
"""Photos of a class below which nobody can say what belongs to it."""
ALIKE_SHARE = 0.2
"""Share of two classes' photos (of the smaller one) that a probe takes for the other: worth a line."""
LEAST_MIXED = 5
"""Photos mixed up at least, before two classes are said to look alike."""
MOST_ALIKE = 10
LEAST_SKILL = 0.25
"""How far the probe has to come, from naming the commonest class (0) to being right every time (1); assumed. Below
that, what it doubts is mostly its own mistakes."""
GOOD_JUDGE = 0.75
"""Share of the photos that the probe is right for; below it most suspects are said to be its mistakes; assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLook:
    """Out-of-fold probabilities [n, C] of ``rows`` [n] of a catalog, by a probe on features of ``model``."""

    rows: Ints
    probabilities: Floats
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """Photos whose label looks wrong, likeliest first: positions [S], and the class that each looks like [S]."""

    photos: Ints
    suggestions: Ints


def by_confident_learning(probabilities_NC: Floats, labels: Ints) -> Suspects:
    """Photos that count for another class than their own, the largest gap between the two first."""
    own = probabilities_NC[np.arange(len(labels)), labels]
    size = probabilities_NC.shape[1]
    counts = np.bincount(labels, minlength=size)
    means = np.bincount(labels, weights=own, minlength=size) / np.maximum(counts, 1)
    judged = counts >= LEAST_PHOTOS
    reaching = np.where((probabilities_NC >= means) & judged, probabilities_NC, -1.0)
    taken_for = reaching.argmax(axis=1)
    gap = reaching.max(axis=1) - own
    doubtful = (reaching.max(axis=1) >= 0) & (taken_for != labels) & judged[labels] & (gap > 0)
    photos = np.flatnonzero(doubtful)
    photos = photos[np.argsort(-gap[photos], kind="stable")]
    return Suspects(photos=photos, suggestions=taken_for[photos])


def by_own_label(probabilities_NC: Floats, labels: Ints) -> Suspects:
    """Photos that another class than their own is likelier for, the lowest probability of the own label first."""
    own = probabilities_NC[np.arange(len(labels)), labels]
    judged = np.bincount(labels, minlength=probabilities_NC.shape[1]) >= LEAST_PHOTOS
    likeliest = np.where(judged, probabilities_NC, -1.0).argmax(axis=1)
    photos = np.flatnonzero(judged[labels] & (likeliest != labels))
    photos = photos[np.argsort(own[photos], kind="stable")]
    return Suspects(photos=photos, suggestions=likeliest[photos])


def suspects_of(probabilities_NC: Floats, labels: Ints) -> Suspects:
    """As many as confident learning doubts, those of the lowest probability of the own label."""
    count, ranked = (
        len(by_confident_learning(probabilities_NC, labels).photos),
        by_own_label(probabilities_NC, labels),
    )
    return Suspects(photos=ranked.photos[:count], suggestions=ranked.suggestions[:count])


def label_findings(catalog: Catalog, look: LabelLook) -> list[Finding]:
    """SUSPECTS and ALIKE of the photos that were looked at; UNSEEN_LABELS alone where the probe is a bad judge."""
    labels = catalog.labels[look.rows].astype(np.int64)
    right = float((look.probabilities.argmax(axis=1) == labels).mean())
    guess = float(np.bincount(labels).max() / len(labels))
    if right - guess < LEAST_SKILL * (1 - guess):
        return [_hardly_better(look, right, guess)]
    return [*_suspects(catalog, look, labels, right), *_alike(catalog, look, labels)]


def _hardly_better(look: LabelLook, right: float, guess: float) -> Finding:
    """Nobody is accused by a probe that is wrong itself most of the time."""
    return Finding(
        id="UNSEEN_LABELS",
        severity="info",
        text=f"labels that look wrong are not listed: a simple probe on {look.model} is itself right "
        f"for {right:.0%} of the photos only (always the commonest class: {guess:.0%})",
        hint="another --model, or larger photos, may see more",
        details={"judged": len(look.rows), "model": look.model, "right": right, "guess": guess},
    )


def _suspects(catalog: Catalog, look: LabelLook, labels: Ints, right: float) -> list[Finding]:
    suspects = suspects_of(look.probabilities, labels)
    if not len(suspects.photos):
        return []
    own = look.probabilities[np.arange(len(labels)), labels]
    confident = set(by_confident_learning(look.probabilities, labels).photos.tolist())
    listed = [
        (
            catalog.paths[look.rows[photo]],
            catalog.classes[labels[photo]],
            catalog.classes[suggestion],
            round(float(own[photo]), 4),
        )
        for photo, suggestion in zip(suspects.photos.tolist(), suspects.suggestions.tolist(), strict=True)
    ]
    path, label, suggestion, _ = listed[0]
    verb = "has a label that looks" if len(listed) == 1 else "have labels that look"
    first = f'{shown(path)} looks like "{shown(suggestion)}", not "{shown(label)}"'
    most = "most suspects of a careful list are right as they are"
    if right < GOOD_JUDGE:
        most = (
            f"the simple probe is right for {right:.0%} of the photos only, so most of these are as they should be"
        )
    return [
        Finding(
            id="SUSPECTS",
            severity="warning",
            text=f"{counted(len(listed), 'photo')} {verb} wrong, likeliest first: {first}",
            hint=f"look at them: {most}",
            paths=tuple(row[0] for row in listed),
            details={
                "suspects": listed,
                "by_confident_learning_too": [photo in confident for photo in suspects.photos.tolist()],
                "judged": len(labels),
                "model": look.model,
                "right": right,
            },
        )
    ]


def _alike(catalog: Catalog, look: LabelLook, labels: Ints) -> list[Finding]:
    """Pairs of classes that the probe mixes up, both ways together."""
    size = len(catalog.classes)
    counts = np.bincount(labels, minlength=size)
    confused = np.zeros((size, size), np.int64)
    np.add.at(confused, (labels, look.probabilities.argmax(axis=1)), 1)
    mixed = np.triu(confused + confused.T, 1)
    share = mixed / np.maximum(np.minimum.outer(counts, counts), 1)
    found = [
        (float(share[one, other]), int(one), int(other))
        for one, other in zip(*np.nonzero((share >= ALIKE_SHARE) & (mixed >= LEAST_MIXED)), strict=True)
    ]
    pairs = [(one, other, part) for part, one, other in sorted(found, key=lambda row: (-row[0], row[1:]))]
    if not pairs:
        return []
    one, other, _ = pairs[0]
    names = f'"{shown(catalog.classes[one])}" and "{shown(catalog.classes[other])}"'
    many = f"{len(pairs)} pairs of classes look" if len(pairs) > 1 else "two classes look"
    text = f"{many} alike to a simple probe, first: {names} ({int(mixed[one, other])} photos mixed up)"
    return [
        Finding(
            id="ALIKE",
            severity="info",
            text=text,
            hint="say what tells them apart, or join them",
            details={
                "classes": [
                    (catalog.classes[one], catalog.classes[other], int(mixed[one, other]), round(part, 4))
                    for one, other, part in pairs[:MOST_ALIKE]
                ],
                "model": look.model,
            },
        )
    ]

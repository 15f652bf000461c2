"""Suspects and classes that look alike, from probabilities: by hand, by their properties."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_data_audit import catalog_of

from deitft.core.files import canonical_json
from deitft.data.audit_labels import (
    LEAST_PHOTOS,
    LabelLook,
    by_confident_learning,
    by_own_label,
    label_findings,
    suspects_of,
)


def confident(labels: np.ndarray, size: int, *, sure: float = 0.8) -> np.ndarray:
    """Probabilities of a probe that is sure of every label."""
    rows = np.full((len(labels), size), (1 - sure) / (size - 1))
    rows[np.arange(len(labels)), labels] = sure
    return rows


def test_a_golden_example():
    """Class means of the own probability: 0.7, 0.6. Photo 2 reaches 0.6 of class 1; photo 8 just misses 0.7."""
    labels = np.array([0] * 5 + [1] * 5)
    own = np.array([0.9, 0.9, 0.1, 0.8, 0.8, 0.8, 0.8, 0.8, 0.31, 0.29])
    rows = np.stack([np.where(labels == 0, own, 1 - own), np.where(labels == 0, 1 - own, own)], axis=1)
    found = by_confident_learning(rows, labels)
    assert (found.photos.tolist(), found.suggestions.tolist()) == ([2, 9], [1, 0])
    ranked = by_own_label(rows, labels)
    assert (ranked.photos.tolist(), ranked.suggestions.tolist()) == ([2, 9, 8], [1, 0, 0])
    assert suspects_of(rows, labels).photos.tolist() == [2, 9]


def reference(rows: np.ndarray, labels: np.ndarray) -> set[int]:
    """The confident joint off its diagonal, one photo at a time."""
    thresholds = {
        c: rows[labels == c, c].mean() for c in range(rows.shape[1]) if (labels == c).sum() >= LEAST_PHOTOS
    }
    found = set()
    for photo, label in enumerate(labels.tolist()):
        reached = [c for c, least in thresholds.items() if rows[photo, c] >= least]
        if label in thresholds and reached:
            best = max(reached, key=lambda c: rows[photo, c])
            if best != label and rows[photo, best] > rows[photo, label]:
                found.add(photo)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_confident_learning_is_that_of_the_paper(seed):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 4, 200)
    labels[:2] = 5  # a class too small to be judged
    rows = draw.dirichlet(np.full(6, 0.5), 200)
    found = by_confident_learning(rows, labels)
    assert set(found.photos.tolist()) == reference(rows, labels)
    assert len(found.photos) > 10


def test_who_is_sure_of_every_label_doubts_none():
    labels = np.repeat(np.arange(3), 10)
    assert len(suspects_of(confident(labels, 3), labels).photos) == 0
    assert (
        label_findings(
            catalog_of({"a": 10, "b": 10, "c": 10}),
            LabelLook(rows=np.arange(30), probabilities=confident(labels, 3), model="m"),
        )
        == []
    )


def test_the_order_of_classes_and_photos_changes_nothing():
    draw = np.random.default_rng(5)
    labels, rows = draw.integers(0, 3, 60), draw.dirichlet(np.ones(3), 60)
    turn, order = np.array([2, 0, 1]), draw.permutation(60)
    back = np.argsort(turn)  # column c of the turned is column turn[c]
    one, other = suspects_of(rows, labels), suspects_of(rows[order][:, turn], back[labels[order]])
    assert order[other.photos].tolist() == one.photos.tolist()
    assert turn[other.suggestions].tolist() == one.suggestions.tolist()


def test_tiny_classes_are_neither_doubted_nor_suggested():
    labels = np.array([0] * 10 + [1] * 10 + [2] * (LEAST_PHOTOS - 1))
    rows = confident(labels, 3)
    rows[-1] = (0.98, 0.01, 0.01)
    rows[0] = (0.01, 0.01, 0.98)
    assert suspects_of(rows, labels).photos.tolist() == []


def test_findings_name_photo_label_and_suggestion():
    labels = np.array([0] * 10 + [1] * 10)
    rows = confident(labels, 2)
    rows[3], rows[12] = (0.05, 0.95), (0.9, 0.1)
    catalog = catalog_of({"hat": 10, "shoe": 10})
    (finding,) = label_findings(catalog, LabelLook(rows=np.arange(20), probabilities=rows, model="m"))
    assert (finding.id, finding.severity, finding.paths) == ("SUSPECTS", "warning", ("hat/3.jpg", "shoe/2.jpg"))
    assert finding.text == (
        '2 photos have labels that look wrong, likeliest first: hat/3.jpg looks like "shoe", not "hat"'
    )
    assert finding.details["suspects"] == [("hat/3.jpg", "hat", "shoe", 0.05), ("shoe/2.jpg", "shoe", "hat", 0.1)]
    assert finding.details["by_confident_learning_too"] == [True, True]
    assert json.loads(canonical_json(finding.record()))["details"]["judged"] == 20


@pytest.mark.parametrize(("right", "ids"), [(12, ["UNSEEN_LABELS"]), (13, ["SUSPECTS", "ALIKE"])])
def test_a_probe_that_is_hardly_better_than_a_guess_accuses_nobody(right, ids):
    """Of 20 photos the commonest class has 10: right for 12.5 is a quarter of the way."""
    labels = np.array([0] * 10 + [1] * 10)
    taken_for = labels.copy()
    taken_for[6 : 6 + 20 - right] ^= 1
    rows = confident(taken_for, 2)
    catalog = catalog_of({"hat": 10, "shoe": 10})
    found = label_findings(catalog, LabelLook(rows=np.arange(20), probabilities=rows, model="m"))
    assert [item.id for item in found] == ids


@pytest.mark.parametrize(
    ("wrong", "words"), [(5, "of a careful list"), (6, "is right for 70% of the photos only")]
)
def test_a_weak_probe_is_said_to_be_one(wrong, words):
    labels = np.array([0] * 10 + [1] * 10)
    taken_for = labels.copy()
    taken_for[:wrong] = 1
    catalog, rows = catalog_of({"hat": 10, "shoe": 10}), confident(taken_for, 2)
    found = label_findings(catalog, LabelLook(rows=np.arange(20), probabilities=rows, model="m"))
    assert words in found[0].hint
    assert found[0].details["right"] == 1 - wrong / 20


def test_rows_of_a_part_of_the_catalog():
    labels = np.array([0] * 10 + [1] * 10)
    rows = confident(labels, 2)
    rows[19] = (0.95, 0.05)
    catalog = catalog_of({"hat": 20, "shoe": 20})
    chosen = np.concatenate([np.arange(10, 20), np.arange(25, 35)])
    (finding,) = label_findings(catalog, LabelLook(rows=chosen, probabilities=rows, model="m"))
    assert finding.paths == ("shoe/14.jpg",)


def test_classes_that_are_mixed_up_both_ways():
    labels = np.repeat(np.arange(3), 20)
    rows = confident(labels, 3, sure=0.6)
    rows[:4] = (0.3, 0.5, 0.2)  # four of 0 taken for 1, two of 1 taken for 0
    rows[20:22] = (0.5, 0.3, 0.2)
    found = {
        item.id: item
        for item in label_findings(
            catalog_of({"shirt": 20, "blouse": 20, "hat": 20}),
            LabelLook(rows=np.arange(60), probabilities=rows, model="m"),
        )
    }
    alike = found["ALIKE"]
    assert (alike.severity, alike.details["classes"]) == ("info", [("shirt", "blouse", 6, 0.3)])
    assert alike.text == (
        'two classes look alike to a simple probe, first: "shirt" and "blouse" (6 photos mixed up)'
    )
    rows[:3] = confident(labels, 3, sure=0.6)[:3]
    assert "ALIKE" not in {
        item.id
        for item in label_findings(
            catalog_of({"shirt": 20, "blouse": 20, "hat": 20}),
            LabelLook(rows=np.arange(60), probabilities=rows, model="m"),
        )
    }

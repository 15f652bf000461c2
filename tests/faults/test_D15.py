"""D15: classes with 1-2 photos."""

from __future__ import annotations

import numpy as np
from photo_kit import clean, judge, said, write_classes

from deitft.data.catalog import TEST, TRAIN, VAL
from deitft.data.splits import assign


def test_D15_control(tmp_path):
    clean(write_classes(tmp_path / "p", {"shoes": 12, "hats": 12}), "D15")


def test_D15_tiny_classes_stay_in_train(tmp_path):
    root = write_classes(tmp_path / "p", {"one": 1, "two": 2, "three": 3, "many": 90}, size=(9, 8))
    catalog, findings = judge(root)
    findings.raise_errors()
    want = '2 classes have 1 or 2 photos, first: "one" (1 photo) — these stay in train and cannot be tested'
    assert ("D15", "warning", want) in said(catalog, findings)
    for seed in range(300):
        split = assign(catalog, seed=seed).split
        counts = {
            side: dict(
                zip(catalog.classes, np.bincount(catalog.labels[split == side], minlength=4).tolist(), strict=True)
            )
            for side in (TRAIN, VAL, TEST)
        }
        assert min(counts[TRAIN].values()) >= 1
        assert (counts[TRAIN]["one"], counts[TRAIN]["two"]) == (1, 2)
        assert min(counts[VAL]["many"], counts[TEST]["many"]) >= 1


def test_D15_one_is_named(tmp_path):
    root = write_classes(tmp_path / "p", {"sandals": 1, "shoes": 30}, size=(9, 8))
    catalog, findings = judge(root)
    want = '"sandals" has 1 photo — it stays in train and cannot be tested'
    assert ("D15", "warning", want) in said(catalog, findings)


def test_D15_the_split_follows_content_not_names(tmp_path):
    root = write_classes(tmp_path / "p", {"a": 30, "b": 30}, size=(9, 8))
    catalog, _ = judge(root)
    before = dict(zip(catalog.digests.tolist(), assign(catalog, seed=4).split.tolist(), strict=True))
    for number, path in enumerate(sorted((root / "a").iterdir())):
        path.rename(root / "a" / f"renamed {97 * number % 31:02d}.jpg")
    (root / "a").rename(root / "zz")
    again, _ = judge(root)
    after = dict(zip(again.digests.tolist(), assign(again, seed=4).split.tolist(), strict=True))
    assert before == after

"""D13: same photo with two labels."""

from __future__ import annotations

import shutil

import pytest
from photo_kit import clean, judge, refused, said, write_classes

from deitft.runs.check_album import REPORT, Album, parts_of


@pytest.fixture
def root(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 120, "boots": 120, "hats": 12})
    clean(root, "D13")
    return root


def test_D13_a_one_picture_is_left_out_on_both_sides(root):
    shutil.copy(root / "shoes/017.jpg", root / "boots/zzz.jpg")
    catalog, findings = judge(root)
    findings.raise_errors()
    want = "1 photo carries two labels, first: boots/zzz.jpg and shoes/017.jpg are the same picture"
    assert ("D13", "warning", f"{want} — left out by name") in said(catalog, findings)
    assert [row["path"] for row in findings.quarantine_rows()] == ["boots/zzz.jpg", "shoes/017.jpg"]


def test_D13_the_pages_name_both_labels_also_where_the_photos_are_left_out(root):
    shutil.copy(root / "shoes/017.jpg", root / "boots/zzz.jpg")
    catalog, findings = judge(root)
    (finding,) = [item.notice() for item in findings if item.id == "D13"]
    for photos in (catalog, catalog.without(findings.quarantined)):
        (part,) = parts_of([finding], Album(photos), REPORT)
        (pair,) = part.pairs
        assert (pair.left.label, pair.right.label) == ("boots", "shoes")
        assert pair.two_labels


def test_D13_a_above_one_percent(root):
    shutil.copy(root / "shoes/017.jpg", root / "boots/x.jpg")
    shutil.copy(root / "shoes/018.jpg", root / "boots/y.jpg")
    error = refused(root)
    assert (error.id, error.exit_code, error.line) == (
        "D13",
        65,
        "2 photos carry two labels, first: boots/x.jpg and shoes/017.jpg are the same picture — keep one",
    )
    kept = judge(root, allow_conflicts=True)[1]
    kept.raise_errors()
    assert not len(kept.quarantined)


def test_D13_three_ways_and_across_sides(tmp_path):
    root = write_classes(tmp_path / "p", {"train/a": 9, "train/b": 9, "test/a": 3, "test/b": 3})
    for name in ("train/b/x.jpg", "test/b/y.jpg", "test/a/z.jpg"):
        shutil.copy(root / "train/a/000.jpg", root / name)
    error = refused(root)
    assert error.id == "D13"
    assert set(error.files) == {"train/a/000.jpg", "train/b/x.jpg", "test/b/y.jpg", "test/a/z.jpg"}

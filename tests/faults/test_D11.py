"""D11: identical file in two splits."""

from __future__ import annotations

import os
import shutil

import pytest
from photo_kit import clean, judge, refused, said, write_classes

from deitft.data.splits import assign


@pytest.fixture
def root(tmp_path):
    folders = {"train/shoes": 20, "train/hats": 20, "val/shoes": 5, "val/hats": 5, "test/shoes": 5, "test/hats": 5}
    root = write_classes(tmp_path / "p", folders)
    clean(root, "D11")
    return root


@pytest.mark.parametrize("copy", [shutil.copy, os.link, lambda a, b: b.symlink_to(os.path.relpath(a, b.parent))])
def test_D11_copies_and_links_are_found(root, copy):
    for number in range(5):
        copy(root / f"train/shoes/{number:03d}.jpg", root / f"test/shoes/copy{number}.jpg")
    error = refused(root)
    assert (error.id, error.exit_code, error.line) == (
        "D11",
        65,
        "5 test photos are also in train, first: test/shoes/copy0.jpg = train/shoes/000.jpg — "
        "remove one copy, or --allow-leak to report inflated numbers",
    )
    assert refused(root, skip_bad=True).id == "D11"
    catalog, findings = judge(root, allow_leak=True)
    findings.raise_errors()
    assert not len(findings.quarantined)
    assert [severity for id, severity, _ in said(catalog, findings) if id == "D11"] == ["warning"]


def test_D11_a_split_of_ours_never_leaks(tmp_path):
    root = write_classes(tmp_path / "p", {"shoes": 30, "hats": 30})
    for number in range(10):
        for copy in range(3):
            shutil.copy(root / f"shoes/{number:03d}.jpg", root / f"shoes/copy{number}-{copy}.jpg")
    catalog, findings = judge(root)
    findings.raise_errors()
    for seed in range(20):
        split = assign(catalog, seed=seed).split
        for content in set(catalog.contents.tolist()):
            assert len(set(split[catalog.contents == content].tolist())) == 1

"""D9: a test or val split that is missing a class or has an unknown class."""

from __future__ import annotations

import pytest
from photo_kit import clean, judge, refused, untouched, write_classes

from deitft.core.progress import Silent
from deitft.data.catalog import TRAIN, VAL
from deitft.data.scan import scan
from deitft.data.splits import assign


def split_folders(tmp_path, val: dict[str, int]):
    train = {f"train/{name}": 12 for name in "abc"}
    return write_classes(tmp_path / "p", train | {f"val/{name}": count for name, count in val.items()})


def test_D9_control(tmp_path):
    clean(split_folders(tmp_path, {"a": 2, "b": 2, "c": 2}), "D9")


def warning(missing: str) -> list[str]:
    rest = "its row shows n/a and macro averages use 2 of 3 classes"
    return [f'val has no photos of "{missing}" — {rest}']


def test_D9_a_a_class_that_val_lacks(tmp_path):
    catalog, findings = judge(split_folders(tmp_path, {"b": 2, "c": 3}))
    findings.raise_errors()
    assert [notice.line for notice in catalog.notices if notice.id == "D9"] == warning("a")
    # The numbers of classes are those of train, by name.
    assert catalog.classes == ("a", "b", "c")
    val = [
        (path, label)
        for path, label, side in zip(catalog.paths, catalog.labels, catalog.given, strict=True)
        if side
    ]
    assert {(path.split("/")[1], int(label)) for path, label in val} == {("b", 1), ("c", 2)}


@pytest.mark.parametrize("val", [{"a": 1, "b": 1, "c": 1, "d": 1}, {"b": 2, "c": 2, "d": 2}])
def test_D9_bc_a_class_that_train_lacks(tmp_path, val):
    error = refused(split_folders(tmp_path, val))
    assert (error.id, error.exit_code, error.line) == (
        "D9",
        65,
        'val has a class the model does not know: "d" — add it to train or remove val/d',
    )


def test_D9_bc_several_are_counted(tmp_path):
    error = refused(split_folders(tmp_path, {"d": 1, "e": 1}))
    assert error.line.startswith('val has a class the model does not know: "d" (and 1 more)')
    assert error.files == ("val/d", "val/e")


def test_D9_d_a_class_folder_that_is_empty(tmp_path):
    root = split_folders(tmp_path, {"b": 2, "c": 3})
    (root / "val/a").mkdir()
    (root / "val/z").mkdir()  # unknown, and nothing in it
    catalog, findings = judge(root)
    findings.raise_errors()
    assert [notice.line for notice in catalog.notices] == warning("a")


def test_D9_many_missing_are_one_line(tmp_path):
    catalog, _ = judge(split_folders(tmp_path, {"c": 1}))
    assert [notice.line for notice in catalog.notices] == [
        'val has no photos of "a" and 1 more — their rows show n/a and macro averages use 1 of 3 classes'
    ]


def test_D9_e_the_order_of_folders_does_not_matter(tmp_path):
    root = split_folders(tmp_path, {"c": 2, "b": 2, "a": 2})
    with untouched(root):
        catalog = scan(root, progress=Silent())
    for path, label, side in zip(catalog.paths, catalog.labels, catalog.given, strict=True):
        assert catalog.classes[label] == path.split("/")[1]
        assert side == (TRAIN if path.startswith("train") else VAL)


def test_D9_val_keeps_its_photos_when_test_is_carved(tmp_path):
    catalog, _ = judge(split_folders(tmp_path, {"b": 2, "c": 3}))
    split = assign(catalog, seed=0).split
    assert (split[catalog.given == VAL] == VAL).all()
    assert (split == VAL).sum() == 5

"""Photos without labels: any tree, table or shards; labels are taken of a given val and test alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photo_kit import jpeg
from source_kit import tar_bytes, write_csv

from deitft.core.progress import Silent
from deitft.data.catalog import NONE, TEST, TRAIN, VAL, Catalog
from deitft.data.digests import Digests
from deitft.data.scan import scan
from deitft.data.source import Source
from deitft.data.splits import assign, held_out_labels, read_splits
from deitft.errors import DataError, DeitftError, MissingInputError

CLASSES = ("boot", "hat")


def put(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(jpeg())
    return file


def look(*paths: Path, nested: bool = False) -> Catalog:
    return scan(Source(paths, nested=nested), progress=Silent(), classes=CLASSES, labelled=False)


def seen(catalog: Catalog) -> dict[str, tuple[int, str]]:
    """Path -> (side, label)."""
    names = (*catalog.classes, "")
    return {
        path: (int(side), names[label])
        for path, side, label in zip(catalog.paths, catalog.given, catalog.labels, strict=True)
    }


@pytest.mark.parametrize(
    "paths", [["1.jpg", "2.jpg"], ["a/1.jpg", "a/b/2.jpg"], ["0.jpg", "boot/1.jpg", "x/2.jpg"]]
)
def test_any_tree_is_one_lot(tmp_path: Path, paths: list[str]) -> None:
    for path in paths:
        put(tmp_path / path)
    found = look(tmp_path)
    assert seen(found) == dict.fromkeys(paths, (NONE, ""))
    assert found.classes == CLASSES
    assert not [notice for notice in found.notices if notice.id == "D9"]


def test_a_link_in_a_tree_is_followed(tmp_path: Path) -> None:
    put(tmp_path / "deep" / "er" / "1.jpg")
    (tmp_path / "also").symlink_to(tmp_path / "deep" / "er")
    assert seen(look(tmp_path)) == {"deep/er/1.jpg": (NONE, "")}


@pytest.mark.parametrize("nested", [False, True])
def test_labels_of_val_and_test_are_taken_those_of_train_are_not(tmp_path: Path, nested: bool) -> None:
    for path in ("train/1.jpg", "train/boot/2.jpg", "Test/boot/3.jpg", "Test/hat/4.jpg", "validation/5.jpg"):
        put(tmp_path / path)
    assert seen(look(tmp_path, nested=nested)) == {
        "train/1.jpg": (TRAIN, ""),
        "train/boot/2.jpg": (TRAIN, ""),
        "Test/boot/3.jpg": (TEST, "boot"),
        "Test/hat/4.jpg": (TEST, "hat"),
        "validation/5.jpg": (VAL, ""),
    }


def test_folders_with_other_names_are_no_labels_and_half_of_them_a_mistake(tmp_path: Path) -> None:
    for path in ("train/1.jpg", "test/2023/3.jpg", "test/2024/4.jpg"):
        put(tmp_path / path)
    found = look(tmp_path)
    assert {label for _, label in seen(found).values()} == {""}
    assert [notice.id for notice in found.notices] == ["D9"]
    put(tmp_path / "test" / "boot" / "5.jpg")
    with pytest.raises(DataError, match="a class the model does not know"):
        look(tmp_path)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    for path, error in (("test/boot/1.jpg", DataError), ("train/readme.txt", MissingInputError)):
        put(tmp_path / path)
        with pytest.raises(error):
            look(tmp_path)


def test_tables_with_labels_without_and_with_some(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"{number}.jpg").name for number in range(4)]
    assert seen(look(write_csv(tmp_path / "a.csv", [(path,) for path in paths], ("path",)))) == dict.fromkeys(
        paths, (NONE, "")
    )
    rows = [("0.jpg", "boot", "train"), ("1.jpg", "", ""), ("2.jpg", "hat", "test"), ("3.jpg", "", "val")]
    found = seen(look(write_csv(tmp_path / "b.csv", rows, ("path", "label", "split"))))
    assert list(found.values()) == [(TRAIN, ""), (NONE, ""), (TEST, "hat"), (VAL, "")]


def test_shards_with_labels_and_without(tmp_path: Path) -> None:
    photo = jpeg()
    for name, members in (
        ("train-0.tar", [("1.jpg", photo), ("2.jpg", photo), ("2.cls", b"a strange one")]),
        ("test-0.tar", [("3.jpg", photo), ("3.cls", b"hat"), ("4.jpg", photo)]),
    ):
        (tmp_path / name).write_bytes(tar_bytes(members))
    assert [side_label for _, side_label in sorted(seen(look(tmp_path)).items())] == [
        (TEST, "hat"),
        (TEST, ""),
        (TRAIN, ""),
        (TRAIN, ""),
    ]


def catalog_of(count: int, root: Path) -> Catalog:
    for number in range(count):
        put(root / f"{number:03d}.jpg")
    found = look(root)
    return replace(found, digests=Digests.of([bytes([number]) * 32 for number in range(count)]))


def test_they_are_split_by_content_like_one_class(tmp_path: Path) -> None:
    catalog = catalog_of(60, tmp_path)
    split = assign(catalog, seed=0, labelled=False).split
    assert sorted(set(split.tolist())) == [TRAIN, VAL, TEST]
    as_class = assign(replace(catalog, labels=np.zeros(60, np.int32)), seed=0).split
    assert split.tolist() == as_class.tolist()
    assert set(assign(catalog, seed=0).split.tolist()) == {NONE}
    fewer = assign(catalog.select(range(40)), seed=0, labelled=False).split
    assert fewer.tolist() == split[:40].tolist()


def test_a_file_of_splits_may_hold_their_labels(tmp_path: Path) -> None:
    catalog = catalog_of(4, tmp_path / "p")
    rows = [("000.jpg", "boot", "train"), ("001.jpg", "hat", "test"), ("002.jpg", "", "val")]
    file = write_csv(tmp_path / "splits.csv", rows, ("path", "label", "split"))
    filled = held_out_labels(file, catalog)
    assert filled.labels.tolist() == [-1, 1, -1, -1]
    assert read_splits(file, filled, labelled=False).split.tolist() == [TRAIN, TEST, VAL, NONE]
    strange = write_csv(tmp_path / "other.csv", [("001.jpg", "sock", "test")], ("path", "label", "split"))
    with pytest.raises(DeitftError, match='the teacher does not know the label "sock"') as caught:
        held_out_labels(strange, catalog)
    assert caught.value.id == "D19"
